"""How text reaches a person: names and paths as they are, numbers with the right word."""

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints data as it is: `[no label]` is no markup, `:on:` no emoji, a path is not broken.

    Only standard error on a terminal wraps: it carries the bars, which must keep to the terminal's width.
    """
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    console.soft_wrap = not (stderr and console.is_terminal)
    return console


def counted(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`, `3 batches`."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def one_line(text: str) -> str:
    """The text with each run of white space and control characters as one space."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())

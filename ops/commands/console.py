"""Text output for people: consoles, tables, counted nouns."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_GAP = "  "


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console without markup, emoji or highlighting.

    Lines are not wrapped, except on a terminal's standard error: progress bars must fit its width.
    """
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    console.soft_wrap = not (stderr and console.is_terminal)
    return console


def print_table(
    console: Console, headings: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[int]]]
) -> None:
    """Print rows of names, then numbers. Nothing is cut.

    A table that is wider than the terminal becomes one block per row, with one number per line.
    """
    lines = [(*names, *(f"{number:,}" for number in numbers)) for names, numbers in rows]
    names = len(rows[0][0]) if rows else 1
    table = _aligned([headings, *lines], left=names)
    if not console.is_terminal or cell_len(table[0]) <= console.width:
        for place, line in enumerate(table):
            console.print(Text(line.rstrip(), style="bold" if place == 0 else ""))
        return
    for row in lines:
        console.print(Text(_GAP.join(row[:names]), style="bold"))
        for number in _aligned([*zip(headings[names:], row[names:], strict=True)], left=1):
            console.print(f"{_GAP}{number}")


def _aligned(lines: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Pad the cells of each column to one width; the first `left` columns align left."""
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    aligned = []
    for line in lines:
        cells = []
        for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
            space = " " * (width - cell_len(cell))
            cells.append(cell + space if place < left else space + cell)
        aligned.append(_GAP.join(cells))
    return aligned


def counted(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`, `3 batches`."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def one_line(text: str) -> str:
    """Replace each run of white space and control characters by one space."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())

"""Text output for people: consoles, tables, counted nouns."""

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console

from pipeline.errors import printable

_GAP = "  "


def print_line(text: str, *, stderr: bool = False) -> None:
    """Print a line, whatever names from files, servers or the graph are in it."""
    click.echo(printable(text), err=stderr)


class PlainConsole(Console):
    """A console of rich whose texts are printable, as those of `print_line`."""

    def print(self, *texts: Any, **options: Any) -> None:
        """Print texts in one line."""
        super().print(*(printable(each) if isinstance(each, str) else each for each in texts), **options)


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console without markup, emoji or highlighting.

    Lines are not wrapped, except on a terminal's standard error: progress bars must fit its width.
    """
    console = PlainConsole(stderr=stderr, markup=False, emoji=False, highlight=False)
    console.soft_wrap = not (stderr and console.is_terminal)
    return console


def print_table(
    console: Console, headings: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[int | str]]]
) -> None:
    """Print rows of names, then numbers or short texts. Nothing is cut.

    A table that is wider than the terminal becomes one block per row.
    """
    names = len(rows[0][0]) if rows else 1
    lines = [[*row_names, *map(_cell, numbers)] for row_names, numbers in rows]
    table = aligned([headings, *lines], names)
    if not console.is_terminal or cell_len(table[0]) <= console.width:
        console.print(table[0], style="bold")
        for line in table[1:]:
            console.print(line.rstrip())
        return
    for cells in lines:
        console.print(_GAP.join(cells[:names]), style="bold")
        for line in _filled(map(" ".join, zip(headings[names:], cells[names:], strict=True)), console.width):
            console.print(line)


def _cell(content: int | str) -> str:
    return content if isinstance(content, str) else f"{content:,}"


def aligned(lines: Sequence[Sequence[str]], names: int) -> list[str]:
    """Pad the cells of each column to one width; numbers align right."""
    columns = []
    for place, column in enumerate(zip(*lines, strict=True)):
        cells = [printable(cell) for cell in column]
        width = max(map(cell_len, cells))
        spaces = [" " * (width - cell_len(cell)) for cell in cells]
        pairs = zip(cells, spaces, strict=True)
        columns.append([cell + space if place < names else space + cell for cell, space in pairs])
    return [_GAP.join(cells) for cells in zip(*columns, strict=True)]


def _filled(items: Iterable[str], width: int) -> list[str]:
    """Return indented lines of items, up to `width`; no item is broken."""
    lines = [""]
    for item in items:
        if lines[-1] and cell_len(lines[-1] + _GAP + item) > width:
            lines.append("")
        lines[-1] += _GAP + item
    return lines


def counted(number: int, noun: str) -> str:
    """`1 record`, `2,000 records`, `3 batches`."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def utc(at: float, to: str = "seconds") -> str:
    """Return a Unix time as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec=to)

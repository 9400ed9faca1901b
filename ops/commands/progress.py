"""Progress of dumps: a table or a bar on a terminal, lines elsewhere."""

import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.filesize import decimal
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from ops.commands.console import counted, duration
from ops.commands.context import Context
from ops.stack.worker_process import active_workers
from pipeline.errors import printable
from pipeline.model import RecordType
from workers import loader
from workers.sender import NO_WORKER
from workers.state.runs import Reading, Tally

#: Interval between two lines where there is no terminal.
LINE_SECONDS = 10.0
#: The shortest time between two updates of bytes.
SHOWN_SECONDS = 0.1
#: Pause before each count of the workers.
COUNT_SECONDS = 2.0
REFRESHES_PER_SECOND = 4
#: The time over which a rate is measured.
RATE_SECONDS = 20.0
HEADINGS = ("dump", "state", "done", "of", "", "per s", "left", "quarantined")
#: Columns that a narrow terminal goes without.
LESS_NEEDED = ("of", "per s", "state")
#: Lines of a screen that are kept for all but dumps.
OTHER_LINES = 8


class _Bar(Progress):
    """A bar, with lines of text below it."""

    lines: Sequence[str] = ()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the bar of the current dump, then the lines."""
        yield from super().get_renderables()
        yield from (Padding(Text(printable(line)), (0, 0, 0, 2)) for line in self.lines)


class DumpProgress:
    """Shows the progress of dumps, which follow each other, and waits in between.

    `doing` is the word for it; `files` is the number of dumps.
    """

    def __init__(self, context: Context, console: Console, doing: str = "", files: int = 0) -> None:
        self._context = context
        self._console = console
        self._doing = doing
        self._files = files
        self._file = 0
        self._left = TimeRemainingColumn(compact=True)
        self._bar = _Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.fields[percent]} %"),
            self._left,
            TextColumn("left, file {task.fields[file]}"),
            console=console,
            expand=True,
            disable=not console.is_interactive,
        )
        self._line_at = 0.0
        self._waiting_for = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error its last state stays on the screen.
        self._bar.live.transient = error is None
        self._bar.stop()

    def advance(
        self,
        path: Path,
        record_type: RecordType,
        share: float,
        records: int,
        *more: str,
        waiting_for: str = "",
    ) -> None:
        """Show the share of a dump that is done, and numbers."""
        rate = records / max(self._task(path, record_type).elapsed or 0.0, 1e-3)
        numbers = ", ".join([f"{counted(records, 'record')} done", f"{rate:,.0f}/s", *more])
        self._advance(path, record_type, share, numbers, waiting_for)

    def _advance(
        self, path: Path, record_type: RecordType, share: float, numbers: str, waiting_for: str = ""
    ) -> None:
        task = self._task(path, record_type)
        # Rounded down: 100 % is the end.
        self._bar.update(task.id, completed=share, percent=int(100 * share))
        waits = [self._describe_wait(waiting_for)] if waiting_for else []
        self._bar.lines = [numbers, *waits]
        if not self._console.is_interactive and time.monotonic() - self._line_at >= LINE_SECONDS:
            self._line_at = time.monotonic()
            left = f"{task.fields['percent']} %, {self._left.render(task)} left"
            self._console.print(f"{path.name}: {', '.join([left, numbers, *waits])}")

    def wait(self, reason: str) -> None:
        """Show the reason of a wait before the first dump or after the last one."""
        text = self._describe_wait(reason)
        self._bar.lines = [text]
        if not self._console.is_interactive and reason != self._waiting_for:
            self._console.print(text)
        self._waiting_for = reason

    def end(self, path: Path, result: str) -> None:
        """Print the result of a dump in place of its bar."""
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.lines = ()
        self._bar.refresh()
        self._console.print(f"{path.name}: {result}")

    def _task(self, path: Path, record_type: RecordType) -> Task:
        """Return the bar of the current dump."""
        if not self._bar.tasks:
            self._file += 1
            file = f"{self._file} of {self._files}"
            self._bar.add_task(record_type.value, total=1.0, percent=0, file=file)
            self._line_at = time.monotonic()
            if not self._console.is_interactive:
                self._console.print(f"{path.name}: {self._doing} {record_type}, file {file}")
        return self._bar.tasks[0]

    def _describe_wait(self, reason: str) -> str:
        return describe_wait(self._context, reason)


class ByteProgress(DumpProgress):
    """Shows the progress of downloads and of checks, in bytes."""

    def __init__(self, context: Context, console: Console, doing: str, files: int) -> None:
        super().__init__(context, console, doing, files)
        self._shown_at = 0.0

    def show(
        self, path: Path, record_type: RecordType, done: int, size: int | None, moved: int | None = None
    ) -> None:
        """Show how much of a dump is done, and how fast: `moved`, by default `done`."""
        now = time.monotonic()
        if self._bar.tasks and now - self._shown_at < SHOWN_SECONDS:
            return
        self._shown_at = now
        numbers = f"{decimal(done)}{f' of {decimal(size)}' if size else ''}"
        moved = done if moved is None else moved
        if moved:  # a download that hashes what is there has none
            rate = moved / max(self._task(path, record_type).elapsed or 0.0, 1e-3)
            numbers += f", {decimal(int(rate))}/s"
        self._advance(path, record_type, min(done / size, 1.0) if size else 0.0, numbers)


@dataclass
class _Row:
    """One dump of a load."""

    path: Path
    state: str = "waiting"
    done: int = 0
    #: An estimate of its records.
    total: float = 0.0
    share: float = 0.0
    quarantined: int = 0
    has_ended: bool = False
    #: Time, records done and share done, over the last `RATE_SECONDS`; once it has ended, over all of it.
    recent: deque[tuple[float, int, float]] = field(default_factory=deque)

    def show(self, reading: Reading, tally: Tally) -> None:
        """Take the present numbers."""
        self._take("writing" if reading.whole else "reading", tally, reading.total, reading.done(tally))
        now = time.monotonic()
        self.recent.append((now, self.done, self.share))
        while now - self.recent[0][0] > RATE_SECONDS and len(self.recent) > 2:
            self.recent.popleft()

    def end(self, report: loader.Report) -> None:
        """Take the final numbers."""
        if report.complete:
            self._take("done", report.tally, report.read, 1.0)
        else:
            self._take("incomplete", report.tally, self.total, self.share)
        self.has_ended = True
        self.recent = deque([(0.0, 0, 0.0), (report.seconds, self.done, self.share)])

    def _take(self, state: str, tally: Tally, total: float, share: float) -> None:
        self.state, self.total, self.share = state, total, share
        self.done, self.quarantined = tally.read, tally.quarantined

    def rate(self) -> float:
        """Return the records per second of late."""
        seconds, records, _ = self._lately()
        return records / max(seconds, 1e-3)

    def left(self) -> str:
        """Return the time that is left."""
        seconds, _, share = self._lately()
        return duration((1 - self.share) * seconds / share) if share > 0 and seconds > 0 else "--:--"

    def cells(self) -> list[RenderableType]:
        """Return the cells of the table."""
        name = _Name(printable(self.path.name).removesuffix(".gz").removesuffix(".xml"))
        if not self.recent:
            return [name, self.state, "", "", "", "", "", ""]
        return [
            name,
            self.state,
            f"{self.done:,}",
            _short(self.total),
            f"{int(100 * self.share)} %",  # rounded down: 100 % is the end
            f"{self.rate():,.0f}",
            "" if self.has_ended else self.left(),
            f"{self.quarantined:,}",
        ]

    def _lately(self) -> tuple[float, int, float]:
        if not self.recent:
            return 0.0, 0, 0.0
        (since, before, from_), (now, done, to) = self.recent[0], self.recent[-1]
        return now - since, done - before, to - from_


class _Name:
    """A name whose end is shown where it does not fit: it tells more."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(8, max(8, cell_len(self._name)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        name = self._name
        while cell_len(name) > options.max_width:
            name = "…" + name.removeprefix("…")[1:]
        yield Text(name)


class LoadProgress:
    """Shows all dumps of a load: a table on a terminal, lines elsewhere.

    The loader calls `show` and `wait`.
    """

    def __init__(self, context: Context, console: Console, dumps: Sequence[Path]) -> None:
        self._context = context
        self._console = console
        self._rows = [_Row(path.absolute()) for path in dumps]
        self._below: list[str] = []
        self._waiting_for = ""
        self._line_at = 0.0
        self._workers: int | None = None
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=REFRESHES_PER_SECOND
        )
        self._ended = threading.Event()
        self._counter = threading.Thread(target=self._count_workers, name="count of workers", daemon=True)

    def __enter__(self) -> Self:
        self._counter.start()
        if self._console.is_interactive:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error its last state stays on the screen; otherwise a table of results follows.
        self._live.transient = error is None and sys.stdout.isatty()
        self._live.stop()
        self._ended.set()
        self._counter.join()

    def show(self, progress: loader.Progress) -> None:
        """Show the progress of one dump."""
        row = self._row(progress.path)
        if not row.recent:
            self._line_at = time.monotonic()
            file = f"file {self._rows.index(row) + 1} of {len(self._rows)}"
            self._print(f"{row.path.name}: loading {progress.record_type}, {file}")
        row.show(progress.reading, progress.tally)
        workers = [] if self._workers is None else [counted(self._workers, "worker")]
        waits = [self._describe_wait(progress.waiting_for)] if progress.waiting_for else []
        numbers = [f"{counted(progress.batches_in_flight, 'batch')} in flight", *workers]
        self._below = [", ".join(numbers), *waits]
        if time.monotonic() - self._line_at >= LINE_SECONDS:
            self._line_at = time.monotonic()
            done = [f"{int(100 * row.share)} %", f"{row.left()} left"]
            done += [f"{counted(row.done, 'record')} done", f"{row.rate():,.0f}/s"]
            done += [f"{row.quarantined:,} quarantined"] if row.quarantined else []
            self._print(f"{row.path.name}: {', '.join([*done, *numbers, *waits])}")

    def wait(self, reason: str) -> None:
        """Show the reason of a wait before the first dump or after the last one."""
        text = self._describe_wait(reason)
        self._below = [text]
        if reason != self._waiting_for:
            self._print(text)
        self._waiting_for = reason

    def ended(self, report: loader.Report) -> None:
        """Show the result of one dump."""
        row = self._row(report.path)
        row.end(report)
        parts = [
            f"{counted(report.read, report.record_type.element)} in {duration(report.seconds)}",
            f"{row.rate():,.0f}/s",
            *([f"{report.tally.quarantined:,} quarantined"] if report.tally.quarantined else []),
            *([] if report.complete else ["incomplete"]),
        ]
        self._below = []
        self._print(f"{report.path.name}: {', '.join(parts)}")

    def _row(self, path: Path) -> _Row:
        """Return the row of a dump; a file may be loaded twice."""
        for row in self._rows:
            if row.path == path.absolute() and not row.has_ended:
                return row
        self._rows.append(_Row(path.absolute()))
        return self._rows[-1]

    def _print(self, line: str) -> None:
        """Print a line where there is no terminal."""
        if not self._console.is_interactive:
            self._console.print(line)

    def _table(self) -> RenderableType:
        """Return the dumps as they fit the screen, and a line below."""
        fit = max(1, self._console.height - OTHER_LINES)
        current = next((place for place, row in enumerate(self._rows) if not row.has_ended), len(self._rows))
        first = max(0, min(current - fit // 2, len(self._rows) - fit))
        shown = self._rows[first : first + fit]
        left_out = set() if any(row.quarantined for row in shown) else {"quarantined"}
        table = _table_of(shown, left_out)
        any_width = self._console.options.update(max_width=1000)
        for heading in LESS_NEEDED:
            if self._console.measure(table, options=any_width).minimum <= self._console.width:
                break
            left_out.add(heading)
            table = _table_of(shown, left_out)
        hidden = len(self._rows) - len(shown)
        more = [Text(f"and {counted(hidden, 'dump')} more")] if hidden else []
        return Group(table, *more, *(Text(printable(line)) for line in self._below))

    def _describe_wait(self, reason: str) -> str:
        return describe_wait(self._context, reason)

    def _count_workers(self) -> None:
        """Ask for the workers again and again; a busy one answers late."""
        with self._context.app() as app:
            while not self._ended.wait(COUNT_SECONDS):
                self._workers = len(active_workers(app))


def _table_of(rows: Sequence[_Row], left_out: Collection[str]) -> Table:
    """Return a table of dumps without some of its columns."""
    kept = [place for place, heading in enumerate(HEADINGS) if heading not in left_out]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cells = [row.cells() for row in rows]
    for place in kept:
        # Only a name may be cut.
        width = max(len(str(each)) for each in (HEADINGS[place], *(row[place] for row in cells)))
        table.add_column(
            HEADINGS[place],
            justify="left" if place < 2 else "right",
            no_wrap=place > 0,
            min_width=width if place else None,
        )
    for row in cells:
        table.add_row(*(row[place] for place in kept))
    return table


def describe_wait(context: Context, reason: str) -> str:
    """Describe a wait, with the command that helps."""
    hint = f"; `{context.worker_command()}` starts one" if reason == NO_WORKER else ""
    return f"waiting for {reason}{hint}"


def _short(number: float) -> str:
    """`950`, `15.2k`, `18.4M`."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"

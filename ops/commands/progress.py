"""Progress of dumps: a bar on a terminal, lines elsewhere."""

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.padding import Padding
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from ops.commands.console import counted, duration
from ops.commands.context import Context
from ops.stack.worker_process import active_workers
from pipeline.errors import printable
from pipeline.model import RecordType
from workers import loader
from workers.sender import NO_WORKER

#: Interval between two lines where there is no terminal.
LINE_SECONDS = 10.0
#: The shortest time between two updates of bytes.
SHOWN_SECONDS = 0.1
#: Pause before each count of the workers.
COUNT_SECONDS = 2.0


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
        """Describe a wait, with the command that helps."""
        hint = f"; `{self._context.worker_command()}` starts one" if reason == NO_WORKER else ""
        return f"waiting for {reason}{hint}"


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


class LoadProgress(DumpProgress):
    """Shows the progress of loads; the loader calls `show` and `wait`."""

    def __init__(self, context: Context, console: Console, files: int) -> None:
        super().__init__(context, console, "loading", files)
        self._workers: int | None = None
        self._ended = threading.Event()
        self._counter = threading.Thread(target=self._count_workers, name="count of workers", daemon=True)

    def __enter__(self) -> Self:
        self._counter.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._ended.set()
        self._counter.join()

    def show(self, progress: loader.Progress) -> None:
        """Show the progress of one dump."""
        tally = progress.tally
        more = [f"{counted(progress.batches_in_flight, 'batch')} in flight"]
        more += [] if self._workers is None else [counted(self._workers, "worker")]
        more += [f"{tally.quarantined:,} quarantined"] if tally.quarantined else []
        self.advance(
            progress.path,
            progress.record_type,
            progress.reading.done(tally),
            tally.read,
            *more,
            waiting_for=progress.waiting_for,
        )

    def ended(self, report: loader.Report) -> None:
        """Show the result of one dump."""
        parts = [
            f"{counted(report.read, report.record_type.element)} in {duration(report.seconds)}",
            f"{report.tally.read / max(report.seconds, 1e-3):,.0f}/s",
            *([f"{report.tally.quarantined:,} quarantined"] if report.tally.quarantined else []),
            *([] if report.complete else ["incomplete"]),
        ]
        self.end(report.path, ", ".join(parts))

    def _count_workers(self) -> None:
        """Ask for the workers again and again; a busy one answers late."""
        with self._context.app() as app:
            while not self._ended.wait(COUNT_SECONDS):
                self._workers = len(active_workers(app))

"""Progress of a load: bars on a terminal, lines elsewhere."""

import datetime
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ops.commands.console import counted
from workers import loader
from workers.sender import NO_WORKER

#: Interval between two lines where there is no terminal.
LINE_SECONDS = 5.0


class _Bars(Progress):
    """Two lines per dump, so that 80 columns are enough: a bar, then the numbers."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield a bar and a line for each dump."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            yield Text(f"  {task.fields['state']}")


class LoadProgress:
    """Shows the progress of loads; the loader calls `show`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = _Bars(
            TextColumn("{task.description:8}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._line_at = time.monotonic()
        self._waiting_for = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, progress: loader.Progress) -> None:
        """Show the progress of one dump."""
        state = describe(progress)
        if not self._console.is_terminal:
            if time.monotonic() - self._line_at >= LINE_SECONDS:
                self._line_at = time.monotonic()
                self._console.print(f"{progress.path.name}: {describe_bytes(progress)}, {state}")
            return
        name = str(progress.path)
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(
                progress.record_type.value, total=progress.reading.size_bytes, state=state
            )
        self._bars.update(self._tasks[name], completed=progress.reading.consumed_bytes, state=state)

    def wait(self, reason: str) -> None:
        """Print the reason of a wait outside the load of a dump, once."""
        if reason != self._waiting_for:
            self._waiting_for = reason
            self._console.print(describe_wait(reason))

    def ended(self, report: loader.Report) -> None:
        """Show the result of one dump."""
        if str(report.path) in self._tasks:
            rate = report.tally.read / max(report.seconds, 1e-3)
            state = (
                f"{counted(report.read, 'record')}, {rate:,.0f}/s, {report.tally.quarantined:,} quarantined"
            )
            task = self._tasks[str(report.path)]
            total = self._bars.tasks[self._bars.task_ids.index(task)].total
            self._bars.update(task, completed=total if report.complete else None, state=state)


def describe(progress: loader.Progress) -> str:
    """Describe the records done, the rate, the batches in flight and the quarantined records."""
    tally = progress.tally
    read_whole = progress.reading.consumed_bytes >= progress.reading.size_bytes
    done = counted(progress.reading.records if read_whole else tally.read, "record")
    parts = [
        f"{tally.read:,} of {done}" if read_whole else done,
        f"{tally.read / max(_seconds(progress), 1e-3):,.0f}/s",
        f"{counted(progress.batches_in_flight, 'batch')} in flight",
        f"{tally.quarantined:,} quarantined",
    ]
    if progress.waiting_for:
        parts.append(describe_wait(progress.waiting_for))
    return ", ".join(parts)


def describe_wait(reason: str) -> str:
    """Describe a wait, with the command that helps."""
    hint = ", `graphinator up` starts some" if reason == NO_WORKER else ""
    return f"waiting for {reason}{hint}"


def describe_bytes(progress: loader.Progress) -> str:
    """Describe the part of the file that is read, and the time left."""
    consumed = progress.reading.consumed_bytes
    percent = f"{100 * consumed // max(1, progress.reading.size_bytes)} %"
    if not 0 < consumed < progress.reading.size_bytes:
        return percent
    left = _seconds(progress) * (progress.reading.size_bytes - consumed) / consumed
    return f"{percent}, {datetime.timedelta(seconds=round(left))} left"


def _seconds(progress: loader.Progress) -> float:
    return time.time() - progress.reading.started

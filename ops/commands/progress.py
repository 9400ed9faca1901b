"""What a person sees while a load runs."""

import datetime
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ops.commands.console import counted
from workers import loader
from workers.sender import NO_WORKER

#: How often a line is printed where there is no terminal to draw on.
LINE_SECONDS = 5.0


class LoadProgress:
    """A bar a dump on a terminal, a line now and then elsewhere; `show` is what the loader calls."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}", markup=False),
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
        """Show where the load of one dump stands."""
        state = describe(progress)
        if not self._console.is_terminal:
            if time.monotonic() - self._line_at >= LINE_SECONDS:
                self._line_at = time.monotonic()
                self._console.print(f"{progress.path.name}: {describe_bytes(progress)}, {state}")
            return
        name = str(progress.path)
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(
                progress.record_type.value, total=progress.size_bytes, state=""
            )
        self._bars.update(self._tasks[name], completed=progress.consumed_bytes, state=state)

    def wait(self, reason: str) -> None:
        """Say once what is awaited while no dump is being loaded."""
        if reason != self._waiting_for:
            self._waiting_for = reason
            self._console.print(describe_wait(reason))

    def ended(self, report: loader.Report) -> None:
        """Show how the load of one dump ended."""
        if str(report.path) in self._tasks:
            rate = report.tally.read / max(report.seconds, 1e-3)
            state = (
                f"{counted(report.read, 'record')}, {rate:,.0f}/s, {report.tally.quarantined:,} quarantined"
            )
            task = self._tasks[str(report.path)]
            total = self._bars.tasks[self._bars.task_ids.index(task)].total
            self._bars.update(task, completed=total if report.complete else None, state=state)


def describe(progress: loader.Progress) -> str:
    """One line: records done, of how many if the dump is read, rate, what is in flight, what was quarantined."""
    tally = progress.tally
    read_whole = progress.consumed_bytes >= progress.size_bytes
    done = counted(progress.read if read_whole else tally.read, "record")
    parts = [
        f"{tally.read:,} of {done}" if read_whole else done,
        f"{tally.read / max(progress.seconds, 1e-3):,.0f}/s",
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
    """How much of the file is read, and how long the rest of it takes at that rate."""
    consumed = progress.consumed_bytes
    percent = f"{100 * consumed // max(1, progress.size_bytes)} %"
    if not 0 < consumed < progress.size_bytes:
        return percent
    left = progress.seconds * (progress.size_bytes - consumed) / consumed
    return f"{percent}, {datetime.timedelta(seconds=round(left))} left"

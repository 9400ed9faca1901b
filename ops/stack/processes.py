"""A server as a process of its own: started apart from us, recognised later, stopped whole.

A process is known by its pid *and* the time it started: a pid alone may by now belong to someone else.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.errors import StackError

#: The clock of the machine may be set while a process runs, which moves the start times that are reported.
CLOCK_STEP_SECONDS = 5.0

#: A killed process is gone at once unless the kernel is busy for it.
KILL_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Mark:
    """What recognises a process: its pid, and when it started in seconds since the epoch."""

    pid: int
    started: float

    def find(self) -> psutil.Process | None:
        """The process if it still runs. One that ended and was not yet waited for does not."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > CLOCK_STEP_SECONDS:
                return None
            if process.status() != psutil.STATUS_ZOMBIE:
                return process
            if process.ppid() == os.getpid():
                os.waitpid(self.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            pass
        return None

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.find() is not None


def spawn(
    command: list[str], *, log: Path, environment: Mapping[str, str], record: Callable[[Mark], None]
) -> Mark:
    """Start a process in a session of its own, its output in `log`; the log of its last run becomes `….old`.

    `record` is called with the mark before a Ctrl-C can come between the two.

    Raises:
        StackError: the command cannot be started.
    """
    if log.exists():
        log.replace(log.with_suffix(".log.old"))
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        # Not subprocess.Popen: its object warns when it is dropped while the process lives, and these outlive us.
        try:
            pid = os.posix_spawn(
                command[0],
                command,
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(log), write, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=(),
            )
        except OSError as error:
            raise StackError(f"cannot start {command[0]}: {error.strerror}") from error
        mark = Mark(pid, psutil.Process(pid).create_time())
        record(mark)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return mark


def stop(marks: Iterable[Mark], *, timeout_seconds: float) -> None:
    """End processes: SIGTERM to each, SIGKILL to the sessions of those that still run after the time.

    Raises:
        StackError: one outlives even that.
    """
    left = _signal(marks, signal.SIGTERM, timeout_seconds)
    left = _signal(left, signal.SIGKILL, KILL_SECONDS)
    if left:
        raise StackError(f"process {left[0].pid} cannot be ended")


def last_line(log: Path) -> str:
    """The line of a log that most likely says why its process ended: the last error, else the last line."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "it wrote nothing"
    lines = [line for line in lines if line] or ["it wrote nothing"]
    telling = [
        line for line in lines if any(word in line for word in ("ERROR", "Error", "FATAL", "Caused by"))
    ]
    return (telling or lines)[-1][:300]


def _signal(marks: Iterable[Mark], number: signal.Signals, wait_seconds: float) -> list[Mark]:
    """Signal those that run, and wait; those that still run then."""
    left = [mark for mark in marks if mark.is_alive()]
    for mark in left:
        # It may have ended since the look, which is what is wanted.
        with suppress(ProcessLookupError):
            os.killpg(mark.pid, number) if number == signal.SIGKILL else os.kill(mark.pid, number)
    deadline = time.monotonic() + wait_seconds
    while (left := [mark for mark in left if mark.is_alive()]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left

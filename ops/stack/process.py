"""Background processes: start, recognise later, stop."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.errors import StackError

#: Tolerance for start times, which move when the system clock is set.
CLOCK_STEP_SECONDS = 5.0

#: A killed process ends at once unless the kernel is busy.
KILL_SECONDS = 10.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid with its start time, because the system reuses pids."""

    pid: int
    #: In seconds since the epoch.
    started: float

    def find(self) -> psutil.Process | None:
        """Return the process if it still runs. A zombie counts as ended."""
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
        """Return True while the process runs."""
        return self.find() is not None


def spawn(
    command: list[str], *, log: Path, environment: Mapping[str, str], record: Callable[[ProcessId], None]
) -> ProcessId:
    """Start a process in a new session and append its output to `log`.

    An existing log is renamed to `….old`. `record` is called with the new process while SIGINT and SIGTERM are blocked,
    so that an interrupt cannot lose the process.

    Raises:
        StackError: the command cannot be started.
    """
    if log.exists():
        log.replace(log.with_suffix(".log.old"))
    write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        # Not subprocess.Popen: it warns about a process that outlives its object, and these outlive us.
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
        process = ProcessId(pid, psutil.Process(pid).create_time())
        record(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return process


def stop(processes: Iterable[ProcessId], *, timeout_seconds: float) -> None:
    """Send SIGTERM to each process and, after the timeout, SIGKILL to its session.

    Raises:
        StackError: a process survives.
    """
    left = _signal(processes, signal.SIGTERM, timeout_seconds)
    left = _signal(left, signal.SIGKILL, KILL_SECONDS)
    if left:
        raise StackError(f"process {left[0].pid} cannot be ended")


def last_line(log: Path) -> str:
    """Return the last line of a log that mentions an error, else its last line."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "the log is empty"
    # A frame of a Java stack is no message.
    lines = [line for line in lines if line and not line.startswith("at ")] or ["the log is empty"]
    errors = [
        line for line in lines if any(word in line for word in ("ERROR", "Error", "FATAL", "Caused by"))
    ]
    return (errors or lines)[-1][:300]


def _signal(processes: Iterable[ProcessId], number: signal.Signals, wait_seconds: float) -> list[ProcessId]:
    """Signal the processes, wait for their end, and return the survivors."""
    left = [process for process in processes if process.is_alive()]
    for process in left:
        # It may have ended in between.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number) if number == signal.SIGKILL else os.kill(process.pid, number)
    deadline = time.monotonic() + wait_seconds
    while (left := [process for process in left if process.is_alive()]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left

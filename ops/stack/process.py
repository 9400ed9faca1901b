"""Daemons: processes that run on when their starter has ended.

The kernel knows which ones run: each holds a lock on a file of its own for as long as it lives. No pid is stored, so
none can be stale, and two daemons of one role cannot run.
"""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ops.stack import launch
from pipeline.errors import StackError

#: A killed process ends at once unless the kernel is busy.
KILL_SECONDS = 10.0
POLL_SECONDS = 0.05

#: `struct flock`, and where in it the type and the pid are.
_FLOCK, _TYPE, _PID = ("qqihh", 3, 2) if sys.platform == "darwin" else ("hhqqi4x", 0, 4)


@dataclass(frozen=True, slots=True)
class Daemon:
    """The process with a role in a stack, such as `valkey` or `worker1`."""

    home: Path
    role: str
    #: The lock of this process, if it is a daemon that asks for others.
    own: ClassVar[Path | None] = None

    @property
    def lock(self) -> Path:
        """The file that it locks while it runs."""
        return self.home / "run" / f"{self.role}.lock"

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self.home / "logs" / f"{self.role}.log"

    def pid(self) -> int | None:
        """Return the pid of the process, or None unless it runs."""
        if self.lock == self.own:  # to close the file would release the lock
            return os.getpid()
        try:
            descriptor = os.open(self.lock, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            asked = [0] * 5
            asked[_TYPE] = fcntl.F_WRLCK
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack(_FLOCK, *asked))
        finally:
            os.close(descriptor)
        found = struct.unpack(_FLOCK, answer)
        return None if found[_TYPE] == fcntl.F_UNLCK else found[_PID]

    def start(self, command: Sequence[str], environment: Mapping[str, str], held: int) -> None:
        """Start the process. Return when it holds its lock.

        `held` is the descriptor of the lock of the stack. The launcher inherits it, so that nobody else can look for
        daemons until this one has its own lock, even if this process is killed.

        Raises:
            StackError: the command cannot be started, or such a daemon runs.
        """
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(self.lock), str(self.log)]
        # In a session of its own, so that Ctrl-C does not reach it.
        started = subprocess.Popen(
            [*launcher, *command],
            env=environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[held],
            start_new_session=True,
        )
        try:
            _, errors = started.communicate()
        except BaseException:
            started.wait()  # else the daemon might start after the caller has stopped all that run
            raise
        if started.returncode != 0:
            raise StackError(f"cannot start {self.role}: {errors.decode(errors='replace').strip()}")


def running_roles(home: Path) -> list[str]:
    """Return the roles of the daemons that run in `home`, sorted."""
    roles = (lock.stem for lock in (home / "run").glob("*.lock"))
    return sorted(role for role in roles if Daemon(home, role).pid() is not None)


def worker_numbers(roles: Iterable[str]) -> list[int]:
    """Return the numbers of the workers among the roles, ascending."""
    return sorted(int(role.removeprefix("worker")) for role in roles if role.startswith("worker"))


def stop(daemons: Iterable[Daemon], *, timeout_seconds: float) -> None:
    """Send SIGTERM to each daemon and, after the timeout, SIGKILL to its session.

    Raises:
        StackError: a process survives.
    """
    left = _signal(daemons, signal.SIGTERM, timeout_seconds)
    left = _signal(left, signal.SIGKILL, KILL_SECONDS)
    if left:
        raise StackError(f"{left[0].role} cannot be ended (process {left[0].pid()})")


def _signal(daemons: Iterable[Daemon], number: signal.Signals, wait_seconds: float) -> list[Daemon]:
    """Signal the daemons, wait for their end, and return those that still run."""
    left = []
    for daemon in daemons:
        if (pid := daemon.pid()) is not None:
            left.append(daemon)
            if pid <= 0:  # in another container, or on another machine
                continue
            # It may have ended in between.
            with suppress(ProcessLookupError):
                os.killpg(pid, number) if number == signal.SIGKILL else os.kill(pid, number)
    deadline = time.monotonic() + wait_seconds
    while (left := [daemon for daemon in left if daemon.pid() is not None]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left

"""A pytest plugin: asyncio's debug mode for every loop, and failure for what would only be logged.

A test fails if during it
- a callback or a step of a task keeps an event loop busy or waiting for more than `BLOCKED_SECONDS`,
- asyncio logs an error: an exception that nobody retrieved, a task destroyed while pending.

How busy the machine is does not count: the time a thread spends waiting for a processor, for the interpreter's lock,
for the garbage collector or for a thread that it starts to run is not the callback's. Nor is the end of a loop's own pool of
threads, for which asyncio waits.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BLOCKED_SECONDS = 0.1
#: Waits shorter than this on average are those for the interpreter's lock, whose switch interval is 5 ms.
SHORT_WAIT_SECONDS = 0.02
#: The coroutine in which a loop that is closed waits for the threads that `asyncio.to_thread` has used.
ASYNCIOS_OWN = {asyncio.BaseEventLoop.shutdown_default_executor.__qualname__}

_incidents: list[str] = []
_thread = threading.local()
_collecting_seconds = 0.0
_collection_began = 0.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a thread has used of time so far, in seconds."""

    wall: float
    processor: float
    #: Ready to run, while the machine ran something else.
    queued: float
    #: How often the thread gave up the processor by itself: to sleep, to wait.
    waits: int
    collecting: float
    #: In the start of threads, which waits until they run.
    starting: float

    @classmethod
    def now(cls) -> "Usage":
        """That of the calling thread."""
        return cls(
            time.perf_counter(),
            time.thread_time(),
            _queued_seconds(),
            resource.getrusage(_RUSAGE_THREAD).ru_nvcsw,
            _collecting_seconds,
            getattr(_thread, "starting", 0.0),
        )

    def computing_seconds(self, since: "Usage") -> float:
        """How long the thread computed."""
        return self.processor - since.processor - (self.collecting - since.collecting)

    def waiting_seconds(self, since: "Usage") -> float:
        """How long the thread waited for something other than the machine's attention."""
        waiting = (self.wall - since.wall) - (self.processor - since.processor) - (self.queued - since.queued)
        waiting -= self.starting - since.starting
        waits = self.waits - since.waits
        # A thread that never let go of the processor did not wait: the machine was taken from it.
        return waiting if _WAITS_ARE_MEASURED and waits and waiting >= SHORT_WAIT_SECONDS * waits else 0.0


#: Linux only; elsewhere waits are not measured, and those of the process stand in for those of the thread.
_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_WAITS_ARE_MEASURED = _SCHEDSTAT.exists()
_RUSAGE_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


def _queued_seconds() -> float:
    if not hasattr(_thread, "schedstat"):
        try:
            _thread.schedstat = os.open(_SCHEDSTAT, os.O_RDONLY)
        except OSError:
            _thread.schedstat = None
    if _thread.schedstat is None:
        return 0.0
    return int(os.pread(_thread.schedstat, 64, 0).split()[1]) / 1e9


def _time_collection(phase: str, _: dict[str, int]) -> None:
    global _collecting_seconds, _collection_began  # noqa: PLW0603 - the collector is the process's own
    if phase == "start":
        _collection_began = time.thread_time()
    else:
        _collecting_seconds += time.thread_time() - _collection_began


def _time_starts(original: Any) -> Any:
    def start(thread: threading.Thread) -> None:
        began = time.perf_counter()
        original(thread)
        _thread.starting = getattr(_thread, "starting", 0.0) + time.perf_counter() - began

    return start


def _watch_loops(original: Any) -> Any:
    def run(handle: asyncio.Handle) -> None:
        before = Usage.now()
        try:
            original(handle)
        finally:
            after = Usage.now()
            blocked = {
                "computing": after.computing_seconds(before),
                "waiting": after.waiting_seconds(before),
            }
            for what, seconds in blocked.items():
                if seconds > BLOCKED_SECONDS and _coroutine(handle) not in ASYNCIOS_OWN:
                    said = f"an event loop was blocked for {seconds * 1000:.0f} ms, {what}, by"
                    _incidents.append(f"{said} {_coroutine(handle)} {handle!r}")

    return run


def _coroutine(handle: asyncio.Handle) -> str:
    """The name of that whose step the handle runs; empty for a plain callback."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # not in the stubs
    return getattr(task.get_coro(), "__qualname__", "") if isinstance(task, asyncio.Task) else ""


class _Errors(logging.Handler):
    """Takes down what asyncio logs as an error."""

    def emit(self, record: logging.LogRecord) -> None:
        _incidents.append(self.format(record))


def _fail_for_incidents() -> Generator[None, object, object]:
    _incidents.clear()
    outcome = yield
    incidents = list(_incidents)
    if incidents:
        pytest.fail("\n".join(incidents), pytrace=False)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    return (yield from _fail_for_incidents())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    return (yield from _fail_for_incidents())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    return (yield from _fail_for_incidents())


def pytest_configure(config: pytest.Config) -> None:
    """Switch it all on, until the run ends."""
    undo = contextlib.ExitStack()
    patch = pytest.MonkeyPatch()
    # The environment variable would do it too, but for worker processes as well: they are tested as they run.
    patch.setattr("asyncio.coroutines._is_debug_mode", lambda: True)
    patch.setattr(asyncio.Handle, "_run", _watch_loops(asyncio.Handle._run))
    patch.setattr(threading.Thread, "start", _time_starts(threading.Thread.start))
    undo.callback(patch.undo)
    gc.callbacks.append(_time_collection)
    undo.callback(gc.callbacks.remove, _time_collection)
    errors = _Errors(logging.ERROR)
    logging.getLogger("asyncio").addHandler(errors)
    undo.callback(logging.getLogger("asyncio").removeHandler, errors)
    config.add_cleanup(undo.close)

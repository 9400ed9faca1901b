"""A pytest plugin: asyncio's debug mode, and failure for events that asyncio only logs.

A test fails if during it
- a callback or a step of a task keeps an event loop busy or waiting for more than `BLOCKED_SECONDS`,
- asyncio logs an error: an exception that nobody retrieved, a task destroyed while pending.

asyncio's own check of slow callbacks measures wall time, which a busy machine stretches. Here the time of the thread
counts, without its waits for a processor, for the interpreter's lock, for the start of threads and for the collector.
A lock may be held by a thread that waits for a processor itself: then the limit is a multiple of the longest wait of the
loop's own thread for one during the test, which is a few milliseconds on an idle machine.
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
from pathlib import Path
from typing import Any, NamedTuple

import pytest

BLOCKED_SECONDS = 0.1
#: Shorter waits on average are those for the interpreter's lock, whose switch interval is 5 ms.
SHORT_WAIT_SECONDS = 0.02
#: Another thread may wait for a processor so many times as long as the thread of a loop.
OTHERS_WAIT = 3
#: A loop that is closed waits in it for the threads of `asyncio.to_thread`.
EXEMPT = asyncio.BaseEventLoop.shutdown_default_executor.__qualname__
#: Linux only; elsewhere waits are not measured.
_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_WAITS_ARE_MEASURED = _SCHEDSTAT.exists()

_incidents: list[str] = []
_thread = threading.local()
_collecting_seconds = 0.0
_collection_began = 0.0
#: The longest wait of a loop's thread for a processor during this test.
_longest_wait = 0.0


class Usage(NamedTuple):
    """Time that a thread has used so far, in seconds."""

    wall: float
    processor: float
    #: Waits for a processor and for the start of other threads.
    excused: float
    collecting: float
    #: Number of times that the thread gave up the processor by itself, to sleep or to wait.
    waits: int

    @classmethod
    def now(cls) -> "Usage":
        """Usage of the calling thread."""
        excused, waits = getattr(_thread, "starting", 0.0), 0
        if _WAITS_ARE_MEASURED:
            if not hasattr(_thread, "schedstat"):
                _thread.schedstat = os.open(_SCHEDSTAT, os.O_RDONLY)
            excused += int(os.pread(_thread.schedstat, 64, 0).split()[1]) / 1e9
            waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        return cls(time.perf_counter(), time.thread_time(), excused, _collecting_seconds, waits)

    def blocked_seconds(self, since: "Usage", longest_wait: float) -> float:
        """Return how long the thread computed, or waited for something other than the machine's attention.

        `longest_wait` is the longest time that such a thread waited for a processor.
        """
        wall, processor, excused, collecting, waits = (
            now - then for now, then in zip(self, since, strict=True)
        )
        waiting = wall - processor - excused
        waited = _WAITS_ARE_MEASURED and waits and waiting >= SHORT_WAIT_SECONDS * waits
        waited = waited and waiting > OTHERS_WAIT * longest_wait
        return max(processor - collecting, waiting if waited else 0.0)


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
        global _longest_wait  # noqa: PLW0603 - of all threads of the process
        before = Usage.now()
        try:
            original(handle)
        finally:
            after = Usage.now()
            _longest_wait = max(_longest_wait, after.excused - before.excused)
            seconds = after.blocked_seconds(before, _longest_wait)
            if seconds > BLOCKED_SECONDS and _coroutine(handle) != EXEMPT:
                _incidents.append(f"an event loop was blocked for {seconds * 1000:.0f} ms by {handle!r}")

    return run


def _coroutine(handle: asyncio.Handle) -> str:
    """Name of the coroutine whose step the handle runs; empty for a plain callback."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]  # not in the stubs
    return getattr(task.get_coro(), "__qualname__", "") if isinstance(task, asyncio.Task) else ""


class _Errors(logging.Handler):
    """Notes the errors that asyncio logs."""

    def emit(self, record: logging.LogRecord) -> None:
        _incidents.append(self.format(record))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    global _longest_wait  # noqa: PLW0603 - as above
    _longest_wait = 0.0
    _incidents.clear()
    return (yield)


def _fail_for_incidents() -> Generator[None, object, object]:
    outcome = yield
    if _incidents:
        incidents = "\n".join(_incidents)
        _incidents.clear()
        pytest.fail(incidents, pytrace=False)
    return outcome


pytest_runtest_setup = pytest.hookimpl(wrapper=True)(_fail_for_incidents)
pytest_runtest_call = pytest.hookimpl(wrapper=True)(_fail_for_incidents)
pytest_runtest_teardown = pytest.hookimpl(wrapper=True)(_fail_for_incidents)


def pytest_configure(config: pytest.Config) -> None:
    """Switch it all on, until the run ends."""
    undo = contextlib.ExitStack()
    patch = pytest.MonkeyPatch()
    # The environment variable would switch it on in worker processes too: they are tested as they run.
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

"""One asyncio event loop in one thread, for the life of a worker process.

A `neo4j.AsyncDriver` belongs to the loop that first used it, while Celery runs task bodies in threads. A task body
hands a coroutine over and waits for its result or its exception.
"""

import asyncio
import inspect
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar, cast

from pipeline.errors import GraphinatorError
from workers.metrics import LOOP_LAG

logger = logging.getLogger(__name__)

Resource = TypeVar("Resource")
Result = TypeVar("Result")

#: A cancelled coroutine may take so long to roll back its transaction.
GRACE_SECONDS = 10.0
#: The pause between two measurements of the loop's lag.
LAG_SECONDS = 1.0


class LoopStopped(GraphinatorError):
    """The event loop ended before the coroutine did; the coroutine was cancelled, or never began."""

    def is_retryable(self) -> bool:
        """Return True: another worker, or this one after a restart, can do the same work."""
        return True


class EventLoop(Generic[Resource]):
    """The owner of the loop: `start`, then `run` from any number of threads, then `stop`.

    `open_resource` makes the asynchronous context manager that lives as long as the loop, the driver: `start` enters
    it on the loop, `stop` leaves it there.
    """

    def __init__(self, open_resource: Callable[[], AbstractAsyncContextManager[Resource]]) -> None:
        self._open_resource = open_resource
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        #: Guards `_loop`: nothing is handed over once the loop is about to end.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._resource: Resource | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def resource(self) -> Resource:
        """The open resource; raises LoopStopped while the loop does not run."""
        if self._resource is None:
            raise LoopStopped("the event loop does not run")
        return self._resource

    def start(self) -> None:
        """Start the thread and enter the resource; raises what entering it raised."""
        self._check_process()
        if self._thread is not None:
            raise RuntimeError("the event loop was started before")
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, args=(started,), name="event-loop", daemon=True)
        self._thread.start()
        started.result()

    def stop(self) -> None:
        """Cancel what runs, wait until it has rolled back, leave the resource, end the thread.

        Harmless when the loop was never started or has stopped.
        """
        self._check_process()
        if self._thread is None:
            return
        with self._lock:
            if self._loop is not None and self._stopping is not None:
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._loop = None
        self._thread.join()

    def answers(self, within_seconds: float) -> bool:
        """Return True if the loop runs and nothing blocks it for so long."""
        answered = threading.Event()
        with self._lock:
            if self._loop is None:
                return False
            self._loop.call_soon_threadsafe(answered.set)
        return answered.wait(within_seconds)

    def run(self, coroutine: Coroutine[Any, Any, Result], *, timeout_seconds: float | None = None) -> Result:
        """Run a coroutine on the loop and wait for it.

        It runs in a copy of the caller's context. Past `timeout_seconds` it is cancelled and TimeoutError raised. If
        the waiting thread is interrupted, it is cancelled and given time to roll back. Raises LoopStopped if the loop
        ends first.
        """
        ended = threading.Event()
        try:
            self._check_process()
            if threading.current_thread() is self._thread:
                raise RuntimeError("run() on the event loop's own thread would wait for itself: await")
            with self._lock:
                if self._loop is None:
                    raise LoopStopped("the event loop does not run")
                future = asyncio.run_coroutine_threadsafe(
                    self._outcome(coroutine, timeout_seconds, ended), self._loop
                )
        except BaseException:
            coroutine.close()
            raise
        try:
            result, error = future.result()
        except CancelledError:
            if timeout_seconds is not None and self._loop is not None:
                # The driver had cancelled the task as well, which `asyncio.timeout` leaves as it is.
                raise TimeoutError from None
            raise LoopStopped("the event loop stopped while the work was under way") from None
        except BaseException:
            future.cancel()
            if not ended.wait(GRACE_SECONDS):
                logger.exception("a cancelled coroutine did not end within %s s", GRACE_SECONDS)
            raise
        finally:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
        if error is not None:
            raise error
        return cast("Result", result)

    async def _outcome(
        self, coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None, ended: threading.Event
    ) -> tuple[Any, BaseException | None]:
        """Return result and error as values: a SystemExit raised in a task ends the loop."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._tasks.add(task)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await coroutine, None
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            return None, error
        finally:
            self._tasks.discard(task)
            ended.set()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("an event loop does not survive a fork: use Celery's threads pool")

    def _main(self, started: "Future[None]") -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            if started.done():
                logger.exception("the event loop ended with an error")
            else:
                started.set_exception(error)

    async def _serve(self, started: "Future[None]") -> None:
        stopping = asyncio.Event()
        watching = asyncio.create_task(_watch_lag())
        try:
            async with self._open_resource() as resource:
                with self._lock:
                    self._loop, self._stopping = asyncio.get_running_loop(), stopping
                    self._resource = resource
                started.set_result(None)
                await stopping.wait()
                # Their transactions roll back while the resource is still open.
                for task in self._tasks:
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
        finally:
            watching.cancel()
            with self._lock:
                self._loop = self._resource = None


async def _watch_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - due))

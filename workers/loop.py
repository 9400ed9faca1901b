"""One asyncio event loop in one thread, for the life of a worker process.

A `neo4j.AsyncDriver` belongs to the loop that it was first used on, while Celery runs task bodies in
threads. This class is the bridge: a task body hands over a coroutine, waits, and gets its result or
its exception, traceback and context variables included.
"""

import asyncio
import contextvars
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, ParamSpec, TypeVar, cast

from asgiref.sync import ThreadSensitiveContext

from pipeline.errors import GraphinatorError

logger = logging.getLogger(__name__)

Resource = TypeVar("Resource")
Result = TypeVar("Result")
P = ParamSpec("P")

#: How long a cancelled coroutine may take to roll back its transaction.
GRACE_SECONDS = 10.0


class LoopStopped(GraphinatorError):
    """The event loop ended before the coroutine did; the coroutine was cancelled or never began."""

    def is_retryable(self) -> bool:
        """Another worker, or this one after its restart, can do the same work."""
        return True


class EventLoop(Generic[Resource]):
    """The loop's owner: `start`, then `run` from any number of threads, then `stop`.

    `open_resource` makes the asynchronous context manager that lives as long as the loop (the
    driver); it is entered on the loop by `start` and left on the loop by `stop`.
    """

    def __init__(self, open_resource: Callable[[], AbstractAsyncContextManager[Resource]]) -> None:
        self._open_resource = open_resource
        self._owner_pid = os.getpid()
        self._state = threading.Lock()
        self._calls: set[_Call] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._resource: Resource | None = None

    @property
    def resource(self) -> Resource:
        """What `open_resource` gave; raises LoopStopped while the loop does not run."""
        if self._resource is None:
            raise LoopStopped("the event loop does not run")
        return self._resource

    def start(self) -> None:
        """Start the thread and enter the resource; raises what entering it raised."""
        self._check_process()
        if self._thread is not None:
            raise RuntimeError("the event loop was started before")
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._thread_main, args=(started,), name="event-loop", daemon=True
        )
        self._thread.start()
        started.result()

    def stop(self) -> None:
        """Cancel what still runs, wait until it has rolled back, leave the resource, end the thread.

        Harmless when the loop was never started or has stopped.
        """
        self._check_process()
        thread = self._thread
        if thread is None:
            return
        with self._state:
            if self._loop is not None and self._stopping is not None:
                self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()

    def run(self, coroutine: Coroutine[Any, Any, Result], *, timeout_seconds: float | None = None) -> Result:
        """Run `coroutine` on the loop and wait for it.

        Past `timeout_seconds` it is cancelled and TimeoutError raised; if the waiting thread is
        interrupted, it is cancelled and given time to unwind. A thread-sensitive `sync_to_async`
        inside it comes back to the calling thread. Raises LoopStopped if the loop ends first.
        """
        try:
            self._check_process()
            if threading.current_thread() is self._thread:
                raise RuntimeError(
                    "run() called from the event loop's own thread would wait for itself: await"
                )
            call = _Call()
            with self._state:
                if self._loop is None:
                    raise LoopStopped("the event loop does not run")
                self._calls.add(call)
                self._loop.call_soon_threadsafe(self._begin, call, coroutine, timeout_seconds)
        except BaseException:
            coroutine.close()
            raise
        try:
            return cast("Result", call.wait())
        except BaseException:
            if not call.ended:
                self._cancel(call)
            raise
        finally:
            with self._state:
                self._calls.discard(call)

    def _check_process(self) -> None:
        if os.getpid() != self._owner_pid:
            raise RuntimeError(
                "an event loop does not survive a fork: use Celery's threads pool (celery worker --pool threads)"
            )

    def _begin(
        self, call: "_Call", coroutine: Coroutine[Any, Any, Any], timeout_seconds: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        call.task = loop.create_task(
            _outcome(coroutine, call.executor, timeout_seconds), context=call.context
        )
        call.task.add_done_callback(call.end)
        if call.cancelled or (self._stopping is not None and self._stopping.is_set()):
            call.task.cancel()

    def _cancel(self, call: "_Call") -> None:
        call.cancelled = True
        with self._state:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(lambda: call.task and call.task.cancel())
        if not call.drain(GRACE_SECONDS):
            logger.error("a cancelled coroutine did not end within %s s", GRACE_SECONDS)

    def _thread_main(self, started: "Future[None]") -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._main(started))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            else:
                logger.exception("the event loop ended with an error")
        finally:
            with self._state:
                self._loop = self._stopping = self._resource = None
                calls = list(self._calls)
            for call in calls:
                call.end(None)

    async def _main(self, started: "Future[None]") -> None:
        stopping = asyncio.Event()
        async with self._open_resource() as resource:
            with self._state:
                self._loop, self._stopping, self._resource = asyncio.get_running_loop(), stopping, resource
            started.set_result(None)
            await stopping.wait()
            with self._state:
                self._loop = None
            await asyncio.sleep(0)  # lets what was handed over before this begin, and be cancelled
            with self._state:
                tasks = [call.task for call in self._calls if call.task is not None]
            # Their transactions roll back while the resource is still open.
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=GRACE_SECONDS)


class _Call:
    """One coroutine on the loop and the thread that waits for it.

    The waiting thread sits on a SimpleQueue: besides the end mark it receives the functions that
    the coroutine sends back with `sync_to_async`. Waiting on a Condition instead can dead-lock when
    an exception interrupts the wait.
    """

    def __init__(self) -> None:
        self.context = contextvars.copy_context()
        self.task: asyncio.Task[tuple[Any, BaseException | None]] | None = None
        self.cancelled = False
        self.ended = False
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.executor = _CallerExecutor(self._inbox)

    def end(self, _: object) -> None:
        self._inbox.put(None)

    def wait(self) -> Any:
        while (work := self._inbox.get()) is not None:
            work()
        self.ended = True
        self._adopt_context()
        if self.task is None or not self.task.done() or self.task.cancelled():
            raise LoopStopped("the event loop stopped while the work was under way")
        value, error = self.task.result()
        if error is not None:
            raise error
        return value

    def drain(self, timeout_seconds: float) -> bool:
        """Serve the unwinding coroutine; whether it ended in time."""
        deadline = time.monotonic() + timeout_seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                work = self._inbox.get(timeout=left)
            except queue.Empty:
                break
            if work is None:
                return True
            work()
        return False

    def _adopt_context(self) -> None:
        missing = object()
        for variable, value in self.context.items():
            if variable.get(missing) is not value:
                variable.set(value)


class _CallerExecutor(Executor):
    """Runs functions in the thread that waits for the coroutine, one at a time."""

    def __init__(self, inbox: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
        self._inbox = inbox

    def submit(self, fn: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> "Future[Result]":
        future: Future[Result] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
                future.set_exception(error)

        self._inbox.put(work)
        return future


async def _outcome(
    coroutine: Coroutine[Any, Any, Any], executor: Executor, timeout_seconds: float | None
) -> tuple[Any, BaseException | None]:
    """The coroutine's result or error as a value: a SystemExit raised in a task would end the loop."""
    try:
        async with ThreadSensitiveContext(executor=executor), asyncio.timeout(timeout_seconds):
            return await coroutine, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
        return None, error

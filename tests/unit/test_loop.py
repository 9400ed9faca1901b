"""The event loop of a worker process, and the bridge from task threads to it."""

import asyncio
import contextvars
import multiprocessing
import signal
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from workers.loop import EventLoop, LoopStopped

VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("VARIABLE", default=0)


class Resource:
    """A stand-in for the driver that records its loop and its events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Resource"]:
        self.loop = asyncio.get_running_loop()
        self.events.append("opened")
        yield self
        await asyncio.sleep(0)
        self.events.append("closed")


@pytest.fixture
def resource() -> Resource:
    return Resource()


@pytest.fixture
def loop(resource: Resource) -> Iterator[EventLoop[Resource]]:
    loop = EventLoop(resource.open)
    loop.start()
    yield loop
    loop.stop()


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def running_thread() -> threading.Thread:
    return threading.current_thread()


def test_all_calls_from_all_threads_run_on_the_loop_that_the_resource_was_opened_on(
    loop: EventLoop[Resource], resource: Resource
) -> None:
    found: list[asyncio.AbstractEventLoop] = []
    threads = [threading.Thread(target=lambda: found.append(loop.run(running_loop()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [resource.loop] * 8
    assert loop.resource is resource


def test_stop_awaits_the_closing_of_the_resource_and_ends_the_thread(
    loop: EventLoop[Resource], resource: Resource
) -> None:
    thread = loop.run(running_thread())
    loop.stop()
    assert resource.events == ["opened", "closed"]
    assert not thread.is_alive()
    loop.stop()


def test_a_call_after_the_stop_is_refused_as_one_that_may_be_repeated_elsewhere(
    loop: EventLoop[Resource],
) -> None:
    loop.stop()
    with pytest.raises(LoopStopped) as caught:
        loop.run(running_loop())
    assert caught.value.is_retryable()
    with pytest.raises(LoopStopped):
        _ = loop.resource


def test_a_blocked_or_stopped_loop_does_not_answer_and_nobody_waits_for_it(
    loop: EventLoop[Resource],
) -> None:
    assert loop.answers(30.0)
    blocked, release = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        release.wait()

    thread = threading.Thread(target=loop.run, args=(block(),))
    thread.start()
    try:
        blocked.wait()
        assert not loop.answers(0.0)
    finally:
        release.set()
        thread.join()
    assert loop.answers(30.0)
    loop.stop()
    assert not loop.answers(30.0)


def test_an_error_while_the_resource_opens_is_raised_by_start(resource: Resource) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        if resource.events == []:
            raise OSError("no route")
        yield

    loop = EventLoop(broken)
    with pytest.raises(OSError, match="no route"):
        loop.start()


def test_a_second_start_is_refused(loop: EventLoop[Resource]) -> None:
    with pytest.raises(RuntimeError, match="started before"):
        loop.start()


def test_an_exception_arrives_with_the_frames_that_raised_it(loop: EventLoop[Resource]) -> None:
    async def deeper() -> None:
        raise ValueError("bad")

    async def outer() -> None:
        await deeper()

    with pytest.raises(ValueError, match="bad") as caught:
        loop.run(outer())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["outer", "deeper"]


def test_context_variables_arrive_and_what_is_done_to_them_stays_there(loop: EventLoop[Resource]) -> None:
    async def increase() -> int:
        seen = VARIABLE.get()
        VARIABLE.set(seen + 1)
        return seen

    token = VARIABLE.set(41)
    try:
        assert loop.run(increase()) == 41
        assert VARIABLE.get() == 41
    finally:
        VARIABLE.reset(token)


def test_past_the_deadline_the_coroutine_is_cancelled_and_unwinds(loop: EventLoop[Resource]) -> None:
    unwound: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            unwound.append("rolled back")

    with pytest.raises(TimeoutError):
        loop.run(forever(), timeout_seconds=0.01)
    assert unwound == ["rolled back"]


def test_a_time_out_is_one_though_the_coroutine_cancels_itself_as_well(loop: EventLoop[Resource]) -> None:
    async def cancelled_twice() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.Event().wait()
        finally:
            task.cancel()

    with pytest.raises(TimeoutError):
        loop.run(cancelled_twice(), timeout_seconds=0.01)


def test_stop_cancels_what_runs_and_closes_the_resource_after_it_has_unwound(
    loop: EventLoop[Resource], resource: Resource
) -> None:
    begun = threading.Event()
    caught: list[BaseException] = []

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            resource.events.append("rolled back")

    def wait() -> None:
        try:
            loop.run(forever())
        except LoopStopped as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    loop.stop()
    thread.join()
    assert resource.events == ["opened", "rolled back", "closed"]
    assert len(caught) == 1


def test_an_interrupted_wait_cancels_the_coroutine_before_the_interrupt_goes_on(
    loop: EventLoop[Resource], resource: Resource
) -> None:
    main = threading.main_thread().ident or 0

    async def forever() -> None:
        try:
            while sys._current_frames()[main].f_code.co_name != "wait":  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(0.001)
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            resource.events.append("unwound")

    with pytest.raises(KeyboardInterrupt):
        loop.run(forever())
    assert resource.events == ["opened", "unwound"]


def test_a_coroutine_that_raises_system_exit_does_not_take_the_loop_down(loop: EventLoop[Resource]) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        loop.run(leave())
    assert loop.run(running_loop()) is not None


def test_a_call_from_the_loops_own_thread_is_refused(loop: EventLoop[Resource]) -> None:
    async def nested() -> None:
        loop.run(running_loop())

    with pytest.raises(RuntimeError, match="await"):
        loop.run(nested())


def test_a_loop_inherited_over_a_fork_is_refused() -> None:
    loop = EventLoop(Resource().open)
    child = multiprocessing.get_context("fork").Process(target=_start_refused, args=(loop,))
    child.start()
    child.join()
    assert child.exitcode == 0


def _start_refused(loop: EventLoop[Resource]) -> None:
    with pytest.raises(RuntimeError, match="fork"):
        loop.start()

"""The lease on the real Valkey: one holder, a heartbeat, a lost lease."""

import asyncio
import threading
import time
import weakref
from typing import cast

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from redis.exceptions import RedisError

from workers.state.lease import Lease, LeaseLost, held

KEY = "graphinator:lease"


def lease(redis: Redis, *, seconds: float = 30) -> Lease:
    return Lease(redis, KEY, "a test", seconds=seconds)


def test_one_process_holds_it_at_a_time_and_gives_it_up(redis: Redis) -> None:
    with held(lease(redis)) as first:
        assert first is not None
        assert first.is_held()
        with held(lease(redis)) as second:
            assert second is None
        assert first.is_held()
    assert not redis.exists(KEY)
    with held(lease(redis)) as third:
        assert third is not None
        with pytest.raises(LeaseLost, match="lost the lease on a test"):
            first.check()


def test_an_acquisition_whose_answer_is_lost_finds_its_own_token(redis: Redis) -> None:
    one = lease(redis)
    redis.set(KEY, one.token)
    assert one.acquire()
    one.release()
    assert not redis.exists(KEY)


def test_a_lease_that_another_process_holds_is_freed_at_once(redis: Redis) -> None:
    """Recovery retries in each worker, with a new connection each time."""
    redis.set(KEY, "another")
    one = lease(redis)
    freed = weakref.ref(one)
    assert not one.acquire()
    del one
    assert freed() is None


def test_its_heartbeat_renews_it(redis: Redis) -> None:
    with held(lease(redis, seconds=0.3)) as one:
        assert one is not None
        for _ in range(4):
            redis.pexpire(KEY, 250)
            while redis.pttl(KEY) <= 250:
                assert redis.exists(KEY)
                time.sleep(0.005)


def test_its_heartbeat_survives_a_redis_that_does_not_answer(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one = lease(redis, seconds=0.3)
    script, failed = one._script, threading.Event()

    def fail_once(keys: list[str], args: list[str]) -> object:
        if not failed.is_set():
            failed.set()
            raise RedisError("no route")
        return script(keys=keys, args=args)

    one._script = cast("Script", fail_once)
    with held(one):
        assert failed.wait(30)
        redis.set(KEY, one.token, px=1)
        lost = threading.Event()
        one.on_lost(lost.set)
        assert lost.wait(30)
    assert "is not renewed: no route" in caplog.text


def test_who_lost_it_leaves_it_to_the_next_holder(redis: Redis) -> None:
    with held(lease(redis)):
        redis.set(KEY, "another")
    assert redis.get(KEY) == b"another"


def test_its_loss_is_told_once_also_to_who_asks_later(redis: Redis) -> None:
    lost, again = threading.Event(), threading.Event()
    with held(lease(redis, seconds=0.1)) as one:
        assert one is not None
        one.on_lost(lost.set)
        redis.set(KEY, "another")
        assert lost.wait(30)
        one.on_lost(again.set)
        assert again.is_set()


@pytest.mark.parametrize("taken", [True, False])
def test_it_counts_at_the_end_of_a_transaction(redis: Redis, *, taken: bool) -> None:
    with held(lease(redis)) as one:
        assert one is not None

        def write(pipe: Pipeline) -> None:
            one.guard(pipe)
            if taken:
                redis.set(KEY, "another")
            pipe.multi()
            pipe.set("graphinator:written", 1)

        if taken:
            with pytest.raises(LeaseLost):
                redis.transaction(write)
        else:
            redis.transaction(write)
    assert bool(redis.exists("graphinator:written")) is not taken


async def test_work_under_it_is_cancelled_when_it_is_lost(redis: Redis) -> None:
    unwound: list[str] = []

    async def work() -> None:
        await asyncio.to_thread(redis.delete, KEY)
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("rolled back")

    one = lease(redis, seconds=0.1)
    assert await asyncio.to_thread(one.acquire)
    with pytest.raises(LeaseLost):
        await one.run(work)
    assert unwound == ["rolled back"]
    await asyncio.to_thread(one.release)


async def test_work_under_it_ends_as_it_does_without_it(redis: Redis) -> None:
    async def late() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    one = lease(redis)
    assert await asyncio.to_thread(one.acquire)
    assert await one.run(asyncio.sleep, 0, "done") == "done"
    with pytest.raises(TimeoutError):
        await one.run(late)
    await asyncio.to_thread(one.release)

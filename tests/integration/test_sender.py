"""The sender on the real Valkey: a holder that lost the load lock changes nothing.

This holds even before it notices the loss.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from redis import Redis

from pipeline.chunk import Chunk
from pipeline.errors import BusyError
from pipeline.model import RecordType
from tests.integration.conftest import REFUSALS, refusing
from workers import sender as sender_module
from workers.app import FINISH, INGEST_QUEUE, NORMALISE_QUEUE, GraphinatorApp, configuration
from workers.sender import CHECK_SECONDS, Sender, TaskFailed, open_sender
from workers.settings import Settings
from workers.state.encoding import bytes_of, pack
from workers.state.exclusive import TaskResult
from workers.state.in_flight import BatchMeta, InFlight
from workers.state.keys import EXCLUSIVE, EXCLUSIVE_LEASE, IN_FLIGHT, LOAD_LOCK
from workers.state.lease import Holder, LeaseLost
from workers.state.runs import Tally

META = BatchMeta(RecordType.LABELS, "run", "labels.xml", records=[1])
CHUNK = pack(Chunk(RecordType.LABELS, [0], [1], [b"<label><id>1</id></label>"]))
ACTS: dict[str, Callable[[Sender], object]] = {
    "stores a batch": lambda sender: sender.send("b", META, [CHUNK], {1}),
    "asks for an exclusive task": lambda sender: sender.finish(),
}


@pytest.fixture
def app(settings: Settings) -> GraphinatorApp:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update={"resend_after_seconds": 0})
    app.conf.update(configuration(settings))
    return app


@pytest.fixture
def sender(app: GraphinatorApp, redis: Redis) -> Iterator[Sender]:
    with open_sender(app, lambda _: None) as sender:
        yield sender


def complete(in_flight: InFlight) -> None:
    for batch in in_flight.batches():
        in_flight.complete(batch, META.run, Tally(created=1))


def asked(redis: Redis) -> str | None:
    """The token of the exclusive task that is asked for."""
    token = redis.hget(EXCLUSIVE, "token")
    return None if token is None else bytes_of(token).decode()


def end(redis: Redis, result: str = "{}") -> None:
    """The exclusive task ends."""
    redis.hset(EXCLUSIVE, "result", result)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_a_holder_that_lost_the_lock_stores_nothing_and_asks_for_nothing(
    sender: Sender, redis: Redis, act: Callable[[Sender], object]
) -> None:
    redis.set(LOAD_LOCK, "load:another")
    sender._checked_at = time.monotonic()  # it will not check its lease for two seconds
    with pytest.raises(LeaseLost):
        act(sender)
    assert len(sender.in_flight) == 0
    assert not redis.exists(EXCLUSIVE)
    assert redis.get(LOAD_LOCK) == b"load:another"


def test_a_second_load_is_refused(app: GraphinatorApp, sender: Sender) -> None:
    for holder in Holder:
        with pytest.raises(BusyError), open_sender(app, lambda _: None, holder):
            pass


def test_a_load_waits_for_recovery(app: GraphinatorApp, redis: Redis) -> None:
    reasons: list[str] = []

    def wait(reason: str) -> None:
        reasons.append(reason)
        redis.delete(LOAD_LOCK)

    redis.set(LOAD_LOCK, "recovery:1")
    with open_sender(app, wait) as sender:
        assert redis.get(LOAD_LOCK) == sender.holder.encode()
    assert reasons == ["the recovery of earlier batches"]


def test_work_of_an_earlier_holder_is_done_first(
    app: GraphinatorApp, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []
    in_flight = InFlight(redis)
    in_flight.store("old", META, [CHUNK])
    redis.hset(EXCLUSIVE, "token", "old")
    redis.set(EXCLUSIVE_LEASE, "a worker")

    def go_on(_: str) -> None:
        seen.append((bool(redis.exists(EXCLUSIVE_LEASE)), redis.llen(NORMALISE_QUEUE)))
        if redis.delete(EXCLUSIVE_LEASE):
            monkeypatch.setattr(sender_module, "CHECK_SECONDS", 0.0)
        elif redis.llen(NORMALISE_QUEUE):
            complete(in_flight)

    with open_sender(app, go_on):
        assert not redis.exists(EXCLUSIVE)
        assert len(in_flight) == 0
    assert seen == [(True, 0), (False, 1)]


def test_lost_batches_are_sent_again_while_upstream_calls_wait(sender: Sender, redis: Redis) -> None:
    """Their queue does not count: maybe no worker serves it."""
    redis.lpush(INGEST_QUEUE, "a message")
    sender.in_flight.store("b", META, [CHUNK])
    for _ in range(2):
        sender._checked_at = -CHECK_SECONDS
        sender._check()
        assert redis.llen(NORMALISE_QUEUE) == 1
    complete(sender.in_flight)


def test_another_version_of_a_record_waits_for_the_one_in_flight(sender: Sender) -> None:
    sent: list[set[str]] = []

    def done(_: str) -> None:
        sent.append(sender.in_flight.batches())
        complete(sender.in_flight)

    sender.on_wait = done
    sender.send("one", META, [CHUNK], {1})
    sender.send("two", META, [CHUNK], {2})
    assert sent == []
    sender.send("three", META, [CHUNK], {2})
    assert sent == [{"one", "two"}]
    complete(sender.in_flight)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_batch_waits_while_redis_refuses_to_store_it(sender: Sender, redis: Redis, refusal: str) -> None:
    sender.send("one", META, [CHUNK], {1})
    with ExitStack() as until:
        until.enter_context(refusing(redis, refusal))
        reasons: list[str] = []

        def end(reason: str) -> None:
            reasons.append(reason)
            until.close()

        sender.on_wait = end
        sender.send("two", META, [CHUNK], {2})
    assert "Redis" in reasons[0]
    assert sender.in_flight.batches() == {"one", "two"}
    complete(sender.in_flight)


def test_an_exclusive_task_that_failed_says_why(sender: Sender, redis: Redis) -> None:
    sender.on_wait = lambda _: end(redis, '{"error": "no memory"}')
    with pytest.raises(TaskFailed, match="the statistics: no memory"):
        sender.finish()


def test_an_exclusive_task_that_redis_has_forgotten_is_asked_for_again(sender: Sender, redis: Redis) -> None:
    tokens: list[object] = []

    def forget_once(_: str) -> None:
        tokens.append(asked(redis))
        assert len(tokens) < 3
        if len(tokens) == 1:
            redis.delete(EXCLUSIVE)
        else:
            end(redis)

    sender.on_wait = forget_once
    assert sender.run_exclusive(FINISH, False, reason="a test") == TaskResult()
    assert tokens == [tokens[0]] * 2


def comes_back(in_flight: InFlight, redis: Redis, batch: str) -> None:
    """As by a Redis that is older than it was."""
    in_flight.store(batch, META, [CHUNK])
    redis.zadd(IN_FLIGHT, {batch: time.time()})


def test_a_batch_that_comes_back_goes_before_the_next_one(sender: Sender, redis: Redis) -> None:
    in_flight = sender.in_flight
    stored: list[set[str]] = []

    def done(_: str) -> None:
        stored.append(in_flight.batches())
        complete(in_flight)

    sender.on_wait = done
    sender.send("one", META, [CHUNK], {1})
    complete(in_flight)
    sender._ids.clear()
    comes_back(in_flight, redis, "one")
    sender._store("two", META, [CHUNK], None)
    assert in_flight.batches() == {"two"}
    complete(in_flight)
    assert stored == [{"one"}]


def test_no_exclusive_task_runs_beside_a_batch_that_comes_back(sender: Sender, redis: Redis) -> None:
    seen: list[tuple[set[str], bool]] = []

    def done(_: str) -> None:
        seen.append((sender.in_flight.batches(), asked(redis) is not None))
        assert len(seen) < 3
        complete(sender.in_flight)
        if asked(redis):
            end(redis)

    comes_back(sender.in_flight, redis, "old")
    sender.on_wait = done
    assert sender.finish() == TaskResult()
    assert seen == [({"old"}, False), (set(), True)]


def test_an_exclusive_task_that_comes_back_is_withdrawn_by_the_next_batch(
    sender: Sender, redis: Redis
) -> None:
    redis.hset(EXCLUSIVE, "token", "done already")
    sender.send("one", META, [CHUNK], {1})
    assert not redis.exists(EXCLUSIVE)
    complete(sender.in_flight)


def test_an_exclusive_task_ends_when_no_worker_runs_it_any_more(sender: Sender, redis: Redis) -> None:
    waits: list[bool] = []

    def go_on(_: str) -> None:
        waits.append(bool(redis.exists(EXCLUSIVE_LEASE)))
        if len(waits) == 1:
            redis.set(EXCLUSIVE_LEASE, "another worker")
            end(redis)
        else:
            redis.delete(EXCLUSIVE_LEASE)

    sender.on_wait = go_on
    assert sender.finish() == TaskResult()
    assert waits == [False, True]

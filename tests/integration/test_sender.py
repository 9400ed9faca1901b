"""The lock of loads, on the real Valkey: who has lost it changes nothing, not even before noticing."""

import time
from collections.abc import Callable

import pytest
from redis import Redis

from pipeline.model import Chunk, RecordType
from workers.app import INGEST_QUEUE, NORMALISE_QUEUE, GraphinatorApp, configuration
from workers.chords import FINISH
from workers.sender import TEND_SECONDS, LoadBroken, Sender, StepFailed
from workers.settings import Settings
from workers.state.exclusive import RUNNING, STEP, UNSETTLED
from workers.state.in_flight import PENDING, Batches, Meta
from workers.state.keys import bytes_of
from workers.state.packing import pack
from workers.state.runs import LOCK, Tally
from workers.upstream.recovery import Caretaker

META = Meta(RecordType.LABELS, "run", "labels.xml", chunks=1)
CHUNK = pack(Chunk(RecordType.LABELS, [0], [1], [b"<label><id>1</id></label>"]))
ACTS: dict[str, Callable[[Sender], object]] = {
    "stores a batch": lambda sender: sender.send("b", META, [CHUNK], {1}),
    "asks for a step": lambda sender: sender.step(FINISH, False, reason="a test"),
}


@pytest.fixture
def sender(settings: Settings, redis: Redis) -> Sender:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update={"resend_after_seconds": 0})
    app.conf.update(configuration(settings))
    return Sender(app)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_who_has_lost_the_lock_stores_nothing_and_asks_for_nothing(
    sender: Sender, redis: Redis, act: Callable[[Sender], object]
) -> None:
    with sender.locked():
        redis.set(LOCK, "load:another")
        sender._tended_at = time.monotonic()  # it will not look after its lock for two seconds
        with pytest.raises(LoadBroken, match="lost its lock"):
            act(sender)
    assert sender.batches.in_flight() == 0
    assert not redis.exists(STEP)
    assert redis.get(LOCK) == b"load:another"


@pytest.mark.parametrize("taken", [True, False])
def test_the_lock_counts_at_the_end_of_the_transaction(sender: Sender, redis: Redis, *, taken: bool) -> None:
    batches = Batches(redis)
    with sender.locked():

        def meanwhile(_: object) -> None:
            if taken:
                redis.set(LOCK, "load:another")

        if taken:
            with pytest.raises(LoadBroken, match="lost its lock"):
                batches.store("b", META, [CHUNK], guard=sender._guard({"b"}), also=meanwhile)
        else:
            batches.store("b", META, [CHUNK], guard=sender._guard({"b"}), also=meanwhile)
        assert batches.in_flight() == (0 if taken else 1)


def test_what_is_lost_is_sent_again_while_upstream_tasks_hand_over_records(
    sender: Sender, redis: Redis
) -> None:
    """Nobody may be there who takes these: a worker can be told to take other queues only."""
    redis.lpush(INGEST_QUEUE, "a message")
    with sender.locked():
        sender.batches.store("b", META, [CHUNK])
        sender._tended_at = -TEND_SECONDS
        sender._tend()
        assert redis.llen(NORMALISE_QUEUE) == 1
        sender._tended_at = -TEND_SECONDS
        sender._tend()
        assert redis.llen(NORMALISE_QUEUE) == 1
        sender.batches.complete("b", META.run, Tally(created=1))


def test_who_has_lost_the_lock_leaves_it_to_the_next_one(sender: Sender, redis: Redis) -> None:
    with sender.locked():
        redis.set(LOCK, "load:another")
    assert redis.get(LOCK) == b"load:another"


def test_a_finish_that_failed_is_not_tried_again_by_caretakers(sender: Sender, redis: Redis) -> None:
    def fail(_: str) -> None:
        if token := redis.get(STEP):
            sender.steps.end(bytes_of(token).decode(), {"failed": "no memory"})

    redis.set(UNSETTLED, 1)
    assert sender.is_abandoned()
    with sender.locked():
        sender.on_wait = fail
        with pytest.raises(StepFailed, match="no memory"):
            Caretaker._settle(sender)
    assert not sender.is_abandoned()
    assert redis.exists(UNSETTLED)


def test_a_step_that_redis_has_forgotten_is_asked_for_again(sender: Sender, redis: Redis) -> None:
    asked: list[object] = []

    def forget_once(_: str) -> None:
        token = redis.get(STEP)
        asked.append(token)
        assert len(asked) < 3
        if len(asked) == 1:
            redis.delete(STEP)
        elif isinstance(token, bytes):
            sender.steps.end(token.decode(), {"counted anew": False})

    with sender.locked():
        sender.on_wait = forget_once
        assert sender.step(FINISH, False, reason="a test") == {"counted anew": False}
    assert asked == [asked[0]] * 2
    assert not redis.exists(STEP)


def comes_back(batches: Batches, redis: Redis, batch: str) -> None:
    """As by a Redis that is older than it was."""
    batches.store(batch, META, [CHUNK])
    redis.zadd(PENDING, {batch: time.time()})


def test_a_batch_that_comes_back_goes_before_the_next_one(sender: Sender, redis: Redis) -> None:
    batches = Batches(redis)
    stored: list[set[str]] = []

    def done(_: str) -> None:
        stored.append(batches.pending())
        for batch in batches.pending():
            batches.complete(batch, META.run, Tally(created=1))

    with sender.locked():
        sender.on_wait = done
        sender._store("one", META, [CHUNK], None)
        batches.complete("one", META.run, Tally(created=1))
        comes_back(batches, redis, "one")
        sender._store("two", META, [CHUNK], None)
        assert batches.pending() == {"two"}
        batches.complete("two", META.run, Tally(created=1))
    assert stored == [{"one"}]


def test_no_step_is_taken_beside_a_batch_that_comes_back(sender: Sender, redis: Redis) -> None:
    seen: list[tuple[set[str], bool]] = []

    def done(_: str) -> None:
        seen.append((sender.batches.pending(), bool(redis.exists(STEP))))
        assert len(seen) < 3
        for batch in sender.batches.pending():
            sender.batches.complete(batch, META.run, Tally(created=1))
        if token := redis.get(STEP):
            sender.steps.end(bytes_of(token).decode(), {})

    with sender.locked():
        comes_back(sender.batches, redis, "old")
        sender.on_wait = done
        assert sender.step(FINISH, False, reason="a test") == {}
    assert seen == [({"old"}, False), (set(), True)]


def test_a_step_that_comes_back_is_withdrawn_by_the_next_batch(sender: Sender, redis: Redis) -> None:
    with sender.locked():
        redis.set(STEP, "done already")
        sender._store("one", META, [CHUNK], None)
        assert not redis.exists(STEP)


def test_a_step_ends_when_nobody_is_at_it_any_more(sender: Sender, redis: Redis) -> None:
    waits: list[bool] = []

    def end(_: str) -> None:
        waits.append(sender.steps.is_running())
        if len(waits) == 1:
            redis.set(RUNNING, "another worker")
            sender.steps.end(bytes_of(redis.get(STEP) or "").decode(), {})
        else:
            redis.delete(RUNNING)

    with sender.locked():
        sender.on_wait = end
        assert sender.step(FINISH, False, reason="a test") == {}
    assert waits == [False, True]

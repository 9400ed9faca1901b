"""Batches in flight on the real Valkey: outbox, credit and tally."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from redis import Redis

from pipeline.chunk import Chunk, Rejected
from pipeline.model import RecordType
from tests.integration.rows import artist, credit, release
from workers.state.encoding import pack
from workers.state.in_flight import MAX_CRASHES, BatchMeta, InFlight, PoisonBatch
from workers.state.keys import IN_FLIGHT, PREFIX
from workers.state.runs import Runs, Tally

CHUNK = Chunk(
    RecordType.LABELS, [10, 40], [1, 2], [b"<label/>", b"<label>\xff</label>"], [Rejected(0, "why", b"<")]
)
META = BatchMeta(RecordType.LABELS, "run", "labels.xml", records=[1, 1])


@pytest.fixture
def in_flight(redis: Redis) -> InFlight:
    return InFlight(redis)


@pytest.fixture
def runs(redis: Redis) -> Runs:
    return Runs(redis)


def store(in_flight: InFlight, batch: str) -> None:
    in_flight.store(batch, META, [pack(CHUNK), pack(CHUNK)])


def test_a_batch_is_stored_before_it_is_sent(in_flight: InFlight) -> None:
    store(in_flight, "b")
    assert in_flight.overdue(60) == ["b"]
    assert in_flight.meta("b") == META
    assert in_flight.chunk("b", 1) == CHUNK
    assert in_flight.chunk("b", 2) is None
    in_flight.mark_sent("b")
    assert in_flight.overdue(60) == []
    assert len(in_flight) == 1


def test_a_batch_sent_long_ago_is_overdue(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "old")
    store(in_flight, "new")
    redis.zadd(IN_FLIGHT, {"old": 1000.0})
    in_flight.mark_sent("new")
    assert in_flight.overdue(60) == ["old"]


def test_rows_are_whole_or_not_there(in_flight: InFlight) -> None:
    store(in_flight, "b")
    first = release(1, artists=[3], labels=[4], credits_=[credit("Ann", "Bass", 5)])
    second = artist(2, groups=[6], urls=["é"])
    in_flight.store_rows("b", 0, [first])
    assert in_flight.rows("b", 2) is None
    in_flight.store_rows("b", 1, [second])
    assert in_flight.rows("b", 2) == [first, second]


def test_a_late_redelivery_of_a_header_task_stores_nothing(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "b")
    in_flight.complete("b", "run", Tally(created=1))
    in_flight.store_rows("b", 0, [release(1)])
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []


def test_a_batch_counts_once_however_often_it_is_completed_and_by_however_many(
    in_flight: InFlight, runs: Runs
) -> None:
    store(in_flight, "b")
    tally = Tally(unchanged=1, created=2, changed=3, quarantined=4)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: in_flight.complete("b", "run", tally), range(32)))
    assert runs.progress("run")[:2] == (tally, [])
    assert len(in_flight) == 0


def test_a_failed_batch_gives_its_credit_back_and_its_reason_to_the_load(
    in_flight: InFlight, runs: Runs
) -> None:
    store(in_flight, "b")
    in_flight.fail("b", "run", "no such procedure")
    in_flight.fail("b", "run", "said twice")
    assert runs.progress("run")[:2] == (Tally(), ["no such procedure"])
    assert len(in_flight) == 0


def test_an_attempt_is_a_sign_of_life(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "b")
    redis.zadd(IN_FLIGHT, {"b": 1000.0})
    with in_flight.attempt("b", "0"):
        assert in_flight.overdue(60) == []
    redis.zadd(IN_FLIGHT, {"b": 1000.0})
    with pytest.raises(ValueError, match="an error"), in_flight.attempt("b", "0"):
        redis.zadd(IN_FLIGHT, {"b": 1000.0})
        raise ValueError("an error")
    assert in_flight.overdue(60) == []


def test_a_poison_batch_is_not_attempted_again(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "b")
    for _ in range(10):
        with suppress(ValueError), in_flight.attempt("b", "body"):
            raise ValueError("no crash")
    # Entered and never left, as by a process that is killed.
    left_open = [in_flight.attempt("b", "body") for _ in range(MAX_CRASHES)]
    for attempt in left_open:
        attempt.__enter__()
    with pytest.raises(PoisonBatch), in_flight.attempt("b", "body"):
        pass
    with in_flight.attempt("b", "0"):
        pass


def test_an_attempt_at_a_settled_batch_stores_nothing(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "b")
    with in_flight.attempt("b", "body"):
        in_flight.complete("b", "run", Tally())
    with in_flight.attempt("b", "body"):
        pass
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []
    assert len(in_flight) == 0


def test_one_copy_of_a_body_writes_at_a_time(in_flight: InFlight) -> None:
    with in_flight.lease("b") as first:
        assert first is not None
        with in_flight.lease("b") as second:
            assert second is None
        with in_flight.lease("c") as other:
            assert other is not None


def test_the_lease_of_a_body_ends_with_its_batch(in_flight: InFlight) -> None:
    store(in_flight, "b")
    with in_flight.lease("b") as lease:
        assert lease is not None
        in_flight.fail("b", "run", "no help")
        assert not lease.is_held()


def test_everything_that_an_abandoned_load_leaves_expires(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "b")
    store(in_flight, "c")
    in_flight.complete("c", "run", Tally(created=1))
    for key in redis.scan_iter(PREFIX + "*"):
        assert key == IN_FLIGHT.encode() or redis.ttl(key) > 0


def test_an_expired_batch_is_forgotten(in_flight: InFlight, redis: Redis) -> None:
    store(in_flight, "b")
    redis.delete(PREFIX + "batch:b")
    assert in_flight.meta("b") is None
    in_flight.forget("b")
    assert len(in_flight) == 0


def test_a_lack_of_memory_counts_as_a_crash_and_other_errors_do_not(in_flight: InFlight) -> None:
    store(in_flight, "b")
    for error, times in ((ValueError, 2 * MAX_CRASHES), (MemoryError, MAX_CRASHES)):
        for _ in range(times):
            with pytest.raises(error), in_flight.attempt("b", "0"):
                raise error
    with pytest.raises(PoisonBatch), in_flight.attempt("b", "0"):
        pass
    with in_flight.attempt("b", "1"):
        pass

"""What is in flight, on the real Valkey: outbox, credit and tally."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from redis import Redis

from pipeline.model import Chunk, RecordType, Rejected
from workers.state.in_flight import MOST_DEATHS, Batches, Meta
from workers.state.keys import PREFIX
from workers.state.packing import pack
from workers.state.runs import Runs, Tally

CHUNK = Chunk(
    RecordType.LABELS, [10, 40], [1, 2], [b"<label/>", b"<label>\xff</label>"], [Rejected(0, "why", b"<")]
)
META = Meta(RecordType.LABELS, "run", "labels.xml", chunks=2)


@pytest.fixture
def batches(redis: Redis) -> Batches:
    return Batches(redis)


@pytest.fixture
def runs(redis: Redis) -> Runs:
    return Runs(redis)


def store(batches: Batches, batch: str) -> None:
    batches.store(batch, META, [pack(CHUNK), pack(CHUNK)])


def test_a_batch_is_listed_with_all_it_needs_before_anything_is_sent(batches: Batches) -> None:
    store(batches, "b")
    assert batches.never_sent() == ["b"]
    assert batches.meta("b") == META
    assert batches.chunk("b", 1) == CHUNK
    assert batches.chunk("b", 2) is None
    batches.sent("b")
    assert batches.never_sent() == []
    assert batches.in_flight() == 1


def test_a_batch_sent_long_ago_is_overdue(batches: Batches, redis: Redis) -> None:
    store(batches, "old")
    store(batches, "new")
    redis.zadd(PREFIX + "pending", {"old": 1000.0})
    batches.sent("new")
    assert batches.overdue(60) == ["old"]


def test_rows_are_whole_or_not_there(batches: Batches) -> None:
    store(batches, "b")
    batches.store_rows("b", 0, [{"id": 1}])
    assert batches.rows("b", 2) is None
    batches.store_rows("b", 1, [{"id": 2, "properties": {"name": "é"}}])
    assert batches.rows("b", 2) == [{"id": 1}, {"id": 2, "properties": {"name": "é"}}]


def test_a_late_copy_of_a_header_task_leaves_nothing_behind(batches: Batches, redis: Redis) -> None:
    store(batches, "b")
    batches.complete("b", "run", Tally(created=1))
    batches.store_rows("b", 0, [{"id": 1}])
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []


def test_a_batch_counts_once_however_often_it_is_completed_and_by_however_many(
    batches: Batches, runs: Runs
) -> None:
    store(batches, "b")
    tally = Tally(unchanged=1, created=2, changed=3, quarantined=4)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: batches.complete("b", "run", tally), range(32)))
    assert runs.tally("run") == (tally, [])
    assert batches.in_flight() == 0


def test_a_failed_batch_gives_its_credit_back_and_its_reason_to_the_load(
    batches: Batches, runs: Runs
) -> None:
    store(batches, "b")
    batches.fail("b", "run", "no such procedure")
    batches.fail("b", "run", "said twice")
    assert runs.tally("run") == (Tally(), ["no such procedure"])
    assert batches.in_flight() == 0


def test_work_on_a_batch_is_a_sign_of_life(batches: Batches, redis: Redis) -> None:
    store(batches, "b")
    redis.zadd(PREFIX + "pending", {"b": 1000.0})
    with batches.attempt("b", "0"):
        assert batches.overdue(60) == []
    redis.zadd(PREFIX + "pending", {"b": 1000.0})
    with pytest.raises(ValueError, match="an error"), batches.attempt("b", "0"):
        redis.zadd(PREFIX + "pending", {"b": 1000.0})
        raise ValueError("an error")
    assert batches.overdue(60) == []


def test_what_ends_one_process_after_the_other_is_not_begun_once_more(batches: Batches, redis: Redis) -> None:
    store(batches, "b")
    for _ in range(10):
        with suppress(ValueError), batches.attempt("b", "body") as is_harmless:
            assert is_harmless
            raise ValueError("no end of a process")
    # Entered and never left, as by a process that is killed.
    left_open = [batches.attempt("b", "body") for _ in range(MOST_DEATHS)]
    assert all(attempt.__enter__() for attempt in left_open)
    with batches.attempt("b", "body") as is_harmless:
        assert not is_harmless
    with batches.attempt("b", "0") as is_harmless:
        assert is_harmless


def test_a_batch_that_is_done_comes_not_back_by_an_attempt(batches: Batches, redis: Redis) -> None:
    store(batches, "b")
    with batches.attempt("b", "body"):
        batches.complete("b", "run", Tally())
    with batches.attempt("b", "body"):
        pass
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []
    assert batches.in_flight() == 0


def test_one_copy_of_a_body_writes_at_a_time(batches: Batches) -> None:
    with batches.writing("b") as first:
        assert first is not None
        assert first.holds()
        with batches.writing("b") as second:
            assert second is None
        assert first.holds()
    with batches.writing("b") as third:
        assert third is not None
        assert not first.holds()


def test_a_claim_ends_with_its_batch(batches: Batches) -> None:
    store(batches, "b")
    with batches.writing("b") as claim:
        assert claim is not None
        batches.complete("b", "run", Tally())
        assert not claim.holds()


def test_everything_that_an_abandoned_load_leaves_expires(batches: Batches, redis: Redis) -> None:
    store(batches, "b")
    store(batches, "c")
    batches.complete("c", "run", Tally(created=1))
    for key in redis.scan_iter(PREFIX + "*"):
        assert key == (PREFIX + "pending").encode() or redis.ttl(key) > 0


def test_a_batch_whose_blobs_have_expired_is_forgotten(batches: Batches, redis: Redis) -> None:
    store(batches, "b")
    redis.delete(PREFIX + "batch:b")
    assert batches.meta("b") is None
    batches.forget("b")
    assert batches.in_flight() == 0


def test_a_lack_of_memory_counts_as_the_end_of_a_process_and_other_errors_do_not(batches: Batches) -> None:
    store(batches, "b")
    for error, times in ((ValueError, 2 * MOST_DEATHS), (MemoryError, MOST_DEATHS)):
        for _ in range(times):
            with pytest.raises(error), batches.attempt("b", "0") as is_harmless:
                assert is_harmless
                raise error
    with batches.attempt("b", "0") as is_harmless:
        assert not is_harmless
    with batches.attempt("b", "1") as is_harmless:
        assert is_harmless

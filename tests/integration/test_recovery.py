"""Recovery in a worker that is this process, on the real servers, without messages."""

import logging
import threading
import time

import pytest
from redis import Redis

from pipeline.chunk import Chunk
from pipeline.errors import BusyError, GraphRejected
from pipeline.model import RecordType
from pipeline.records.accept import Accepted
from workers import tasks
from workers.sender import TaskFailed
from workers.state.encoding import optional_bytes, pack
from workers.state.in_flight import BatchMeta
from workers.state.keys import EXCLUSIVE, LOAD_LOCK, STATISTICS
from workers.upstream import recovery
from workers.upstream.inbox import Call
from workers.upstream.recovery import Recovery, Stopping
from workers.worker import Worker

LABEL = Accepted(1, b"<label><id>1</id></label>")
LONG_AGO = 1.0


@pytest.fixture
def recovering(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Recovery:
    """Recovery whose waits do the work of the messages."""
    worker.recovery.stop()
    app = worker.recovery._app
    app.settings = app.settings.model_copy(update={"ingest_seconds": 0})
    recovering = Recovery(app)
    monkeypatch.setattr(recovering, "_on_wait", lambda _: work(worker))
    return recovering


def work(worker: Worker) -> None:
    for batch in worker.in_flight.batches():
        tasks.write_batch([tasks.normalise(batch, 0)], batch)
    token = optional_bytes(worker._redis.hget(EXCLUSIVE, "token"))
    if token is not None:
        tasks.finish(token.decode(), False)


def make_stale(redis: Redis, since: float) -> None:
    redis.delete(STATISTICS)
    redis.hset(STATISTICS, "stale", str(since))


def test_waiting_records_are_written_and_leave_the_statistics_stale(
    worker: Worker, recovering: Recovery, redis: Redis
) -> None:
    with redis.pipeline() as pipe:
        worker.statistics.mark_fresh(pipe)
        pipe.execute()
    assert not recovering.is_needed()
    worker.inbox.add(Call("call", ""), 1, RecordType.LABELS, [LABEL])
    assert recovering.is_needed()
    recovering.run()
    assert (worker.inbox.waiting(), len(worker.in_flight)) == ({}, 0)
    assert not worker.statistics.get().is_fresh
    assert not recovering.is_needed()


def test_statistics_are_counted_when_they_have_been_stale_for_the_interval(
    worker: Worker, recovering: Recovery, redis: Redis
) -> None:
    interval = worker.settings.statistics_seconds
    make_stale(redis, time.time() - interval / 2)
    assert not recovering.is_needed()
    make_stale(redis, time.time() - interval - 60)
    assert recovering.is_needed()
    recovering.run()
    assert worker.statistics.get().is_fresh
    assert not recovering.is_needed()


def test_nothing_is_recovered_while_a_load_runs(worker: Worker, recovering: Recovery, redis: Redis) -> None:
    make_stale(redis, LONG_AGO)
    worker.inbox.add(Call("call", ""), 1, RecordType.LABELS, [LABEL])
    redis.set(LOAD_LOCK, "load:another")
    assert not recovering.is_needed()
    # The load may have started since that look.
    with pytest.raises(BusyError):
        recovering.run()
    assert not worker.statistics.get().is_fresh
    assert worker.inbox.waiting()[RecordType.LABELS].records == 1


def test_batches_of_a_killed_load_are_completed(worker: Worker, recovering: Recovery, redis: Redis) -> None:
    make_stale(redis, time.time())
    chunk = pack(Chunk(RecordType.LABELS, [0], [LABEL.id], [LABEL.raw]))
    worker.in_flight.store("b", BatchMeta(RecordType.LABELS, "labels-1", "labels.xml", [1]), [chunk])
    assert recovering.is_needed()
    recovering.run()
    assert len(worker.in_flight) == 0
    assert worker.runs.progress("labels-1")[0].created == 1
    assert not worker.statistics.get().is_fresh


def test_a_count_that_failed_waits_for_the_interval_again(
    worker: Worker, recovering: Recovery, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stale(redis, LONG_AGO)

    def fail(_: str) -> None:
        redis.hset(EXCLUSIVE, "result", '{"error": "no memory"}')

    monkeypatch.setattr(recovering, "_on_wait", fail)
    with pytest.raises(TaskFailed, match="no memory"):
        recovering.run()
    assert not worker.statistics.get().is_fresh
    assert not recovering.is_needed()


def test_the_thread_logs_errors_and_goes_on(
    worker: Worker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [GraphRejected("no such index"), ValueError("a defect")]
    ended = threading.Event()

    def fail(*_: object) -> bool:
        if len(errors) == 0:
            ended.set()
        raise errors.pop() if errors else Stopping

    worker.recovery.stop()
    monkeypatch.setattr(recovery, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(recovery, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(recovery, "is_due", fail)
    with caplog.at_level(logging.WARNING):
        another = Recovery(worker.recovery._app)
        another.start()
        assert ended.wait(30)
        another.stop()
    assert "a defect" in caplog.text
    assert "no such index" in caplog.text

"""The tasks' bodies, run in this process on the real servers, without messages."""

import asyncio
import logging
import secrets
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.exceptions import ChordError, Reject, Retry
from celery.worker import WorkController
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from pipeline.chunk import Chunk
from pipeline.errors import GraphRejected, GraphUnavailable
from pipeline.graph.driver import Driver
from pipeline.graph.lookup import fingerprints
from pipeline.model import RecordType
from pipeline.reader.ids import DumpIds
from tests.integration.conftest import REFUSALS, refusing
from workers import tasks
from workers import worker as process
from workers.app import INGEST_QUEUE, GraphinatorApp
from workers.loop import LoopStopped
from workers.settings import Settings
from workers.state.encoding import pack
from workers.state.exclusive import ExclusiveTasks, PoisonTask, TaskResult
from workers.state.in_flight import MAX_CRASHES, BatchMeta, InFlight, PoisonBatch
from workers.state.keys import EXCLUSIVE_LEASE, PREFIX, batch_lease_key
from workers.state.lease import LeaseLost
from workers.state.runs import Tally
from workers.upstream.quarantine import Quarantine

GOOD = b"<label><id>1</id><name>One</name></label>"
#: Neo4j's indexes take no key of more than some 32 KB: a record the graph refuses, and a person without an id.
LONG = b"<release id='%d'><title>x</title><extraartists><artist><name>%b</name><role>r</role></artist></extraartists></release>"


@pytest.mark.parametrize(
    "error",
    [
        ChordError("Join error: ConnectionError()"),
        Reject("Redis is full"),
        RedisConnectionError("gone"),
        ResponseError("MISCONF Errors writing to the AOF file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failed_chord_is_no_failed_batch(worker: process.Worker, error: Exception) -> None:
    store(worker.in_flight, [GOOD])
    tasks.batch_failed(None, error, None, "b")
    assert len(worker.in_flight) == 1
    assert worker.runs.progress("run")[:2] == (Tally(), [])
    tasks.batch_failed(None, ValueError("not a number"), None, "b")
    assert len(worker.in_flight) == 0
    assert worker.runs.progress("run")[:2] == (Tally(), ["ValueError: not a number"])


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_task_is_retried_while_redis_refuses_to_write(
    worker: process.Worker, redis: Redis, refusal: str
) -> None:
    @worker.recovery._app.task(base=tasks.CallTask, shared=False)
    def store() -> None:
        redis.set("tests", 1)

    store.push_request(
        id="call", called_directly=False, delivery_info={"exchange": "", "routing_key": INGEST_QUEUE}
    )
    # The next attempt is refused as well.
    with refusing(redis, refusal), pytest.raises(Reject) as raised:
        store.run()
    assert vars(raised.value)["requeue"] is True


def test_a_retry_waits_for_at_most_the_budget_of_a_task(worker: process.Worker) -> None:
    @worker.recovery._app.task(base=tasks.GraphTask, shared=False)
    def fail() -> None:
        raise GraphUnavailable("away")

    budget = 2
    worker.settings = worker.settings.model_copy(update={"batch_timeout_seconds": budget})
    for attempt in range(40):
        fail.push_request(
            id="call",
            retries=attempt,
            called_directly=False,
            delivery_info={"exchange": "", "routing_key": INGEST_QUEUE},
        )
        with pytest.raises(Retry) as raised:
            fail.run()
        assert cast("int", raised.value.when) <= budget


def test_a_task_is_not_retried_when_redis_would_always_refuse(worker: process.Worker, redis: Redis) -> None:
    @worker.recovery._app.task(base=tasks.GraphTask, shared=False)
    def store() -> None:
        redis.hset("tests", "field", "value")

    redis.set("tests", 1)
    store.push_request(
        id="call", called_directly=False, delivery_info={"exchange": "", "routing_key": INGEST_QUEUE}
    )
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        store.run()


@pytest.fixture
def in_flight(worker: process.Worker) -> InFlight:
    return worker.in_flight


def store(in_flight: InFlight, *chunks: list[bytes], record_type: RecordType = RecordType.LABELS) -> None:
    """A batch named `b` of such records, numbered from 1."""
    packed, first = [], 1
    for records in chunks:
        ids = [*range(first, first + len(records))]
        packed.append(pack(Chunk(record_type, ids, ids, records)))
        first += len(records)
    in_flight.store("b", BatchMeta(record_type, "run", "dump.xml", [*map(len, chunks)]), packed)


def run(chunks: int) -> dict[str, Any]:
    """Run the tasks of batch `b` without messages."""
    return cast(
        "dict[str, Any]", tasks.write_batch([tasks.normalise("b", index) for index in range(chunks)], "b")
    )


def releases(*names: bytes) -> list[bytes]:
    return [LONG % (number, name) for number, name in enumerate(names, start=1)]


def test_tasks_outside_a_worker_are_refused() -> None:
    with pytest.raises(LoopStopped, match="not a worker"):
        tasks.normalise("b", 0)


def test_signals_of_other_apps_start_no_worker() -> None:
    sender = cast("WorkController", SimpleNamespace(app=object()))
    process.start(sender)
    process.stop(sender)
    with pytest.raises(LoopStopped):
        process.this_worker()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"redis_url": None}, r"^Error: GRAPHINATOR_REDIS_URL is not set$"),
        ({"neo4j_uri": None}, r"^Error: GRAPHINATOR_NEO4J_URI is not set$"),
        ({"neo4j_password": None}, r"^Error: GRAPHINATOR_NEO4J_PASSWORD is not set"),
        # Unknown errors too: a worker that went on would take messages and fail each one.
        ({"neo4j_uri": "bolt://h?a=b"}, r"^Error: ConfigurationError: .*"),
        ({"redis_url": "redis://h/0?foo=1"}, r"^Error: TypeError: .*foo"),
    ],
)
def test_a_worker_that_cannot_reach_its_servers_does_not_start(
    settings: Settings, wrong: dict[str, str | None], line: str
) -> None:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update=wrong)
    with pytest.raises(SystemExit, match=line) as ended:
        process.start(cast("WorkController", SimpleNamespace(app=app)))
    assert "\n" not in str(ended.value)


def test_a_worker_starts_while_neo4j_is_away(
    settings: Settings, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update={"neo4j_uri": "bolt://127.0.0.1:9"})
    worker = process.Worker(app)
    worker.start()
    worker.stop()
    assert "Neo4j does not answer yet, its work waits: Neo4j: Couldn't connect to 127.0.0.1:9" in caplog.text


def test_messages_that_outlive_their_batch_do_nothing(in_flight: InFlight) -> None:
    assert tasks.normalise("gone", 0) == {}
    assert "skipped" in tasks.write_batch([], "gone")
    tasks.batch_failed(None, ValueError("x"), None, "gone")
    assert len(in_flight) == 0


def test_a_second_copy_of_a_body_skips_while_the_first_writes(in_flight: InFlight) -> None:
    store(in_flight, [GOOD])
    with in_flight.lease("b"):
        assert "another copy" in run(1)["skipped"]
    assert len(in_flight) == 1
    assert run(1) == Tally(created=1).summary()
    assert len(in_flight) == 0


def test_rows_that_do_not_fit_the_summaries_are_not_written(in_flight: InFlight) -> None:
    store(in_flight, [GOOD], [GOOD])
    summary = tasks.normalise("b", 0)
    assert "do not fit" in tasks.write_batch([summary], "b")["skipped"]
    tasks.normalise("b", 1)
    assert "do not fit" in tasks.write_batch([summary, {}], "b")["skipped"]
    assert len(in_flight) == 1


def test_a_batch_counts_what_it_has_written_though_its_tasks_are_delivered_again(
    worker: process.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise RedisConnectionError("gone")

    for versions, tally in (
        ((b"a", b"b"), Tally(created=2)),
        ((b"a", b"x"), Tally(unchanged=1, changed=1)),
    ):
        store(
            worker.in_flight,
            [b"<label><id>%d</id><name>%b</name></label>" % each for each in enumerate(versions, 1)],
        )
        with monkeypatch.context() as patch:
            patch.setattr(worker.in_flight, "complete", break_off)
            with pytest.raises(RedisConnectionError):
                run(1)
        assert run(1) == tally.summary()


def test_a_body_whose_lease_was_taken_over_counts_nothing(
    worker: process.Worker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise RedisConnectionError("gone")

    def overtaken(batch: str) -> None:
        patch.undo()
        redis.delete(batch_lease_key(batch))
        patch.setattr(worker.in_flight, "complete", break_off)
        with pytest.raises(RedisConnectionError):
            run(1)
        patch.undo()

    store(worker.in_flight, [GOOD])
    with monkeypatch.context() as patch:
        patch.setattr(worker.in_flight, "known", overtaken)
        with pytest.raises(LeaseLost):
            run(1)
    assert run(1) == Tally(created=1).summary()


async def test_refused_records_are_quarantined_with_their_text(
    worker: process.Worker, driver: Driver
) -> None:
    records = releases(b"Ann", b"B" * 40_000, b"Cy", b"D" * 40_000)
    store(worker.in_flight, records[:2], records[2:], record_type=RecordType.RELEASES)
    assert await asyncio.to_thread(run, 2) == Tally(created=2, quarantined=2).summary()
    assert sorted(await fingerprints(driver, RecordType.RELEASES, [1, 2, 3, 4])) == [1, 3]
    assert sorted(entry.raw for entry in worker.quarantine) == sorted([records[1], records[3]])
    assert worker.runs.progress("run")[:2] == (Tally(created=2, quarantined=2), [])


def test_records_that_a_full_quarantine_does_not_keep_are_counted(
    worker: process.Worker, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    worker.quarantine = Quarantine(redis, limit_bytes=1)
    store(worker.in_flight, [b"<label><id>1</id><name>no end", GOOD])
    with caplog.at_level(logging.WARNING):
        assert run(1) == Tally(created=1, quarantined=1).summary()
    assert worker.runs.not_kept("run") == 1
    assert "the quarantine is full" in caplog.text


def test_a_failed_batch_keeps_its_reason(worker: process.Worker, in_flight: InFlight) -> None:
    store(in_flight, [GOOD])
    tasks.batch_failed(None, ValueError("no\n help"), None, "b")
    assert worker.runs.progress("run")[:2] == (Tally(), ["ValueError: no help"])
    assert len(in_flight) == 0


def test_a_poison_batch_is_given_up(in_flight: InFlight) -> None:
    store(in_flight, [GOOD])
    # Entered and never left, as by processes that are killed.
    left_open = [in_flight.attempt("b", part) for part in ("0", "body") for _ in range(MAX_CRASHES)]
    for attempt in left_open:
        attempt.__enter__()
    with pytest.raises(PoisonBatch):
        tasks.normalise("b", 0)
    with pytest.raises(PoisonBatch):
        tasks.write_batch([Tally(created=1).summary()], "b")
    assert len(in_flight) == 1  # until the errback of the chord fails it


def asked(worker: process.Worker) -> str:
    """The token of an exclusive task that is asked for."""
    token = secrets.token_hex(8)
    worker.exclusive.ask(token)
    return token


def test_an_exclusive_task_runs_while_it_is_asked_for(worker: process.Worker) -> None:
    assert "skipped" in tasks.finish("nobody asked", False)
    token = asked(worker)
    assert tasks.finish(token, False) == {"counted": True}
    assert worker.exclusive.result(token) == TaskResult(counted=True)
    assert worker.statistics.get().is_fresh
    assert "skipped" in tasks.finish(token, False)


def test_an_exclusive_task_that_loses_its_lease_is_cancelled(
    worker: process.Worker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwound: list[str] = []

    async def lose(*_: object, **__: bool) -> None:
        await asyncio.to_thread(redis.delete, EXCLUSIVE_LEASE)
        try:
            await asyncio.Event().wait()
        finally:
            unwound.append("rolled back")

    monkeypatch.setattr(tasks, "count", lose)
    worker.exclusive = ExclusiveTasks(redis, lease_seconds=0.3)
    token = asked(worker)
    with pytest.raises(LeaseLost):
        tasks.finish(token, False)
    assert unwound == ["rolled back"]
    assert worker.exclusive.result(token) is None


def test_a_failed_exclusive_task_keeps_its_reason(
    worker: process.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: bool) -> None:
        raise GraphRejected("no such index")

    monkeypatch.setattr(tasks, "count", refuse)
    token = asked(worker)
    with pytest.raises(GraphRejected):
        tasks.finish(token, False)
    assert worker.exclusive.result(token) == TaskResult(error="no such index")
    assert not worker.statistics.get().is_fresh


def test_a_record_that_comes_in_another_version_has_changed(worker: process.Worker, redis: Redis) -> None:
    for record, tally in ((GOOD, Tally(created=1)), (GOOD.replace(b"One", b"Uno"), Tally(changed=1))):
        store(worker.in_flight, [record])
        assert run(1) == tally.summary()
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []


def test_statistics_are_counted_when_they_are_stale_and_always_in_full(worker: process.Worker) -> None:
    assert tasks.finish(asked(worker), False) == {"counted": True}
    assert tasks.finish(asked(worker), False) == {}
    assert tasks.finish(asked(worker), True) == {"counted": True}
    store(worker.in_flight, [GOOD])
    run(1)
    assert not worker.statistics.get().is_fresh
    assert tasks.finish(asked(worker), False) == {"counted": True}
    store(worker.in_flight, [GOOD])
    assert run(1) == Tally(unchanged=1).summary()
    assert worker.statistics.get().is_fresh


def test_statistics_that_are_counted_while_recovery_looks_stay_fresh(
    worker: process.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.finish(asked(worker), False)
    with monkeypatch.context() as before:
        before.setattr(worker.statistics, "_times", dict)  # as it was read before the count
        assert not worker.statistics.is_due(0)
    assert worker.statistics.get().is_fresh


def test_statistics_are_stale_when_a_full_finish_breaks_off_before_its_count(
    worker: process.Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_off(*_: object) -> None:
        raise GraphUnavailable("away")

    tasks.finish(asked(worker), False)
    monkeypatch.setattr(tasks, "count", break_off)
    with pytest.raises(GraphUnavailable):
        tasks.finish(asked(worker), True)
    assert not worker.statistics.get().is_fresh


def test_a_poison_task_is_given_up(worker: process.Worker) -> None:
    token = asked(worker)
    # Entered and never left, as by processes that are killed.
    left_open = [worker.exclusive.attempt() for _ in range(MAX_CRASHES)]
    for attempt in left_open:
        attempt.__enter__()
    with pytest.raises(PoisonTask):
        tasks.finish(token, False)
    result = worker.exclusive.result(token)
    assert result is not None
    assert "4 times a worker process crashed" in result.error


def test_an_exclusive_task_fails_on_a_defect_and_not_on_passing_errors(
    worker: process.Worker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: bool) -> None:
        raise ValueError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "count", fail)
        token = asked(worker)
        with pytest.raises(ValueError, match="a defect"):
            tasks.finish(token, False)
    assert worker.exclusive.result(token) == TaskResult(error="ValueError: a defect")
    token = asked(worker)
    with refusing(redis, "MISCONF"), pytest.raises(ResponseError, match="MISCONF"):
        tasks.finish(token, False)
    assert worker.exclusive.result(token) is None
    token = asked(worker)
    worker.loop.stop()
    with pytest.raises(LoopStopped):
        tasks.finish(token, False)
    assert worker.exclusive.result(token) is None


async def test_vanished_records_are_removed_unless_they_are_too_many(
    worker: process.Worker, driver: Driver
) -> None:
    store(worker.in_flight, [b"<label><id>%d</id></label>" % id_ for id_ in range(1, 41)])
    await asyncio.to_thread(run, 1)

    def remove(*contained: int, allow: bool = False) -> dict[str, Any]:
        ids = DumpIds()
        ids.ids.update(contained)
        worker.runs.store_ids("run", ids)
        outcome: dict[str, Any] = tasks.remove_vanished(asked(worker), "run", "labels", allow)
        return outcome

    assert await asyncio.to_thread(remove, *range(4, 50)) == {"missing": 3, "stored": 40}
    assert await asyncio.to_thread(remove, *range(3, 50)) == {"removed": 2}
    assert await asyncio.to_thread(remove, 39, allow=True) == {"removed": 37}
    assert list(await fingerprints(driver, RecordType.LABELS, range(1, 41))) == [39]
    worker.runs.drop_ids("run")
    with pytest.raises(GraphRejected, match="no longer in Redis"):
        await asyncio.to_thread(tasks.remove_vanished, asked(worker), "run", "labels", False)

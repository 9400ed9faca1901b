"""The tasks' bodies in a worker process that is this one, on the real servers; no messages."""

import asyncio
import logging
import secrets
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.exceptions import ChordError, Reject
from celery.worker import WorkController
from pyroaring import BitMap64
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from pipeline.errors import GraphRejected
from pipeline.graph import statistics
from pipeline.graph.driver import Driver
from pipeline.graph.lookup import fingerprints
from pipeline.model import Chunk, RecordType
from workers import tasks
from workers import worker as process
from workers.app import GraphinatorApp
from workers.loop import LoopStopped
from workers.settings import Settings
from workers.state.in_flight import MOST_DEATHS, Batches, Meta
from workers.state.keys import PREFIX
from workers.state.lease import ClaimLost, holding
from workers.state.packing import pack
from workers.state.runs import Tally
from workers.upstream import recovery as caretaker
from workers.upstream.quarantine import Quarantine
from workers.upstream.recovery import Caretaker, Stopping

GOOD = b"<label><id>1</id><name>One</name></label>"
#: Neo4j's indexes take no key of more than some 32 KB: a record the graph refuses, and a person without an id.
LONG = b"<release id='%d'><title>x</title><extraartists><artist><name>%b</name><role>r</role></artist></extraartists></release>"


@pytest.mark.parametrize(
    "error",
    [ChordError("Join error: ConnectionError()"), Reject("Redis is full"), RedisConnectionError("gone")],
    ids=lambda error: type(error).__name__,
)
def test_what_redis_does_to_a_chord_says_nothing_of_its_batch(
    worker: process.WorkerProcess, error: Exception
) -> None:
    store(worker.batches, [GOOD])
    tasks.batch_failed(None, error, None, "b")
    assert worker.batches.in_flight() == 1
    assert worker.runs.tally("run") == (Tally(), [])
    tasks.batch_failed(None, ValueError("not a number"), None, "b")
    assert worker.batches.in_flight() == 0
    assert worker.runs.tally("run") == (Tally(), ["ValueError: not a number"])


@pytest.fixture
def batches(worker: process.WorkerProcess) -> Batches:
    return worker.batches


def store(batches: Batches, *chunks: list[bytes], record_type: RecordType = RecordType.LABELS) -> None:
    """A batch named `b` of such records, numbered from 1."""
    packed, first = [], 1
    for records in chunks:
        ids = [*range(first, first + len(records))]
        packed.append(pack(Chunk(record_type, ids, ids, records)))
        first += len(records)
    batches.store("b", Meta(record_type, "run", "dump.xml", len(chunks)), packed)


def run(chunks: int) -> dict[str, Any]:
    """What the messages of batch `b` would do."""
    return cast(
        "dict[str, Any]", tasks.write_batch([tasks.normalise("b", index) for index in range(chunks)], "b")
    )


def releases(*names: bytes) -> list[bytes]:
    return [LONG % (number, name) for number, name in enumerate(names, start=1)]


def test_outside_a_worker_the_tasks_say_so() -> None:
    with pytest.raises(LoopStopped, match="not a worker"):
        tasks.normalise("b", 0)


def test_what_other_apps_start_is_none_of_ours() -> None:
    sender = cast("WorkController", SimpleNamespace(app=object()))
    process.start(sender)
    process.stop(sender)
    with pytest.raises(LoopStopped):
        process.this_process()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"redis_url": None}, r"^Error: GRAPHINATOR_REDIS_URL is not set$"),
        ({"neo4j_uri": None}, r"^Error: GRAPHINATOR_NEO4J_URI is not set$"),
        ({"neo4j_password": None}, r"^Error: GRAPHINATOR_NEO4J_PASSWORD is not set"),
        # Whatever the reason: a worker that went on would take messages and fail each one.
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


def test_a_worker_whose_neo4j_is_away_says_why_and_starts(
    settings: Settings, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update={"neo4j_uri": "bolt://127.0.0.1:9"})
    worker = process.WorkerProcess(app)
    worker.start()
    worker.stop()
    assert "Neo4j does not answer yet, its work waits: Neo4j: Couldn't connect to 127.0.0.1:9" in caplog.text


def test_messages_that_outlive_their_batch_do_nothing(batches: Batches) -> None:
    assert tasks.normalise("gone", 0) == Tally().as_dict()
    assert "skipped" in tasks.write_batch([], "gone")
    tasks.batch_failed(None, ValueError("x"), None, "gone")
    assert batches.in_flight() == 0


def test_a_body_that_comes_while_another_copy_writes_leaves_it_the_batch(batches: Batches) -> None:
    store(batches, [GOOD])
    with batches.writing("b"):
        assert "another copy" in run(1)["skipped"]
    assert batches.in_flight() == 1
    assert run(1) == Tally(created=1).as_dict()
    assert batches.in_flight() == 0


def test_rows_that_do_not_fit_the_summaries_are_not_written(batches: Batches) -> None:
    store(batches, [GOOD])
    tasks.normalise("b", 0)
    assert "do not fit" in tasks.write_batch([Tally(created=2).as_dict()], "b")["skipped"]
    assert batches.in_flight() == 1


async def test_records_that_the_graph_refuses_are_set_aside_with_their_text(
    worker: process.WorkerProcess, driver: Driver
) -> None:
    records = releases(b"Ann", b"B" * 40_000, b"Cy", b"D" * 40_000)
    store(worker.batches, records[:2], records[2:], record_type=RecordType.RELEASES)
    assert await asyncio.to_thread(run, 2) == Tally(created=2, quarantined=2).as_dict()
    assert sorted(await fingerprints(driver, RecordType.RELEASES, [1, 2, 3, 4])) == [1, 3]
    assert sorted(entry.raw for entry in worker.quarantine) == sorted([records[1], records[3]])
    assert worker.runs.tally("run") == (Tally(created=2, quarantined=2), [])


def test_what_finds_no_room_in_the_quarantine_is_counted(
    worker: process.WorkerProcess, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    worker.quarantine = Quarantine(redis, limit_bytes=1)
    store(worker.batches, [b"<label><id>1</id><name>no end", GOOD])
    with caplog.at_level(logging.WARNING):
        assert run(1) == Tally(created=1, quarantined=1).as_dict()
    assert worker.runs.number_not_kept("run") == 1
    assert "the quarantine is full" in caplog.text


def test_a_batch_that_failed_for_good_is_counted_with_its_reason(
    worker: process.WorkerProcess, batches: Batches
) -> None:
    store(batches, [GOOD])
    tasks.batch_failed(None, ValueError("no\n help"), None, "b")
    assert worker.runs.tally("run") == (Tally(), ["ValueError: no help"])
    assert batches.in_flight() == 0


def test_a_batch_that_ends_its_workers_is_given_up(batches: Batches) -> None:
    store(batches, [GOOD])
    # Entered and never left, as by processes that are killed.
    left_open = [batches.attempt("b", part) for part in ("0", "body") for _ in range(MOST_DEATHS)]
    for attempt in left_open:
        attempt.__enter__()
    with pytest.raises(tasks.Deadly, match="each time"):
        tasks.normalise("b", 0)
    with pytest.raises(tasks.Deadly, match="each time"):
        tasks.write_batch([Tally(created=1).as_dict()], "b")
    assert batches.in_flight() == 1  # until the errback of the chord has told the load


def asked(worker: process.WorkerProcess) -> str:
    """The token of a step that is asked for."""
    token = secrets.token_hex(8)
    worker.steps.ask(token)
    return token


def test_a_step_is_taken_while_it_is_asked_for_and_by_one_worker(worker: process.WorkerProcess) -> None:
    assert "skipped" in tasks.finish("nobody asked", False)
    token = asked(worker)
    with worker.steps.running(token) as claim:
        assert claim is not None
        assert worker.steps.is_running()
        assert "skipped" in tasks.finish(token, False)
    assert worker.steps.outcome(token) is None
    assert tasks.finish(token, False) == {}
    assert worker.steps.outcome(token) == {}
    worker.steps.ask(token)
    assert "skipped" in tasks.finish(token, False)


def test_a_step_whose_claim_ends_is_cancelled(worker: process.WorkerProcess, redis: Redis) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    with worker.steps.running(asked(worker)) as claim:
        assert claim is not None
        assert claim.renew()
        redis.delete(claim.key)
        with pytest.raises(ClaimLost):
            worker.loop.run(holding(claim, never()))


def test_why_a_step_failed_is_kept_for_the_sender(
    worker: process.WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Driver) -> None:
        raise GraphRejected("no such index")

    monkeypatch.setattr(statistics, "count", refuse)
    token = asked(worker)
    with pytest.raises(GraphRejected):
        tasks.finish(token, False)
    assert worker.steps.outcome(token) == {"failed": "no such index"}


def test_a_record_that_comes_in_another_version_has_changed(
    worker: process.WorkerProcess, redis: Redis
) -> None:
    for record, tally in ((GOOD, Tally(created=1)), (GOOD.replace(b"One", b"Uno"), Tally(changed=1))):
        store(worker.batches, [record])
        assert run(1) == tally.as_dict()
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []


def test_a_step_that_ends_its_workers_is_given_up(worker: process.WorkerProcess) -> None:
    token = asked(worker)
    # Entered and never left, as by processes that are killed.
    left_open = [worker.steps.attempt(token) for _ in range(MOST_DEATHS)]
    for attempt in left_open:
        attempt.__enter__()
    with pytest.raises(tasks.Deadly, match="each time"):
        tasks.finish(token, False)
    outcome = worker.steps.outcome(token)
    assert outcome is not None
    assert "each time" in outcome["failed"]


def test_a_step_that_meets_a_defect_says_so_and_one_that_meets_what_passes_is_still_asked_for(
    worker: process.WorkerProcess,
) -> None:
    token = asked(worker)
    with pytest.raises(ValueError, match="not a valid RecordType"):
        tasks.remove_vanished(token, "run", "tracks", False)
    assert worker.steps.outcome(token) == {"failed": "ValueError: 'tracks' is not a valid RecordType"}
    token = asked(worker)
    worker.loop.stop()
    with pytest.raises(LoopStopped):
        tasks.finish(token, False)
    assert worker.steps.outcome(token) is None


async def test_what_a_dump_lacks_is_removed_unless_that_is_too_much(
    worker: process.WorkerProcess, driver: Driver
) -> None:
    store(worker.batches, [b"<label><id>%d</id></label>" % id_ for id_ in range(1, 41)])
    await asyncio.to_thread(run, 1)

    def remove(*contained: int, allow: bool = False) -> dict[str, Any]:
        worker.runs.store_ids("run", BitMap64(contained))
        outcome: dict[str, Any] = tasks.remove_vanished(asked(worker), "run", "labels", allow)
        return outcome

    assert await asyncio.to_thread(remove, *range(4, 50)) == {"vanish": 3, "of": 40}
    assert await asyncio.to_thread(remove, *range(3, 50)) == {"removed": 2}
    assert await asyncio.to_thread(remove, 39, allow=True) == {"removed": 37}
    assert list(await fingerprints(driver, RecordType.LABELS, range(1, 41))) == [39]
    worker.runs.drop_ids("run")
    with pytest.raises(GraphRejected, match="no longer in Redis"):
        await asyncio.to_thread(tasks.remove_vanished, asked(worker), "run", "labels", False)


def test_a_caretaker_that_cannot_go_on_says_so_and_tries_again(
    worker: process.WorkerProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [GraphRejected("no such index"), ValueError("a defect")]
    told = threading.Event()

    def fail(*_: object, **__: object) -> None:
        if len(errors) == 1:
            told.set()
        raise errors.pop() if errors else Stopping

    worker.caretaker.stop()  # the other one is to meet the errors
    monkeypatch.setattr(caretaker, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(caretaker, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(caretaker, "is_due", fail)
    with caplog.at_level(logging.WARNING):
        another = Caretaker(worker.caretaker._app)
        another.start()
        assert told.wait(30)
        another.stop()
    assert "a defect" in caplog.text

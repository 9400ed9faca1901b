"""The tasks' bodies in a worker process that is this one, on the real servers; no messages."""

import asyncio
import logging
import secrets
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.exceptions import ChordError, Reject, Retry
from celery.worker import WorkController
from pyroaring import BitMap64
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from ops import status
from pipeline.driver import Driver
from pipeline.errors import GraphRejected
from pipeline.ingest import Accepted, RecordsRefused
from pipeline.ledger import fingerprints
from pipeline.model import Chunk, RecordType, Rejected
from tests.integration.conftest import configured
from workers import caretaker, process, tasks
from workers.app import INGEST_QUEUE, GraphinatorApp
from workers.batches import MOST_DEATHS, Batches, Meta
from workers.blobs import pack
from workers.caretaker import Caretaker, Stopping
from workers.claims import ClaimLost, holding
from workers.flush import flush
from workers.inbox import Inbox, InboxFull
from workers.loop import LoopStopped
from workers.quarantine import Quarantine
from workers.replies import PREFIX
from workers.runs import Tally
from workers.sender import Sender
from workers.settings import Settings
from workers.steps import UNSETTLED

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
        ({"redis_url": None}, r"^Error: GRAPHINATOR_REDIS_URL is not set, and the embedded stack"),
        ({"neo4j_uri": None}, r"^Error: GRAPHINATOR_NEO4J_URI is not set, and the embedded stack"),
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


def test_what_upstream_tasks_handed_over_and_finds_no_room_in_the_quarantine_is_told(
    worker: process.WorkerProcess, redis: Redis
) -> None:
    worker.caretaker.stop()
    worker.quarantine = Quarantine(redis, limit_bytes=1)
    with pytest.raises(RecordsRefused):
        ingest("labels", "<label>", "<label><id>1</id>")
    (told,) = [status.described(run, set()) for run in worker.runs]
    assert told["problems"] == ["the quarantine was full: 2 records of upstream tasks got lost"]


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
    assert tasks.finish(token, False) == {"counted anew": True}
    assert worker.steps.outcome(token) == {"counted anew": True}
    assert worker.steps.is_counted()
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
    async def refuse(_: Driver, **__: bool) -> None:
        raise GraphRejected("no such index")

    monkeypatch.setattr(tasks, "finish_graph", refuse)
    token = asked(worker)
    with pytest.raises(GraphRejected):
        tasks.finish(token, False)
    assert worker.steps.outcome(token) == {"failed": "no such index"}
    assert not worker.steps.is_counted()


def test_a_record_that_comes_in_another_version_has_changed(
    worker: process.WorkerProcess, redis: Redis
) -> None:
    for record, tally in ((GOOD, Tally(created=1)), (GOOD.replace(b"One", b"Uno"), Tally(changed=1))):
        store(worker.batches, [record])
        assert run(1) == tally.as_dict()
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []


def test_statistics_that_are_no_longer_kept_are_counted_anew(worker: process.WorkerProcess) -> None:
    worker.caretaker.stop()  # it may withdraw a step
    assert tasks.finish(asked(worker), False) == {"counted anew": True}
    assert tasks.finish(asked(worker), False) == {"counted anew": False}
    worker.steps.uncount()
    assert not worker.steps.keeps_counts()
    assert tasks.finish(asked(worker), False) == {"counted anew": True}
    assert worker.steps.keeps_counts()


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


def ingest(record_type: str, *records: object) -> dict[str, Any]:
    summary: dict[str, Any] = tasks.ingest(record_type, list(records))
    return summary


def waiting(worker: process.WorkerProcess) -> dict[str, int]:
    return {record_type.value: waiting.records for record_type, waiting in worker.inbox.waiting().items()}


def test_records_of_a_call_are_kept_and_what_is_wrong_with_the_others_is_told(
    worker: process.WorkerProcess,
) -> None:
    worker.caretaker.stop()
    assert ingest("labels", {"id": 1}, "<label><id>2</id></label>") == {
        "record_type": "labels",
        "accepted": 2,
    }
    assert ingest("masters") == {"record_type": "masters", "accepted": 0}
    with pytest.raises(RecordsRefused) as raised:
        ingest("labels", {"id": 3}, {"id": "4"}, *["<label>"] * 6)
    text = str(raised.value)
    assert text.startswith(
        "7 of 8 records refused, the others accepted: records[1]: Expected `int`, got `str`"
    )
    assert text.endswith("; and 2 more")
    assert waiting(worker) == {"labels": 3}
    assert {entry.run.startswith("ingest-") for entry in worker.quarantine} == {True}
    assert {entry.reason for entry in worker.quarantine} >= {"Expected `int`, got `str` - at `$.id`"}
    assert tasks.ingest([{"id": 7}], record_type="masters")["accepted"] == 1
    wrong: list[tuple[Any, ...]] = [("label", []), ("labels", {"id": 1}), ("labels",), ("labels", [], [])]
    for call in wrong:
        with pytest.raises(RecordsRefused):
            tasks.ingest(*call)


def test_a_record_of_a_call_may_be_as_long_as_the_settings_say(worker: process.WorkerProcess) -> None:
    worker.caretaker.stop()
    worker.settings = worker.settings.model_copy(update={"record_bytes": 70_000})
    with pytest.raises(RecordsRefused, match="longer than 70,000 bytes"):
        ingest("labels", {"id": 1}, {"id": 2, "name": "x" * 70_000})
    assert waiting(worker) == {"labels": 1}


def test_a_call_is_accepted_once_and_late_what_others_brought_meanwhile_is_left_out(
    worker: process.WorkerProcess,
) -> None:
    worker.caretaker.stop()
    one, two, three = (Accepted(id_, b"{}") for id_ in (1, 2, 3))
    worker.inbox.add("a", RecordType.LABELS, [one], redelivered=False)
    worker.inbox.add("a", RecordType.LABELS, [one], redelivered=True)
    assert waiting(worker) == {"labels": 1}
    worker.inbox.add("b", RecordType.LABELS, [one, two], redelivered=True)
    assert waiting(worker) == {"labels": 2}
    worker.inbox.add("c", RecordType.LABELS, [one, two, three], redelivered=False)
    assert waiting(worker) == {"labels": 5}
    assert worker.inbox.head(RecordType.LABELS, 100, 1 << 20).records == 5
    assert worker.inbox.head(RecordType.LABELS, 2, 1 << 20).records == 2
    assert worker.inbox.head(RecordType.LABELS, 5, 1).records == 1


def test_the_bytes_of_a_batch_from_the_inbox_are_those_of_its_raw_text(worker: process.WorkerProcess) -> None:
    worker.caretaker.stop()
    for call in ("a", "b"):
        worker.inbox.add(call, RecordType.LABELS, [Accepted(1, b"x" * 1000)])
    assert worker.inbox.head(RecordType.LABELS, 5, 1999).records == 1
    assert worker.inbox.head(RecordType.LABELS, 5, 2000).records == 2


def test_what_another_call_has_brought_since_a_time_is_left_out_and_told(
    worker: process.WorkerProcess,
) -> None:
    worker.caretaker.stop()
    one, two = (Accepted(id_, b"{}") for id_ in (1, 2))
    before = worker.inbox.now()
    assert worker.inbox.add("a", RecordType.LABELS, [one], since=before) == set()
    assert worker.inbox.add("b", RecordType.LABELS, [one, two], since=worker.inbox.now()) == set()
    assert worker.inbox.add("c", RecordType.LABELS, [one, two], since=before) == {1, 2}
    assert waiting(worker) == {"labels": 3}


def test_what_was_handed_over_is_unsettled_until_a_finish_has_followed(
    worker: process.WorkerProcess, redis: Redis
) -> None:
    worker.caretaker.stop()
    ingest("labels", {"id": 1})
    sender = Sender(worker.caretaker._app)
    with sender.locked():
        flush(sender, worker.settings, everything=True)
        (batch,) = sender.batches.pending()
        tasks.write_batch([tasks.normalise(batch, 0)], batch)
        assert worker.steps.is_unsettled()
    assert sender.is_abandoned()
    worker.steps.give_up_settling()
    assert not sender.is_abandoned()
    tasks.finish(asked(worker), False)
    assert not redis.exists(UNSETTLED)


def test_a_message_is_kept_where_the_next_attempt_cannot_be_sent(
    worker: process.WorkerProcess, redis: Redis
) -> None:
    @worker.caretaker._app.task(base=tasks.CallTask)
    def wait() -> None:
        raise InboxFull

    wait.push_request(
        id="call", called_directly=False, delivery_info={"exchange": "", "routing_key": INGEST_QUEUE}
    )
    with configured(redis, "maxmemory", "1"), pytest.raises(Reject) as raised:
        wait.run()
    assert vars(raised.value)["requeue"] is True
    with pytest.raises(Retry):
        wait.run()
    assert redis.llen(INGEST_QUEUE) == 1


def test_a_full_inbox_lets_the_caller_wait(redis: Redis) -> None:
    inbox = Inbox(redis, limit_bytes=1, memory_seconds=60)
    inbox.add("a", RecordType.LABELS, [Accepted(1, b"{}")], redelivered=False)
    with pytest.raises(InboxFull) as raised:
        inbox.add("b", RecordType.LABELS, [Accepted(1, b"{}")], redelivered=False)
    assert raised.value.is_retryable()
    assert isinstance(raised.value, tasks.PASSING)


def test_what_is_taken_from_the_inbox_lies_in_a_batch(worker: process.WorkerProcess, redis: Redis) -> None:
    worker.caretaker.stop()
    ingest("labels", {"id": 1}, {"id": 2})
    ingest("labels", {"id": 1, "name": "newer"})
    taken = worker.inbox.head(RecordType.LABELS, 3, 1 << 20)
    raws = [record for piece in taken.pieces for record in piece.records]
    meta = Meta(RecordType.LABELS, "ingest-labels", "ingest", 1)
    chunk = pack(Chunk(RecordType.LABELS, [-1] * 3, [1, 2, 1], raws))
    worker.batches.store("b", meta, [chunk], also=partial(worker.inbox.take, taken=taken))
    assert waiting(worker) == {}
    assert redis.hget("graphinator:inbox", "bytes") == b"0"
    assert run(1) == Tally(created=2, unchanged=1).as_dict()


def test_ingested_records_of_a_batch_that_failed_for_good_go_to_the_quarantine(
    worker: process.WorkerProcess,
) -> None:
    chunk = pack(Chunk(RecordType.LABELS, [-1], [1], [b'{"id":1}']))
    worker.batches.store("b", Meta(RecordType.LABELS, "ingest-labels", "ingest", 1), [chunk])
    tasks.batch_failed(None, ValueError("no help"), None, "b")
    assert [(entry.reason, entry.raw) for entry in worker.quarantine] == [
        ("ValueError: no help", b'{"id":1}')
    ]


def store_ingested(worker: process.WorkerProcess, batch: str, *records: bytes) -> None:
    ids = [*range(1, len(records) + 1)]
    chunk = pack(Chunk(RecordType.RELEASES, [-1] * len(ids), ids, list(records)))
    worker.batches.store(batch, Meta(RecordType.RELEASES, "ingest-releases", "ingest", 1), [chunk])


def test_an_ingested_record_leaves_the_quarantine_when_it_is_written_and_else_counts_up_once(
    worker: process.WorkerProcess,
) -> None:
    worker.caretaker.stop()
    good, endless = releases(b"Ann", b"B" * 40_000)
    spoilt = b"<release id='3'>"
    records = (good, endless, spoilt)
    rejected = [Rejected(place, "an old rule", raw) for place, raw in enumerate(records)]
    worker.quarantine.add(RecordType.RELEASES, "old.xml", rejected, "old-run")
    for batch in ("first", "second"):
        store_ingested(worker, batch, *records)
        # Both messages are delivered twice.
        summaries = [tasks.normalise(batch, 0) for _ in range(2)]
        tasks.write_batch(summaries[:1], batch)
        assert "skipped" in tasks.write_batch(summaries[:1], batch)
    entries = {entry.position: entry for entry in worker.quarantine}
    assert {place: (entry.attempts, entry.source, entry.run) for place, entry in entries.items()} == {
        1: (3, "old.xml", "second"), 2: (3, "old.xml", "second"),
    }  # fmt: skip
    assert "too large to index" in entries[1].reason


def test_what_the_graph_has_already_leaves_the_quarantine_too(worker: process.WorkerProcess) -> None:
    worker.caretaker.stop()
    (good,) = releases(b"Ann")
    for batch in ("first", "second"):
        worker.quarantine.add(RecordType.RELEASES, "old.xml", [Rejected(0, "bad", good)], f"load-{batch}")
        store_ingested(worker, batch, good)
        tasks.write_batch([tasks.normalise(batch, 0)], batch)
        assert len(worker.quarantine) == 0


def test_a_replayed_record_of_a_batch_that_failed_for_good_is_the_same_entry(
    worker: process.WorkerProcess,
) -> None:
    (good,) = releases(b"Ann")
    worker.quarantine.add(RecordType.RELEASES, "old.xml", [Rejected(0, "bad", good)], "old-run")
    store_ingested(worker, "b", good)
    for _ in range(2):
        tasks.batch_failed(None, ValueError("no help"), None, "b")
    assert [(entry.attempts, entry.reason, entry.run) for entry in worker.quarantine] == [
        (2, "ValueError: no help", "b")
    ]


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

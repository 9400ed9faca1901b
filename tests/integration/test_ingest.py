"""Records of upstream tasks, with this process as the worker, on the real servers."""

import logging
from functools import partial
from typing import Any

import pytest
from celery.exceptions import Reject, Retry
from redis import Redis

from ops.commands import status
from pipeline.chunk import Chunk, Rejected
from pipeline.model import RecordType
from pipeline.records.accept import Accepted, RecordsRefused
from tests.integration.conftest import configured
from tests.integration.test_tasks import releases, run
from workers import tasks
from workers import worker as process
from workers.app import INGEST_QUEUE
from workers.sender import open_sender
from workers.state.encoding import pack
from workers.state.in_flight import BatchMeta
from workers.state.keys import (
    IN_FLIGHT,
    INBOX,
    INBOX_SEEN,
    batch_key,
    inbox_call_key,
    inbox_key,
    inbox_numbers_key,
)
from workers.state.runs import RunPlan, Tally
from workers.upstream.dispatch import dispatch
from workers.upstream.inbox import Acceptance, Call, CallUnknown, Inbox, InboxFull
from workers.upstream.quarantine import Quarantine


def ingest(record_type: str, *records: object) -> dict[str, Any]:
    summary: dict[str, Any] = tasks.ingest(record_type, list(records))
    return summary


def waiting(worker: process.Worker) -> dict[str, int]:
    return {record_type.value: waiting.records for record_type, waiting in worker.inbox.waiting().items()}


def test_a_call_keeps_its_records_and_names_the_refused_ones(
    worker: process.Worker,
) -> None:
    worker.recovery.stop()
    summary = ingest("labels", {"id": 1}, "<label><id>2</id></label>")
    assert summary.pop("task_id")
    assert summary == {"record_type": "labels", "accepted": 2, "superseded": 0, "refused": []}
    assert ingest("masters")["accepted"] == 0
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


def test_a_call_that_is_not_strict_names_the_refused_records_and_their_entries(
    worker: process.Worker,
) -> None:
    worker.recovery.stop()
    summary = tasks.ingest([{"id": 3}, {"id": "4"}, 7], record_type="labels", strict=False)
    refused = summary["refused"]
    assert (summary["accepted"], waiting(worker)) == (1, {"labels": 1})
    assert [(each["index"], each["reason"]) for each in refused] == [
        (1, "Expected `int`, got `str` - at `$.id`"),
        (2, "a record is a string of XML or a dictionary, not int"),
    ]
    assert {each["entry"] for each in refused} == {entry.entry_id for entry in worker.quarantine}


def test_a_callers_mistake_is_no_error_in_the_log_of_the_worker(
    worker: process.Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.recovery.stop()
    with caplog.at_level(logging.INFO, "celery.app.trace"):
        ended = tasks.ingest.apply(("labels", [{"id": "4"}]))
    assert isinstance(ended.result, RecordsRefused)
    (line,) = caplog.records
    assert (line.levelno, line.exc_info) == (logging.INFO, None)
    assert "1 of 1 records refused" in line.getMessage()
    assert "Traceback" not in line.getMessage()


def test_a_record_that_is_longer_than_the_setting_is_refused(worker: process.Worker) -> None:
    worker.recovery.stop()
    worker.settings = worker.settings.model_copy(update={"record_bytes": 70_000})
    with pytest.raises(RecordsRefused, match="longer than 70,000 bytes"):
        ingest("labels", {"id": 1}, {"id": 2, "name": "x" * 70_000})
    assert waiting(worker) == {"labels": 1}


def named(task: str) -> Call:
    """The name of a call; its content does not matter."""
    return Call(task, "content")


def call(task: str, *records: object) -> dict[str, Any]:
    """Deliver the message of a call with this task id."""
    summary: dict[str, Any] = tasks.ingest.apply(("labels", list(records)), task_id=task).get()
    return {name: summary[name] for name in ("accepted", "superseded")}


def test_of_two_versions_that_of_the_call_that_was_seen_later_counts(worker: process.Worker) -> None:
    worker.recovery.stop()
    inbox, one, two = worker.inbox, Accepted(1, b"{}"), Accepted(2, b"{}")
    # A worker that saw the first call was killed; its message is redelivered after the second call.
    first, second = inbox.see(named("first")), inbox.see(named("second"))
    assert inbox.add(named("second"), second, RecordType.LABELS, [one]) == Acceptance(1, 0)
    assert inbox.see(named("first")) == first
    assert inbox.add(named("first"), first, RecordType.LABELS, [one, two]) == Acceptance(1, 1)
    assert inbox.add(named("first"), first, RecordType.LABELS, [one, two]) == Acceptance(1, 1)
    assert inbox.head(RecordType.LABELS, 9, 1 << 20).ids == [1, 2]
    # A later one counts, however it is delivered.
    assert inbox.add(named("third"), inbox.see(named("third")), RecordType.LABELS, [one, two]) == Acceptance(
        2, 0
    )
    assert waiting(worker) == {"labels": 4}


def test_newest_calls_of_records_are_remembered_only_while_an_older_call_is_not_accepted(
    redis: Redis,
) -> None:
    inbox, records = Inbox(redis, limit_bytes=1 << 20), [Accepted(1, b"{}"), Accepted(2, b"{}")]

    def accept(task: str) -> None:
        inbox.add(named(task), inbox.see(named(task)), RecordType.LABELS, records)

    def remembered() -> int:
        return redis.zcard(inbox_numbers_key("labels"))

    # A million records a day would fill Redis.
    accept("first")
    assert remembered() == 0
    for task in ("second", "third"):
        inbox.see(named(task))
    accept("third")
    accept("fourth")
    assert remembered() == 2
    accept("second")
    assert (remembered(), redis.zcard(INBOX_SEEN)) == (0, 0)


def test_a_later_call_has_a_higher_number_though_the_clock_of_redis_is_set_back(
    worker: process.Worker, redis: Redis
) -> None:
    redis.hset(INBOX, "number", 2 * worker.inbox.see(named("first")))
    second = worker.inbox.see(named("second"))
    assert worker.inbox.see(named("first")) < second < worker.inbox.see(named("third"))


def test_a_call_is_accepted_once_and_another_one_with_its_task_id_too(worker: process.Worker) -> None:
    worker.recovery.stop()
    for _ in range(2):
        assert call("a", {"id": 1}, {"id": 2}) == {"accepted": 2, "superseded": 0}
    assert waiting(worker) == {"labels": 2}
    assert call("a", {"id": 1, "name": "another"}) == {"accepted": 1, "superseded": 0}
    assert waiting(worker) == {"labels": 3}


def test_a_batch_takes_whole_call_parts_up_to_its_records_and_bytes(worker: process.Worker) -> None:
    worker.recovery.stop()
    for number, ids in enumerate(([1], [1, 2], [1, 2, 3])):
        records = [Accepted(id_, b"x" * 1000) for id_ in ids]
        worker.inbox.add(named(f"call {number}"), number, RecordType.LABELS, records)

    def taken(records: int, size: int) -> list[int]:
        return worker.inbox.head(RecordType.LABELS, records, size).ids

    assert taken(100, 1 << 20) == [1, 1, 2, 1, 2, 3]
    assert taken(3, 1 << 20) == taken(100, 3000) == [1, 1, 2]
    assert taken(2, 1 << 20) == taken(100, 2999) == taken(0, 0) == [1]


def write_all(worker: process.Worker) -> None:
    """Send what waits as batches, and write them; each task is delivered twice."""
    app = worker.recovery._app
    with open_sender(app, lambda _: None) as sender:
        dispatch(sender, app.settings, everything=True)
        for batch in sender.in_flight.batches():
            summaries = [tasks.normalise(batch, 0) for _ in range(2)]
            for _ in range(2):
                tasks.write_batch(summaries[:1], batch)


def state(task: str) -> dict[str, int]:
    """Ask what has become of the records of a call."""
    told = tasks.written(task)
    assert told.pop("task_id") == task
    return {outcome: number for outcome, number in told.items() if number}


def test_each_record_of_a_call_waits_or_is_written_or_superseded_or_refused(
    worker: process.Worker, redis: Redis
) -> None:
    worker.recovery.stop()
    # The texts of refused records have no space in the quarantine, and count all the same.
    worker.quarantine = Quarantine(redis, limit_bytes=1)
    good, endless = (text.decode() for text in releases(b"Ann", b"B" * 40_000))
    hand_over = partial(tasks.ingest.apply, kwargs={"record_type": "releases", "strict": False})
    for task, records in (
        ("a", ["<release>", {"id": 9}, good, endless]),
        ("b", [{"id": 9, "title": "newer"}]),
        ("c", []),
        ("d", ["<release>"]),
    ):
        hand_over(([*records],), task_id=task).get()
    assert state("a") == {"waiting": 3, "refused": 1}
    assert state("b") == {"waiting": 1}
    assert (state("c"), state("d")) == ({}, {"refused": 1})
    write_all(worker)
    assert state("a") == {"written": 1, "superseded": 1, "refused": 2}
    assert state("b") == {"written": 1}
    # A task id that is used again, and a message that is delivered again.
    for _ in range(2):
        hand_over(([{"id": 10}],), task_id="b").get()
    assert state("b") == {"waiting": 1, "written": 1}
    assert tasks.written(tasks.written("b")) == tasks.written("b")
    for unknown in ("e", {"task_id": "e"}, {}, None):
        with pytest.raises(CallUnknown):
            tasks.written(unknown)


def test_a_stalled_load_is_older_than_the_records_that_were_written_since(worker: process.Worker) -> None:
    worker.recovery.stop()
    (good, endless) = (text.decode() for text in releases(b"Ann", b"B" * 40_000))
    plans = {"releases-1": RecordType.RELEASES, "labels-1": RecordType.LABELS}
    for run_, record_type in plans.items():
        worker.runs.plan(run_, RunPlan(record_type, "/x.xml", False, False, worker.runs.now(), "gone"))
    tasks.ingest("releases", [good, endless])
    write_all(worker)
    # The graph refuses the endless one: `resume` loads it from the dump.
    assert [set(worker.runs.newer(run_)) for run_ in plans] == [{1}, set()]


def test_the_records_of_a_failed_batch_are_refused(worker: process.Worker) -> None:
    worker.recovery.stop()
    assert call("a", {"id": 1}, {"id": 2}) == {"accepted": 2, "superseded": 0}
    app = worker.recovery._app
    with open_sender(app, lambda _: None) as sender:
        dispatch(sender, app.settings, everything=True)
        (batch,) = sender.in_flight.batches()
        for _ in range(2):
            tasks.batch_failed(None, ValueError("no help"), None, batch)
    assert state("a") == {"refused": 2}


def test_a_call_is_remembered_while_records_wait_and_a_day_longer(
    worker: process.Worker, redis: Redis
) -> None:
    worker.recovery.stop()

    def remembered(task: str) -> int:
        return round(int(redis.ttl(inbox_call_key(task))) / 3600 / 24)

    call("a", {"id": 1})
    call("nothing")
    assert (remembered("a"), remembered("nothing")) == (30, 1)
    write_all(worker)
    assert remembered("a") == 1
    call("a", {"id": 2})
    assert remembered("a") == 30
    # A call that is forgotten is not half remembered.
    redis.delete(inbox_call_key("a"))
    write_all(worker)
    assert not redis.exists(inbox_call_key("a"))


def test_statistics_are_stale_when_records_of_upstream_tasks_are_written(
    worker: process.Worker, redis: Redis
) -> None:
    worker.recovery.stop()
    ingest("labels", {"id": 1})
    with open_sender(worker.recovery._app, lambda _: None) as sender:
        dispatch(sender, worker.settings, everything=True)
        with redis.pipeline() as pipe:
            worker.statistics.mark_fresh(pipe)
            pipe.execute()
        (batch,) = sender.in_flight.batches()
        tasks.write_batch([tasks.normalise(batch, 0)], batch)
        assert not worker.statistics.get().is_fresh


def test_a_message_stays_unacknowledged_while_redis_is_too_full_for_its_retry(
    worker: process.Worker, redis: Redis
) -> None:
    @worker.recovery._app.task(base=tasks.CallTask)
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
    inbox = Inbox(redis, limit_bytes=1)
    inbox.add(named("a"), 1, RecordType.LABELS, [Accepted(1, b"{}")])
    with pytest.raises(InboxFull) as raised:
        inbox.add(named("b"), 2, RecordType.LABELS, [Accepted(1, b"{}")])
    assert raised.value.is_retryable()
    assert isinstance(raised.value, tasks.PASSING)


def test_records_leave_the_inbox_in_the_transaction_that_stores_their_batch(
    worker: process.Worker, redis: Redis
) -> None:
    worker.recovery.stop()
    ingest("labels", {"id": 1}, {"id": 2})
    ingest("labels", {"id": 1, "name": "newer"})
    head = worker.inbox.head(RecordType.LABELS, 3, 1 << 20)
    meta = BatchMeta(RecordType.LABELS, "ingest-labels", "ingest", [1])
    chunk = pack(Chunk(RecordType.LABELS, [-1] * 3, head.ids, head.records))
    worker.in_flight.store("b", meta, [chunk], also=partial(worker.inbox.remove, head=head))
    assert waiting(worker) == {}
    assert redis.hget("graphinator:inbox", "bytes") == b"0"
    assert run(1) == Tally(created=2, unchanged=1).summary()


def test_no_record_is_lost_when_redis_comes_back_with_records_that_were_sent(
    worker: process.Worker, redis: Redis
) -> None:
    worker.recovery.stop()
    for id_ in (1, 2, 3):
        ingest("labels", {"id": id_})
    parts, numbers = redis.lrange(inbox_key("labels"), 0, -1), redis.dump(INBOX)
    assert numbers is not None
    written: list[list[int]] = []

    def wait(_: str) -> None:
        (batch,) = worker.in_flight.batches()
        if not written:
            # The batch was stored in the second that Redis has lost.
            redis.delete(batch_key(batch), IN_FLIGHT, inbox_key("labels"))
            redis.rpush(inbox_key("labels"), *parts)
            redis.restore(INBOX, 0, numbers, replace=True)
            written.append([])
            return
        chunk = worker.in_flight.chunk(batch, 0)
        assert chunk is not None
        written.append(chunk.ids)
        worker.in_flight.complete(batch, "ingest-labels", Tally(created=1))

    app = worker.recovery._app
    app.settings = app.settings.model_copy(update={"batches_in_flight": 1, "ingest_records": 1})
    with open_sender(app, wait) as sender:
        dispatch(sender, app.settings, everything=True)
        sender.drain()
    assert written == [[], [1], [2], [3]]
    assert waiting(worker) == {}
    assert redis.hget(INBOX, "bytes") == b"0"


def test_records_of_a_failed_batch_go_to_the_quarantine(
    worker: process.Worker,
) -> None:
    chunk = pack(Chunk(RecordType.LABELS, [-1], [1], [b'{"id":1}']))
    worker.in_flight.store("b", BatchMeta(RecordType.LABELS, "ingest-labels", "ingest", [1]), [chunk])
    tasks.batch_failed(None, ValueError("no help"), None, "b")
    assert [(entry.reason, entry.raw) for entry in worker.quarantine] == [
        ("ValueError: no help", b'{"id":1}')
    ]


def store_ingested(worker: process.Worker, batch: str, *records: bytes) -> None:
    ids = [*range(1, len(records) + 1)]
    chunk = pack(Chunk(RecordType.RELEASES, [-1] * len(ids), ids, list(records)))
    worker.in_flight.store(batch, BatchMeta(RecordType.RELEASES, "ingest-releases", "ingest", [1]), [chunk])


def test_a_written_record_leaves_the_quarantine_and_a_refused_one_is_counted_once(
    worker: process.Worker,
) -> None:
    worker.recovery.stop()
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


def test_a_record_that_the_graph_has_leaves_the_quarantine_too(worker: process.Worker) -> None:
    worker.recovery.stop()
    (good,) = releases(b"Ann")
    for batch in ("first", "second"):
        worker.quarantine.add(RecordType.RELEASES, "old.xml", [Rejected(0, "bad", good)], f"load-{batch}")
        store_ingested(worker, batch, good)
        tasks.write_batch([tasks.normalise(batch, 0)], batch)
        assert len(worker.quarantine) == 0


def test_a_replayed_record_of_a_failed_batch_is_the_same_entry(
    worker: process.Worker,
) -> None:
    (good,) = releases(b"Ann")
    worker.quarantine.add(RecordType.RELEASES, "old.xml", [Rejected(0, "bad", good)], "old-run")
    store_ingested(worker, "b", good)
    for _ in range(2):
        tasks.batch_failed(None, ValueError("no help"), None, "b")
    assert [(entry.attempts, entry.reason, entry.run) for entry in worker.quarantine] == [
        (2, "ValueError: no help", "b")
    ]


def test_status_reports_upstream_records_that_a_full_quarantine_lost(
    worker: process.Worker, redis: Redis
) -> None:
    worker.recovery.stop()
    worker.quarantine = Quarantine(redis, limit_bytes=1)
    with pytest.raises(RecordsRefused):
        ingest("labels", "<label>", "<label><id>1</id>")
    (told,) = status.upstream(worker.runs, worker.inbox, set())
    assert told["lost"] == 2

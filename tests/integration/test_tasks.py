"""The tasks' bodies in a worker process that is this one, on the real servers; no messages."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.worker import WorkController
from redis import Redis

from pipeline.driver import Driver
from pipeline.errors import GraphRejected
from pipeline.ledger import fingerprints
from pipeline.model import Chunk, RecordType
from workers import process, tasks
from workers.app import GraphinatorApp
from workers.batches import PREFIX, Batches, Meta, Tally
from workers.blobs import pack
from workers.loop import LoopStopped
from workers.quarantine import Quarantine
from workers.settings import Settings

GOOD = b"<label><id>1</id><name>One</name></label>"
#: Neo4j's indexes take no key of more than some 32 KB: a record the graph refuses, and a person without an id.
LONG = b"<release id='%d'><title>x</title><extraartists><artist><name>%b</name><role>r</role></artist></extraartists></release>"


@pytest.fixture
def worker(settings: Settings, redis: Redis, driver: Driver) -> Iterator[process.WorkerProcess]:
    """This process as a worker, started and stopped as Celery does; the graph and Redis are empty."""
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings
    sender = cast("WorkController", SimpleNamespace(app=app))
    thresholds = gc.get_threshold()
    process.start(sender)
    try:
        yield process.this_process()
    finally:
        process.stop(sender)
        gc.unfreeze()
        gc.set_threshold(*thresholds)


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


def test_a_worker_without_a_server_in_its_settings_does_not_start(settings: Settings) -> None:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update={"redis_url": None})
    with pytest.raises(SystemExit, match="where is Redis"):
        process.start(cast("WorkController", SimpleNamespace(app=app)))


def test_messages_that_outlive_their_batch_do_nothing(batches: Batches) -> None:
    assert tasks.normalise("gone", 0) == Tally().as_dict()
    assert "skipped" in tasks.write_batch([], "gone")
    tasks.batch_failed(None, ValueError("x"), None, "gone")
    assert batches.in_flight() == 0


def test_a_body_that_comes_while_another_copy_writes_leaves_it_the_batch(batches: Batches) -> None:
    store(batches, [GOOD])
    with batches.writing("b", 60):
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
    assert worker.batches.tally("run") == (Tally(created=2, quarantined=2), [])


def test_what_finds_no_room_in_the_quarantine_is_counted(
    worker: process.WorkerProcess, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    worker.quarantine = Quarantine(redis, limit_bytes=1)
    store(worker.batches, [b"<label><id>1</id><name>no end", GOOD])
    with caplog.at_level(logging.WARNING):
        assert run(1) == Tally(created=1, quarantined=1).as_dict()
    assert worker.batches.number_not_kept("run") == 1
    assert "the quarantine is full" in caplog.text


def test_a_batch_that_failed_for_good_is_counted_with_its_reason(batches: Batches) -> None:
    store(batches, [GOOD])
    tasks.batch_failed(None, ValueError("no\n help"), None, "b")
    assert batches.tally("run") == (Tally(), ["no help"])
    assert batches.in_flight() == 0


def test_only_one_settles_and_only_what_had_changed_before_it_began(batches: Batches) -> None:
    batches.unsettle()
    with batches.writing("settle", 60):
        tasks.settle()
    assert not batches.is_settled()
    tasks.settle()
    assert batches.is_settled()


def test_why_settling_failed_is_kept_for_the_sender(
    worker: process.WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Driver) -> None:
        raise GraphRejected("no such index")

    monkeypatch.setattr(tasks, "settle_graph", refuse)
    worker.batches.unsettle()
    with pytest.raises(GraphRejected):
        tasks.settle()
    assert worker.batches.take_settling_failure() == "no such index"
    assert not worker.batches.is_settled()


def test_a_changed_record_leaves_something_to_settle(batches: Batches, redis: Redis) -> None:
    store(batches, [GOOD])
    run(1)
    tasks.settle()
    assert batches.is_settled()
    store(batches, [GOOD.replace(b"One", b"Uno")])
    assert run(1) == Tally(changed=1).as_dict()
    assert not batches.is_settled()
    assert list(redis.scan_iter(PREFIX + "batch:*")) == []

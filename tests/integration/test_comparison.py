"""Loads of dumps over what the graph has, on real servers; the test delivers messages."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from pipeline.chunk import Chunk
from pipeline.graph.driver import Driver
from pipeline.model import RecordType
from workers import sender as sender_module
from workers import tasks
from workers.app import REMOVE_VANISHED, GraphinatorApp, TaskName, configuration
from workers.comparison import Fingerprints
from workers.loader import Contents, Report, load
from workers.state.in_flight import BatchMeta
from workers.state.keys import LOAD_LOCK
from workers.state.lease import LeaseLost
from workers.state.runs import Runs, RunState, Tally
from workers.worker import Worker


class Messages:
    """Delivers what a load sends: at once, or while it waits."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._late: list[tuple[str, int]] = []
        self.is_late = False
        #: Each chunk of each batch.
        self.batches: list[list[Chunk | None]] = []

    def send_batch(self, _: Celery, batch: str, meta: BatchMeta) -> None:
        self.batches.append([self._worker.in_flight.chunk(batch, index) for index in range(meta.chunks)])
        self._late.append((batch, meta.chunks))
        if not self.is_late:
            self.deliver()

    def send_exclusive(self, _: Celery, task: TaskName, *args: Any, **_shown: str) -> None:
        (tasks.remove_vanished if task is REMOVE_VANISHED else tasks.finish)(*args)

    def deliver(self, *_: object) -> None:
        while self._late:
            batch, chunks = self._late.pop(0)
            tasks.write_batch([tasks.normalise(batch, index) for index in range(chunks)], batch)


@pytest.fixture
def messages(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Messages:
    messages = Messages(worker)
    monkeypatch.setattr(sender_module, "send_batch", messages.send_batch)
    monkeypatch.setattr(sender_module, "send_exclusive", messages.send_exclusive)
    return messages


@pytest.fixture
def app(worker: Worker) -> Iterator[GraphinatorApp]:
    with GraphinatorApp("tests", set_as_current=False) as app:
        app.settings = worker.settings.model_copy(update={"chunk_records": 4})
        app.conf.update(configuration(app.settings))
        yield app


def label(id_: int, name: str) -> str:
    return f"<label><id>{id_}</id><name>{name}</name></label>"


def loaded(app: GraphinatorApp, messages: Messages, path: Path, *records: str) -> Report:
    """Load these records as a complete dump."""
    path.write_text("\n".join(["<labels>", *records, "</labels>"]))
    messages.batches.clear()
    wait = messages.deliver
    (report,) = load(app, [path], wait, wait, Contents(allow_vanish=True))
    assert report.problems == []
    assert report.tally.read == len(records)
    return report


def ids(messages: Messages) -> list[list[list[int]]]:
    return [[chunk.ids for chunk in batch if chunk is not None] for batch in messages.batches]


async def names(driver: Driver) -> list[str]:
    async with await driver.session(database="neo4j") as session:
        result = await session.run("MATCH (n:Label) RETURN n.name AS name ORDER BY n.id")
        return [record["name"] async for record in result]


async def test_only_new_and_changed_records_are_sent_in_full_chunks(
    app: GraphinatorApp, messages: Messages, worker: Worker, driver: Driver, tmp_path: Path
) -> None:
    def months() -> None:
        path = tmp_path / "labels.xml"
        records = [label(id_, "old") for id_ in range(1, 41)]
        refused = "<label><id>7</id><name>no end</label>"
        first = loaded(app, messages, path, *[refused if each == records[6] else each for each in records])
        assert first.tally == Tally(created=39, quarantined=1)
        assert len(worker.quarantine) == 1
        assert loaded(app, messages, path, *records).tally == Tally(unchanged=39, created=1)
        assert ids(messages) == [[[7]]]
        assert len(worker.quarantine) == 0
        assert loaded(app, messages, path, *records).tally == Tally(unchanged=40)
        assert messages.batches == []
        # Its older version would be done with, if it had been written.
        for place in range(4, 40, 5):
            records[place] = label(place + 1, "new")
        records[19] = "<label><id>20</id><name>new</label>"
        report = loaded(app, messages, path, *records)
        assert report.tally == Tally(unchanged=32, changed=7, quarantined=1)
        assert ids(messages) == [[[5, 10, 15, 20], [25, 30, 35, 40]]]
        (entry,) = worker.quarantine
        assert path.read_bytes()[entry.position :].startswith(entry.raw)
        records[19] = label(20, "old")
        assert loaded(app, messages, path, *records).tally == Tally(unchanged=40)
        assert (messages.batches, len(worker.quarantine)) == ([], 0)

    await asyncio.to_thread(months)
    assert await names(driver) == ["new" if id_ % 5 == 0 and id_ != 20 else "old" for id_ in range(1, 41)]


@pytest.mark.parametrize("chunk_records", [1, 4])
@pytest.mark.parametrize(
    ("versions", "tally"),
    [
        (["old", "new", "old"], [Tally(unchanged=1, changed=2), Tally(unchanged=3)]),
        (["new", "old"], [Tally(changed=2), Tally(unchanged=2)]),
        (["old", "old"], [Tally(unchanged=2), Tally(unchanged=2)]),
    ],
)
async def test_of_an_id_that_comes_again_the_last_version_counts(
    app: GraphinatorApp,
    messages: Messages,
    driver: Driver,
    tmp_path: Path,
    chunk_records: int,
    versions: list[str],
    tally: list[Tally],
) -> None:
    app.settings = app.settings.model_copy(update={"chunk_records": chunk_records, "chunks_per_batch": 1})
    messages.is_late = True

    def months() -> Report:
        loaded(app, messages, tmp_path / "labels.xml", label(1, "old"))
        return loaded(app, messages, tmp_path / "labels.xml", *[label(1, name) for name in versions])

    report = await asyncio.to_thread(months)
    assert report.tally == tally[chunk_records > 1]
    assert await names(driver) == [versions[-1]]


def test_a_load_that_has_lost_its_lock_ends_also_if_it_sends_nothing(
    app: GraphinatorApp, messages: Messages, redis: Redis, tmp_path: Path
) -> None:
    def lose(_: object) -> None:
        redis.delete(LOAD_LOCK)

    path = tmp_path / "labels.xml"
    loaded(app, messages, path, label(1, "old"))
    again = load(app, [path], lose, messages.deliver, Contents(partial=True))
    with pytest.raises(LeaseLost):
        next(again)
    assert [run.state for run in Runs(redis)] == [RunState.FINISHED, RunState.STALLED]


async def test_records_that_were_accepted_before_a_load_are_written_before_its_dump_is_compared(
    app: GraphinatorApp, messages: Messages, driver: Driver, tmp_path: Path
) -> None:
    def months() -> Report:
        loaded(app, messages, tmp_path / "labels.xml", label(1, "old"))
        messages.is_late = True
        tasks.ingest(RecordType.LABELS, [label(1, "new")])
        return loaded(app, messages, tmp_path / "labels.xml", label(1, "old"))

    assert (await asyncio.to_thread(months)).tally == Tally(changed=1)
    assert await names(driver) == ["old"]


def test_a_load_ends_without_the_size_of_a_graph_that_refuses_it(worker: Worker) -> None:
    with Fingerprints(worker.settings) as graph:
        assert graph.graph_size() is not None
    with Fingerprints(worker.settings.model_copy(update={"neo4j_password": "another"})) as graph:
        assert graph.graph_size() is None

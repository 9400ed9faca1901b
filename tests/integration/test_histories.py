"""After any history the graph is that of the newest version of each record.

Loader, sender, tasks, Redis and Neo4j are the product's own; only Celery's messages are replaced, by threads that
deliver them in any order, more than once, and late.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import neo4j
import pytest
from celery import Celery
from celery.exceptions import Retry
from hypothesis import strategies as st
from redis import Redis

from pipeline.graph.driver import Driver
from pipeline.model import RecordType
from tests.conftest import EMPTY_GRAPH, Neo4jServer
from tests.graph_dump import differences, read_graph_at_once
from tests.integration.history import IDS, Newest, Plain, draw_record, to_xml, write_dump
from workers import batch_writer, tasks
from workers import sender as sender_module
from workers.app import FINISH, REMOVE_VANISHED, GraphinatorApp, TaskName, configuration
from workers.loader import Contents, load, resume
from workers.sender import open_sender
from workers.settings import Settings
from workers.state.in_flight import BatchMeta
from workers.state.keys import IN_FLIGHT, INBOX, LOAD_LOCK, PREFIX
from workers.state.runs import UPSTREAM
from workers.worker import Worker

#: `make test` lives through the same few histories each time; `HISTORIES=300` goes looking for new ones.
MANY = int(os.environ.get("HISTORIES", "0"))

EXCLUSIVE_TASKS: dict[TaskName, Any] = {FINISH: tasks.finish, REMOVE_VANISHED: tasks.remove_vanished}


class Killed(Exception):
    """The load was killed."""


class Deliveries:
    """Delivers what the product sends to Celery, by threads of this process."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._drawing = threading.Lock()
        self._pool = ThreadPoolExecutor(4)
        self._running: list[Future[None]] = []
        self._late: list[Callable[[], None]] = []
        self._left: int | None = None

    def kill_after(self, batches: int | None) -> None:
        """Kill the next load when it has sent so many batches."""
        self._left = batches

    def send_batch(self, _: Celery, batch: str, meta: BatchMeta) -> None:
        self._running.append(self._pool.submit(self._chord, batch, meta.chunks))
        if self._left is not None and not batch.startswith(UPSTREAM):
            self._left -= 1
            if not self._left:
                raise Killed

    def send_exclusive(self, _: Celery, task: TaskName, *args: object, **_options: object) -> None:
        self._running.append(self._pool.submit(lambda: self._task(EXCLUSIVE_TASKS[task], *args)))

    def _chord(self, batch: str, chunks: int) -> None:
        headers = self._shuffled([*range(chunks), *range(chunks)][: chunks + self._number(chunks)])
        summaries = {index: self._task(tasks.normalise, batch, index) for index in headers}
        body = [summaries[index] for index in range(chunks)]
        for _ in range(1 + self._number(1)):
            self._task(tasks.write_batch, body, batch)
        self._late.append(lambda: self._task(tasks.write_batch, body, batch))

    def _task(self, task: Any, *args: object) -> Any:
        """As Celery does, again and again while the task asks for it."""
        while True:
            try:
                return task(*args)
            except (*tasks.PASSING, Retry):
                time.sleep(0.01)

    def redeliver(self) -> None:
        """Deliver once more what was delivered long ago."""
        for deliver in self._shuffled(self._late)[:3]:
            deliver()

    def close(self) -> None:
        """Wait for all, and raise what went wrong."""
        self._pool.shutdown()
        for future in self._running:
            future.result()

    def _number(self, most: int) -> int:
        with self._drawing:
            return self._draw.randint(0, most)

    def _shuffled(self, values: list[Any]) -> list[Any]:
        with self._drawing:
            return self._draw.sample(values, len(values))


@dataclass(frozen=True)
class Loading:
    """A dump is loaded; some calls come while that goes on."""

    record_type: RecordType
    #: Id and seed of each record, in their order; an id may come twice.
    records: list[tuple[int, int]]
    partial: bool
    chunk_records: int
    chunks_per_batch: int
    meanwhile: "list[Calling]"
    #: The load is killed when it has sent so many batches, and resumed after these calls.
    killed_after: int | None


@dataclass(frozen=True)
class Calling:
    """An upstream task hands over some records."""

    record_type: RecordType
    records: list[tuple[int, int]]
    as_xml: bool


@dataclass(frozen=True)
class Forgetting:
    """Redis loses its data, at a moment when nothing is in flight."""


_TYPES = st.sampled_from(list(RecordType))
_RECORDS = st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 3)), min_size=1, max_size=9)
_CALLS = st.builds(Calling, _TYPES, _RECORDS, st.booleans())
_LOADS = st.builds(
    Loading,
    _TYPES,
    _RECORDS,
    st.booleans(),
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(_CALLS, max_size=2),
    st.sampled_from([None, 1, 2]),
)
_HISTORIES = st.lists(st.one_of(_LOADS, _LOADS, _CALLS, st.builds(Forgetting)), min_size=1, max_size=6)


class History:
    """The steps of a history, one after the other, with the expected graph."""

    def __init__(self, app: GraphinatorApp, redis: Redis, deliveries: Deliveries, folder: Path) -> None:
        self._app = app
        self._redis = redis
        self._deliveries = deliveries
        self._folder = folder
        self.newest = Newest()

    def take(self, step: Loading | Calling | Forgetting) -> None:
        match step:
            case Loading():
                self._load(step)
            case Calling():
                self._call(step)
            case Forgetting():
                self.wait()
                for key in self._redis.scan_iter(PREFIX + "*"):
                    self._redis.delete(key)
        self._deliveries.redeliver()

    def _load(self, step: Loading) -> None:
        records = self._records(step.record_type, step.records)
        self.newest.load(step.record_type, records, partial=step.partial)
        calls = list(step.meanwhile)

        def call(_: object) -> None:
            while calls:
                self._call(calls.pop())

        self._app.settings = self._app.settings.model_copy(
            update={"chunk_records": step.chunk_records, "chunks_per_batch": step.chunks_per_batch}
        )
        path = write_dump(self._folder, step.record_type, records)
        contents = Contents(partial=step.partial, allow_vanish=True)
        self._deliveries.kill_after(step.killed_after)
        try:
            (report,) = load(self._app, [path], call, lambda _: None, contents)
        except Killed:
            call(None)
            self.wait()
            (report,) = resume(self._app, lambda _: None, lambda _: None)
        self._deliveries.kill_after(None)
        assert report.problems == []
        assert report.tally.read == len(records)

    def _call(self, step: Calling) -> None:
        records = self._records(step.record_type, step.records)
        self.newest.ingest(step.record_type, records)
        given = [to_xml(step.record_type, each) for each in records] if step.as_xml else records
        assert tasks.ingest(step.record_type.value, given)["accepted"] == len(records)

    def _records(self, record_type: RecordType, drawn: list[tuple[int, int]]) -> list[Plain]:
        return [draw_record(record_type, id_, seed) for id_, seed in drawn]

    def wait(self) -> None:
        """Until all that was handed over is written."""
        while self._is_busy():
            time.sleep(0.01)

    def _is_busy(self) -> bool:
        counts = self._redis.hgetall(INBOX)
        waiting = any(int(counts.get(f"{record_type}:records".encode(), 0)) for record_type in RecordType)
        return waiting or bool(self._redis.exists(LOAD_LOCK, IN_FLIGHT))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"ingest_seconds": 0})


@pytest.fixture
def empty(worker: Worker, redis: Redis, neo4j_server: Neo4jServer, driver: Driver) -> Iterator[neo4j.Session]:
    """A session on the graph, with a worker that is this process."""
    worker.driver()
    auth = (neo4j_server.user, neo4j_server.password)
    with neo4j.GraphDatabase.driver(neo4j_server.uri, auth=auth) as sync, sync.session() as session:
        yield session


@pytest.mark.slow
@pytest.mark.timeout(7200)
@hypothesis.settings(
    max_examples=MANY or 12,
    derandomize=not MANY,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(history=_HISTORIES, seed=st.integers(0, 1000))
def test_the_graph_is_that_of_the_newest_versions_whatever_the_history(
    empty: neo4j.Session,
    redis: Redis,
    settings: Settings,
    tmp_path: Path,
    history: list[Loading | Calling | Forgetting],
    seed: int,
) -> None:
    empty.run(EMPTY_GRAPH).consume()
    for key in redis.scan_iter(PREFIX + "*"):
        redis.delete(key)
    deliveries = Deliveries(seed)
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings
    app.add_defaults(lambda: configuration(app.settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender_module, "send_batch", deliveries.send_batch)
        patch.setattr(sender_module, "send_exclusive", deliveries.send_exclusive)
        # Most batches take several transactions.
        patch.setattr(batch_writer, "MAX_RECORDS", 3)
        lived = History(app, redis, deliveries, tmp_path)
        for step in history:
            lived.take(step)
        lived.wait()
        with open_sender(app, lambda _: None) as sender:
            sender.finish()
        deliveries.close()
    found = read_graph_at_once(empty, ignoring=frozenset())
    assert differences(lived.newest.graph(tmp_path), found) == []

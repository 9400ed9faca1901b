"""Replay beside calls, loads and purges, on the real servers, without messages."""

import asyncio
from collections.abc import Iterator
from typing import Literal, LiteralString

import pytest

from pipeline.chunk import Rejected
from pipeline.model import RecordType
from pipeline.records.accept import Accepted
from workers import tasks
from workers import worker as process
from workers.sender import open_sender
from workers.state.runs import UPSTREAM
from workers.upstream.dispatch import dispatch
from workers.upstream.inbox import Call
from workers.upstream.replay import ReplayReport, SkipReason, _Replay
from workers.worker import open_driver

ONE = b"<label><id>1</id><name>One</name></label>"
TWO = b"<label><id>2</id><name>Two</name></label>"
NEWER = Accepted(1, b"<label><id>1</id><name>Uno</name></label>")


@pytest.fixture
def replay(worker: process.Worker) -> Iterator[_Replay]:
    """A replay that holds the load lock, with two records in the quarantine."""
    worker.recovery.stop()
    rejected = [Rejected(place, "an old rule", raw) for place, raw in enumerate((ONE, TWO))]
    worker.quarantine.add(RecordType.LABELS, "old.xml", rejected, "old-run")
    app = worker.recovery._app
    with open_sender(app, lambda _: None) as sender, asyncio.Runner() as runner:
        driver = open_driver(app.settings)
        try:
            yield _Replay(app, sender, runner, driver, overwrite=False)
        finally:
            runner.run(driver.close())


def entries(worker: process.Worker) -> list[str]:
    return [entry.entry_id for entry in sorted(worker.quarantine, key=lambda entry: entry.position)]


def sent(worker: process.Worker) -> list[list[bytes]]:
    """The records of each batch in flight."""
    chunks = [worker.in_flight.chunk(batch, 0) for batch in worker.in_flight.batches()]
    return sorted(chunk.records for chunk in chunks if chunk is not None)


def write(worker: process.Worker) -> None:
    """Do the work of the messages of all batches in flight."""
    for batch in worker.in_flight.batches():
        tasks.write_batch([tasks.normalise(batch, 0)], batch)


def label_names(replay: _Replay, flag: Literal["fingerprint", "upstream"] = "fingerprint") -> list[str]:
    """The names of the labels that have this property."""

    async def read() -> list[str]:
        async with await replay._driver.session(database="neo4j") as session:
            text: LiteralString = (
                f"MATCH (n:Label) WHERE n.{flag} IS NOT NULL RETURN n.name AS name ORDER BY n.id"
            )
            result = await session.run(text)
            return [record["name"] async for record in result]

    return replay._runner.run(read())


def test_an_entry_stays_in_the_quarantine_until_its_record_is_written(
    worker: process.Worker, replay: _Replay
) -> None:
    assert replay.run([]) == ReplayReport(replayed=2)
    assert sent(worker) == [[ONE, TWO]]
    assert len(entries(worker)) == 2
    write(worker)
    assert entries(worker) == []
    assert label_names(replay) == ["One", "Two"]


def test_a_replayed_record_has_the_origin_of_its_entry(worker: process.Worker, replay: _Replay) -> None:
    worker.quarantine.add(
        RecordType.LABELS, UPSTREAM, [Rejected(-1, "bad", b'{"id":3,"name":"Three"}')], "call"
    )
    assert replay.run([]).replayed == 3
    write(worker)
    assert label_names(replay, "upstream") == ["Three"]
    assert label_names(replay) == ["One", "Two", "Three"]


def test_a_call_that_is_accepted_during_a_replay_wins(
    worker: process.Worker, replay: _Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = replay._missing

    def accept_and_ask(record_type: RecordType, entries: dict[int, str]) -> list[str]:
        missing = ask(record_type, entries)
        worker.inbox.add(Call("call", ""), 1, RecordType.LABELS, [NEWER])
        return missing

    monkeypatch.setattr(replay, "_missing", accept_and_ask)
    assert replay.run([]).replayed == 2
    assert worker.inbox.head(RecordType.LABELS, 100, 1 << 20).records == [NEWER.raw]
    write(worker)
    dispatch(replay._sender, worker.settings, everything=True)
    write(worker)
    assert label_names(replay) == ["Uno", "Two"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_records_that_were_accepted_before_a_replay_are_written_first(
    worker: process.Worker, replay: _Replay, *, overwrite: bool
) -> None:
    first, _ = entries(worker)
    worker.inbox.add(Call("call", ""), 1, RecordType.LABELS, [NEWER])
    replay._sender.on_wait = lambda _: write(worker)
    replay._overwrite = overwrite
    report = replay.run([first])
    skipped = [] if overwrite else [(first, SkipReason.IN_GRAPH)]
    assert report == ReplayReport(replayed=int(overwrite), skipped=skipped)
    write(worker)
    assert label_names(replay) == ["One" if overwrite else "Uno"]


def test_an_entry_that_is_purged_during_a_replay_is_left_out(worker: process.Worker, replay: _Replay) -> None:
    first, second = entries(worker)
    worker.quarantine.purge([first])
    replay._send(RecordType.LABELS, [first])
    assert sent(worker) == []
    assert replay.run([first, second]).replayed == 1
    assert sent(worker) == [[TWO]]


def test_a_batch_of_a_replay_has_at_most_the_bytes_of_a_chunk(
    worker: process.Worker, replay: _Replay
) -> None:
    replay._settings = worker.settings.model_copy(update={"chunk_bytes": len(ONE) + 1})
    assert replay.run([]).replayed == 2
    assert sent(worker) == [[ONE], [TWO]]


def test_a_stub_does_not_count_as_a_record_of_the_graph(worker: process.Worker, replay: _Replay) -> None:
    first, second = entries(worker)

    async def fill() -> None:
        async with await replay._driver.session(database="neo4j") as session:
            result = await session.run("CREATE (:Label {id: 1, fingerprint: 4}), (:Label {id: 2})")
            await result.consume()

    replay._runner.run(fill())
    assert replay.run([]) == ReplayReport(replayed=1, skipped=[(first, SkipReason.IN_GRAPH)])
    assert sent(worker) == [[TWO]]
    assert entries(worker) == [first, second]

"""What a replay hands over when others hand over, load or purge meanwhile; on the real servers, without messages."""

import asyncio
from collections.abc import Iterator

import pytest

from pipeline.model import RecordType, Rejected
from pipeline.records.accept import Accepted
from workers import worker as process
from workers.sender import Sender
from workers.upstream.replay import IN_GRAPH, NEWER, _Replay
from workers.worker import open_driver

ONE = b"<label><id>1</id><name>One</name></label>"
TWO = b"<label><id>2</id><name>Two</name></label>"


@pytest.fixture
def replay(worker: process.WorkerProcess) -> Iterator[_Replay]:
    """A replay that holds the lock, of two records in the quarantine."""
    worker.caretaker.stop()
    rejected = [Rejected(place, "an old rule", raw) for place, raw in enumerate((ONE, TWO))]
    worker.quarantine.add(RecordType.LABELS, "old.xml", rejected, "old-run")
    app = worker.caretaker._app
    sender = Sender(app)
    with sender.locked(), asyncio.Runner() as runner:
        driver = open_driver(app.settings)
        try:
            yield _Replay(app, sender, runner, driver, overwrite=False)
        finally:
            runner.run(driver.close())


def entries(worker: process.WorkerProcess) -> list[str]:
    return [entry.entry_id for entry in sorted(worker.quarantine, key=lambda entry: entry.position)]


def waiting(worker: process.WorkerProcess) -> list[bytes]:
    pieces = worker.inbox.head(RecordType.LABELS, 100, 1 << 20).pieces
    return [record for piece in pieces for record in piece.records]


def test_what_is_handed_over_stays_in_the_quarantine(worker: process.WorkerProcess, replay: _Replay) -> None:
    outcome = replay.run([])
    assert (outcome.replayed, outcome.refused, outcome.left) == (2, [], [])
    assert sorted(waiting(worker)) == [ONE, TWO]
    assert len(entries(worker)) == 2


def test_what_a_call_brings_meanwhile_is_newer(worker: process.WorkerProcess, replay: _Replay) -> None:
    first, second = entries(worker)
    newest = Accepted(1, b"<label><id>1</id><name>Uno</name></label>")
    worker.inbox.add("call", RecordType.LABELS, [newest])
    replay._hand_over(RecordType.LABELS, [first, second])
    assert waiting(worker) == [newest.raw, TWO]
    assert replay._outcome.left == [(first, NEWER)]
    assert replay._outcome.replayed == 1


def test_what_is_purged_meanwhile_is_not_handed_over(worker: process.WorkerProcess, replay: _Replay) -> None:
    first, second = entries(worker)
    worker.quarantine.purge([first])
    replay._hand_over(RecordType.LABELS, [first])
    assert waiting(worker) == []
    assert replay.run([first, second]).replayed == 1
    assert waiting(worker) == [TWO]


def test_a_stub_is_no_record_that_the_graph_has(worker: process.WorkerProcess, replay: _Replay) -> None:
    first, second = entries(worker)

    async def fill() -> None:
        async with await replay._driver.session(database="neo4j") as session:
            result = await session.run("CREATE (:Label {id: 1, fingerprint: 4}), (:Label {id: 2})")
            await result.consume()

    replay._runner.run(fill())
    assert replay._missing(RecordType.LABELS, {1: first, 2: second}) == [second]
    assert replay._outcome.left == [(first, IN_GRAPH)]

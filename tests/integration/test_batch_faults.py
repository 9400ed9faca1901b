"""Batch code on the real Neo4j: failing statements, a hanging server, a refused record."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import neo4j
import pytest

from pipeline.chunk import Chunk
from pipeline.errors import GraphOverloaded, GraphRejected, GraphUnavailable
from pipeline.graph.batch import write_statement
from pipeline.graph.derived import count, rebuild
from pipeline.graph.driver import ATTEMPTS, VERIFIED_FOR_SECONDS, Driver
from pipeline.graph.lookup import find_vanished, fingerprints
from pipeline.graph.schema import check_schema, create_schema
from pipeline.graph.summary import highlights, node_counts, relationship_counts
from pipeline.graph.verify import Verification
from pipeline.graph.writer import Written, remove_records, write_records
from pipeline.model import RecordType, Row
from tests.fakes.faults import Moment, commit_unconfirmed, connection_lost, deadlock, server_error
from tests.integration.rows import label, release
from tests.integration.world import ROWS, Attempt, Watched, World
from workers import batch_writer as batch_writer_module
from workers.batch_writer import BatchWriter
from workers.state.lease import Lease, LeaseLost
from workers.state.statistics import StatisticsState


@pytest.mark.parametrize("record_type", list(RecordType))
@pytest.mark.parametrize(
    ("statement_number", "make_error"),
    [(1, deadlock), (2, connection_lost), (3, deadlock), (4, connection_lost)],
)
async def test_a_passing_error_at_any_statement_is_repeated_and_leaves_no_trace(
    real: World, record_type: RecordType, make_error: Callable[[], Exception], statement_number: int
) -> None:
    real.watched.fail(make_error, occurrence=statement_number, times=2)
    assert await write_records(real.driver, record_type, ROWS[record_type]) == Written(
        created=len(ROWS[record_type])
    )
    assert [attempt.committed for attempt in real.watched.attempts].count(True) == 1


async def test_an_unconfirmed_commit_is_the_callers_to_repeat(real: World) -> None:
    real.watched.fail(commit_unconfirmed, at=Moment.COMMITTED)
    rows = ROWS[RecordType.MASTERS]
    with pytest.raises(GraphUnavailable):
        await write_records(real.driver, RecordType.MASTERS, rows)
    assert await write_records(real.driver, RecordType.MASTERS, rows) == Written(unchanged=len(rows))


async def past_its_deadline(hangs: asyncio.Event, work: Awaitable[object]) -> None:
    """Await it, with a deadline that passes as soon as it hangs."""
    async with asyncio.timeout(None) as deadline:

        async def watch() -> None:
            await hangs.wait()
            deadline.reschedule(0)

        watching = asyncio.create_task(watch())
        try:
            await work
        finally:
            watching.cancel()


@pytest.mark.parametrize("moment", [Moment.RUN, Moment.COMMIT])
async def test_a_deadline_ends_a_wait_at_any_moment(real: World, moment: Moment) -> None:
    await node_counts(real.driver)  # connected, and found to answer
    hangs = real.watched.hang(at=moment)
    with pytest.raises(TimeoutError):
        await past_its_deadline(hangs, write_records(real.driver, RecordType.LABELS, ROWS[RecordType.LABELS]))
    assert real.watched.seen[-2:] == ["entered", "left"]
    assert not any((await node_counts(real.driver)).values())


async def test_the_loser_of_a_race_looks_again(real: World) -> None:
    constraint = "Neo.ClientError.Schema.ConstraintValidationFailed"
    real.watched.fail(lambda: server_error(constraint, "already exists"), occurrence=3)
    rows = ROWS[RecordType.MASTERS]
    assert await write_records(real.driver, RecordType.MASTERS, rows) == Written(created=len(rows))


class FixedLease:
    """A lease that is held, or lost, without Redis."""

    def __init__(self, *, is_held: bool = True) -> None:
        self._is_held = is_held

    def check(self) -> None:
        if not self._is_held:
            raise LeaseLost("a batch")


class Marks:
    """A state of the statistics without Redis."""

    stale = 0

    def mark_stale(self) -> None:
        self.stale += 1


def batch_writer(real: World, *, is_held: bool = True, marks: Marks | None = None) -> BatchWriter:
    lease = cast("Lease", FixedLease(is_held=is_held))
    return BatchWriter(real.driver, lease, cast("StatisticsState", marks or Marks()))


async def write(
    real: World,
    rows: list[Row],
    *,
    is_held: bool = True,
    record_type: RecordType = RecordType.RELEASES,
) -> list[tuple[Row, str]]:
    return await batch_writer(real, is_held=is_held).write(record_type, rows)


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_the_task_writes_records_of_every_type(real: World, record_type: RecordType) -> None:
    rows = ROWS[record_type]
    assert await write(real, rows, record_type=record_type) == []
    ids = [row["id"] for row in rows]
    assert sorted(await fingerprints(real.driver, record_type, ids)) == sorted(ids)


async def test_the_task_removes_records(real: World) -> None:
    rows = ROWS[RecordType.LABELS]
    await write(real, rows, record_type=RecordType.LABELS)
    ids = [row["id"] for row in rows]
    removed = await batch_writer(real).remove(RecordType.LABELS, [*ids, 99])
    assert removed == len(rows)
    assert await fingerprints(real.driver, RecordType.LABELS, ids) == {}


async def test_a_record_that_the_graph_refuses_is_found_and_the_others_are_written(real: World) -> None:
    rows = [release(number, title={} if number == 5 else "fine") for number in range(1, 9)]
    assert await write(real, []) == []
    refused = await write(real, rows)
    assert [row["id"] for row, _ in refused] == [5]
    assert "Property values" in refused[0][1]
    assert sorted(await fingerprints(real.driver, RecordType.RELEASES, range(1, 9))) == [1, 2, 3, 4, 6, 7, 8]


async def test_bad_records_side_by_side_or_alone_are_found_all_the_same(real: World) -> None:
    rows = [release(number, title={} if number in (4, 5) else "fine") for number in range(1, 9)]
    assert sorted(row["id"] for row, _ in await write(real, rows)) == [4, 5]
    assert len(await write(real, [rows[3], rows[4]])) == 2


async def test_a_graph_that_refuses_too_many_records_is_an_error(
    real: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer_module, "MAX_REFUSED", 2)
    with pytest.raises(GraphRejected, match=r"3 of 3 records: .*Property values"):
        await write(real, [release(number, title={}) for number in (1, 2, 3)])


async def test_a_graph_that_takes_no_writes_says_nothing_against_a_record(real: World) -> None:
    def forbid(text: str, _: object) -> Exception | None:
        return (
            server_error("Neo.ClientError.Security.Forbidden", "no privilege")
            if writes_releases(text)
            else None
        )

    real.watched.refuse(forbid)
    with pytest.raises(GraphRejected, match="no privilege"):
        await write(real, [release(1), release(2)])


def writes_releases(text: str) -> bool:
    return text == write_statement(RecordType.RELEASES).strip()


def tries(world: World) -> list[Attempt]:
    """The attempts that came to write releases."""
    return [
        each for each in world.watched.attempts if any(writes_releases(text) for text, _ in each.statements)
    ]


def out_of_memory() -> Exception:
    return server_error("Neo.TransientError.General.MemoryPoolOutOfMemoryError", "the pool is exhausted")


def at_most(rows: int, world: World) -> None:
    """Have the server out of memory for a transaction with more releases."""

    def refuse(text: str, parameters: dict[str, Any]) -> Exception | None:
        if writes_releases(text) and len(parameters["batch"]["records"]) > rows:
            return out_of_memory()
        return None

    world.watched.refuse(refuse)


async def test_a_batch_that_is_too_much_for_the_server_is_written_in_parts(real: World) -> None:
    at_most(20, real)
    rows = [release(number) for number in range(1, 101)]
    assert await write(real, rows) == []
    ids = [row["id"] for row in rows]
    assert sorted(await fingerprints(real.driver, RecordType.RELEASES, ids)) == ids
    assert len(tries(real)) == 1 + 4 + 16


async def test_a_batch_is_written_in_small_transactions_and_goes_on_where_it_broke_off(
    real: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer_module, "MAX_RECORDS", 2)
    # The first commit is that of `check_schema`.
    real.watched.fail(commit_unconfirmed, at=Moment.COMMITTED, occurrence=3)
    rows = [release(number) for number in range(1, 6)]
    with pytest.raises(GraphUnavailable):
        await write(real, rows)
    assert len(tries(real)) == 2
    assert await write(real, rows) == []
    assert len(tries(real)) == 3
    ids = [row["id"] for row in rows]
    assert sorted(await fingerprints(real.driver, RecordType.RELEASES, ids)) == ids


async def test_a_removal_that_is_too_much_for_the_server_is_done_in_parts(real: World) -> None:
    rows = [label(number) for number in range(1, 41)]
    await write(real, rows, record_type=RecordType.LABELS)

    def refuse(_: str, parameters: dict[str, Any]) -> Exception | None:
        return out_of_memory() if len(parameters.get("ids", [])) > 10 else None

    real.watched.refuse(refuse)
    assert await batch_writer(real).remove(RecordType.LABELS, range(1, 41)) == 40


async def test_statistics_are_stale_before_anything_is_written(real: World) -> None:
    marks = Marks()
    writer = batch_writer(real, marks=marks, is_held=False)
    assert await writer.write(RecordType.RELEASES, []) == []
    assert marks.stale == 0
    for act in (
        writer.write(RecordType.RELEASES, ROWS[RecordType.RELEASES]),
        writer.remove(RecordType.RELEASES, [20]),
    ):
        with pytest.raises(LeaseLost):
            await act
    assert marks.stale == 2


async def test_where_even_a_few_records_are_too_much_the_batch_waits(real: World) -> None:
    at_most(3, real)
    with pytest.raises(GraphOverloaded, match="the pool is exhausted"):
        await write(real, [release(number) for number in range(1, 21)])
    # Fewer than 20 are not tried, and 20 not once more as they are.
    assert len(tries(real)) == 1


async def test_what_is_too_much_only_at_its_commit_is_not_tried_as_it_is_either(real: World) -> None:
    real.watched.fail(out_of_memory, at=Moment.COMMIT, occurrence=2)  # the first is that of check_schema
    rows = [release(number) for number in range(1, 101)]
    assert await write(real, rows) == []
    committed = [attempt.committed for attempt in tries(real)]
    assert committed.count(True) == len(committed) - 1 >= 2


async def test_deadlocks_without_end_are_taken_for_too_much(real: World) -> None:
    real.watched.fail(deadlock, times=100)
    with pytest.raises(GraphOverloaded):
        await write_records(real.driver, RecordType.MASTERS, ROWS[RecordType.MASTERS])
    assert len(real.watched.attempts) == ATTEMPTS


async def test_a_batch_whose_lease_is_lost_is_not_written(real: World) -> None:
    with pytest.raises(LeaseLost):
        await write(real, ROWS[RecordType.RELEASES], is_held=False)
    assert not any((await node_counts(real.driver)).values())
    assert await write(real, ROWS[RecordType.RELEASES]) == []


CHUNK = Chunk(RecordType.LABELS, [0], [3], [b"<label><id>3</id></label>"])
OPERATIONS: dict[str, Callable[[Driver], Awaitable[object]]] = {
    "fingerprints": lambda driver: fingerprints(driver, RecordType.LABELS, [3]),
    "write_records": lambda driver: write_records(driver, RecordType.LABELS, ROWS[RecordType.LABELS]),
    "create_schema": create_schema,
    "check_schema": check_schema,
    "rebuild": rebuild,
    "count": count,
    "find_vanished": lambda driver: find_vanished(driver, RecordType.LABELS, {3}.__contains__),
    "verify": lambda driver: Verification(RecordType.LABELS).read(driver, CHUNK),
    "differences": lambda driver: Verification(RecordType.LABELS).differences(driver),
    "remove_records": lambda driver: remove_records(driver, RecordType.LABELS, [3]),
    "node_counts": node_counts,
    "relationship_counts": relationship_counts,
    "highlights": highlights,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_a_cancellation_leaves_every_operation(
    real: World, operation: Callable[[Driver], Awaitable[object]]
) -> None:
    hangs = real.watched.hang()
    with pytest.raises(TimeoutError):
        await past_its_deadline(hangs, operation(real.driver))
    assert real.watched.seen.count("entered") == real.watched.seen.count("left") == 1


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_an_error_leaves_every_operation_and_no_session_open(
    real: World, operation: Callable[[Driver], Awaitable[object]]
) -> None:
    real.watched.fail(lambda: server_error("Neo.ClientError.Statement.TypeError", "refused"))
    with pytest.raises(GraphRejected, match="refused"):
        await operation(real.driver)
    assert real.watched.seen in (["entered", "left"], ["entered", "run", "left"])


async def test_a_session_waits_until_the_server_answers(real: World) -> None:
    real.driver._asked_at = -VERIFIED_FOR_SECONDS
    real.watched.fail(connection_lost, at=Moment.CONNECT, times=2)
    assert not any((await node_counts(real.driver)).values())
    assert real.watched.moments.count(Moment.CONNECT) == 3


async def test_a_server_that_never_answers_is_unavailable_after_a_while(real: World) -> None:
    real.driver._asked_at = -VERIFIED_FOR_SECONDS
    real.driver._connection_timeout_seconds = 0.2
    real.watched.fail(connection_lost, at=Moment.CONNECT, times=1000)
    with pytest.raises(GraphUnavailable, match="does not answer") as raised:
        await node_counts(real.driver)
    assert isinstance(raised.value.__cause__, GraphUnavailable)


@dataclass
class SlowToConnect(Watched):
    """A driver whose attempt to connect takes until it is let go on."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def verify_connectivity(self) -> None:
        self.reached.set()
        await self.go_on.wait()


async def test_a_cancelled_wait_for_the_server_ends_when_its_attempt_has_ended(real: World) -> None:
    real.driver._asked_at = -VERIFIED_FOR_SECONDS
    slow = SlowToConnect(real.watched.driver)
    real.driver._driver = cast("neo4j.AsyncDriver", slow)
    waiting = asyncio.create_task(node_counts(real.driver))
    await slow.reached.wait()
    waiting.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting

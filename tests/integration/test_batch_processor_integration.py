"""The batch code uses the driver asynchronously, on the fake and the real Neo4j.

The eight tests with `world` are named after the lessons of docs/async-bug-postmortem.md and run on both; those with
`real` need Neo4j. `world.answer` scripts the fake's answers; over the real server the same assertions prove the scripts
right.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import neo4j
import pytest
from pyroaring import BitMap64

from pipeline.errors import GraphRejected
from pipeline.graph.batch import write_statement
from pipeline.graph.derived import count, rebuild
from pipeline.graph.driver import Driver
from pipeline.graph.lookup import find_vanished, fingerprints
from pipeline.graph.schema import check_schema, create_schema
from pipeline.graph.summary import highlights, node_counts, relationship_counts
from pipeline.graph.writer import Written, remove_records, write_records
from pipeline.model import RecordType, Row
from tests.fakes.faults import server_error
from tests.integration.rows import changed, release
from tests.integration.world import ROWS, World

#: Nodes by label once all of ROWS are written; the relationships by type follow.
NODES = {"Artist": 4, "Label": 3, "Master": 1, "Release": 2, "Genre": 2, "Style": 1, "Person": 1}
RELATIONSHIPS = {
    "BY": 4,
    "APPEARS_ON": 0,
    "INVOLVES": 0,
    "IN_SERIES": 0,
    "ON": 1,
    "DERIVED_FROM": 1,
    "IS": 5,
    "CREDITED_ON": 1,
    "SAME_AS": 1,
    "MEMBER_OF": 2,
    "ALIAS_OF": 1,
    "SUBLABEL_OF": 2,
    "PART_OF": 1,
}


def stored(rows: list[Row]) -> list[dict[str, Any]]:
    """The answer to `fingerprints` and `lock_records` in a graph that holds these rows."""
    return [
        {
            "ids": [row["id"] for row in rows],
            "fingerprints": [row["properties"]["fingerprint"] for row in rows],
        }
    ]


def now_stored(world: World, rows: list[Row]) -> None:
    for name in ("fingerprints", "fingerprints_range", "lock_records"):
        world.answer(name, stored(rows))


async def write_everything(driver: Driver) -> list[Written]:
    return [await write_records(driver, record_type, rows) for record_type, rows in ROWS.items()]


async def test_session_is_async_context_manager(world: World) -> None:
    session = await world.driver.session(database="neo4j")  # ast-grep-ignore: session-not-entered
    assert not hasattr(session, "__enter__")
    async with session:
        pass
    world.watched.seen.clear()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: write_records(world.driver, RecordType.MASTERS, ROWS[RecordType.MASTERS]),
        lambda: fingerprints(world.driver, RecordType.MASTERS, [9]),
        lambda: check_schema(world.driver),
        lambda: node_counts(world.driver),
        lambda: relationship_counts(world.driver),
        lambda: highlights(world.driver),
    ]
    for call in calls:
        await call()
        assert world.watched.seen == ["entered", "left"]
        world.watched.seen.clear()


async def test_session_run_is_async(world: World) -> None:
    await create_schema(world.driver)
    assert world.watched.seen[0] == "entered"
    assert world.watched.seen[-1] == "left"
    assert "run" in world.watched.seen
    world.watched.seen.clear()
    await rebuild(world.driver)
    await count(world.driver)
    assert len(world.watched.seen) > 6
    assert world.watched.seen == ["entered", "run", "left"] * (len(world.watched.seen) // 3)


async def test_result_iteration_is_async(world: World) -> None:
    rows = ROWS[RecordType.ARTISTS]
    assert await fingerprints(world.driver, RecordType.ARTISTS, []) == {}
    await write_records(world.driver, RecordType.ARTISTS, rows)
    now_stored(world, rows)
    dense = await fingerprints(world.driver, RecordType.ARTISTS, [1, 2, 3])
    sparse = await fingerprints(world.driver, RecordType.ARTISTS, [2, 1, 1_000_000])
    assert dense == sparse == {row["id"]: row["properties"]["fingerprint"] for row in rows}


async def test_transaction_function_is_async(world: World) -> None:
    await write_everything(world.driver)
    await fingerprints(world.driver, RecordType.LABELS, [3])
    await check_schema(world.driver)
    await node_counts(world.driver)
    assert len(world.watched.given) > 6
    assert all(inspect.iscoroutine(given) for given in world.watched.given)


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_all_data_types_use_async_correctly(world: World, record_type: RecordType) -> None:
    rows = ROWS[record_type]
    ids = [row["id"] for row in rows]
    assert await fingerprints(world.driver, record_type, ids) == {}
    assert await write_records(world.driver, record_type, rows) == Written(created=len(rows))
    now_stored(world, rows)
    known = await fingerprints(world.driver, record_type, ids)
    assert known == {row["id"]: row["properties"]["fingerprint"] for row in rows}
    assert await fingerprints(world.driver, record_type, [*ids, 1_000_000]) == known
    assert await write_records(world.driver, record_type, rows) == Written(unchanged=len(rows))
    newer = changed(rows[0], 5)
    assert await write_records(world.driver, record_type, [newer, *rows[1:]]) == Written(
        changed=1, unchanged=len(rows) - 1
    )
    now_stored(world, [newer])
    assert (await fingerprints(world.driver, record_type, ids))[rows[0]["id"]] == 5


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_async_context_manager_cleanup_on_error(world: World, record_type: RecordType) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_records(world.driver, record_type, ROWS[record_type], before_commit=fail)
    assert world.watched.seen == ["entered", "left"]
    assert await world.is_empty()


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_async_context_manager_cleanup_on_cancellation(world: World, record_type: RecordType) -> None:
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(
        write_records(world.driver, record_type, ROWS[record_type], before_commit=hang)
    )
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert world.watched.seen == ["entered", "left"]
    assert await world.is_empty()


async def test_async_exception_propagation(world: World) -> None:
    row = release(1, artists=[1], genres=["Rock"], title={"a": "map is no property"})
    if world.fake is not None:
        world.fake.answer(write_statement(RecordType.RELEASES).strip(), refused)
    with pytest.raises(GraphRejected) as raised:
        await write_records(world.driver, RecordType.RELEASES, [row])
    assert isinstance(raised.value.__cause__, neo4j.exceptions.CypherTypeError)
    assert world.watched.seen == ["entered", "left"]
    assert await world.is_empty()


def refused(*_: object) -> list[dict[str, Any]]:
    raise server_error("Neo.ClientError.Statement.TypeError", "Property values can only be primitive")


async def test_full_batch_processing_workflow(world: World) -> None:
    for record_type, rows in ROWS.items():
        now_stored(world, [])
        assert await write_records(world.driver, record_type, rows) == Written(created=len(rows))
        now_stored(world, rows)
        assert await write_records(world.driver, record_type, rows) == Written(unchanged=len(rows))
        newer = changed(rows[0], 5)
        assert await write_records(world.driver, record_type, [newer]) == Written(changed=1)
        assert await remove_records(world.driver, record_type, [row["id"] for row in rows]) == len(rows)
    assert len(world.watched.attempts) == 4 * len(ROWS)
    assert all(attempt.committed for attempt in world.watched.attempts)


async def test_every_batch_is_in_the_graph_and_may_change(real: World) -> None:
    assert await write_everything(real.driver) == [Written(created=len(rows)) for rows in ROWS.values()]
    assert await node_counts(real.driver) == NODES
    assert await relationship_counts(real.driver) == RELATIONSHIPS
    assert await write_everything(real.driver) == [Written(unchanged=len(rows)) for rows in ROWS.values()]
    changed = release(21, 2, artists=[7])
    assert await write_records(real.driver, RecordType.RELEASES, [changed]) == Written(changed=1)
    await count(real.driver)
    assert await node_counts(real.driver) == {**NODES, "Genre": 1, "Person": 0}
    assert (await find_vanished(real.driver, RecordType.RELEASES, {20}.__contains__)).ids == BitMap64([21])
    assert await remove_records(real.driver, RecordType.RELEASES, [21]) == 1
    assert (await node_counts(real.driver))["Release"] == 1


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_records_of_every_type_may_vanish(real: World, record_type: RecordType) -> None:
    await write_everything(real.driver)
    ids = sorted(row["id"] for row in ROWS[record_type])
    found = await find_vanished(real.driver, record_type, {0}.__contains__)
    assert (found.records, found.ids) == (len(ids), BitMap64(ids))
    assert not (await find_vanished(real.driver, record_type, ids.__contains__)).ids
    assert await remove_records(real.driver, record_type, ids) == len(ids)
    assert await remove_records(real.driver, record_type, ids) == 0
    assert await fingerprints(real.driver, record_type, ids) == {}


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_a_removal_that_must_not_be_committed_is_rolled_back(
    real: World, record_type: RecordType
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    await write_everything(real.driver)
    ids = [row["id"] for row in ROWS[record_type]]
    with pytest.raises(ZeroDivisionError):
        await remove_records(real.driver, record_type, ids, before_commit=fail)
    assert sorted(await fingerprints(real.driver, record_type, ids)) == sorted(ids)

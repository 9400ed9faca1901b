"""The batch code uses the driver asynchronously: held against the verified fake and against the real Neo4j.

The tests are named after the lessons of docs/async-bug-postmortem.md. They call the product; what they look at is
what it did with its driver, and what is in the graph afterwards.
"""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import neo4j
import pytest
import pytest_asyncio

from pipeline.cypher import statement
from pipeline.driver import Driver
from pipeline.errors import GraphRejected, GraphUnavailable
from pipeline.ledger import fingerprints
from pipeline.model import RecordType, Row
from pipeline.schema import check_schema, create_schema
from pipeline.settle import settle
from pipeline.summary import highlights, node_counts, relationship_counts
from pipeline.writer import Written, write_batch
from tests.conftest import Neo4jServer, empty_graph
from tests.fakes.driver import FakeAsyncDriver, as_driver
from tests.fakes.faults import Moment, commit_unconfirmed, connection_lost, deadlock, server_error
from tests.fakes.graph import answer_for_product, answers_for_product
from tests.fakes.server import Answer, FakeServer, Store
from tests.integration.rows import artist, credit, label, master, release
from workers import tasks
from workers.batches import Claim

ROWS: dict[RecordType, list[Row]] = {
    RecordType.ARTISTS: [artist(2, groups=[7], aliases=[8]), artist(1, members=[2])],
    RecordType.LABELS: [label(4, parents=[3]), label(3, sublabels=[4, 5])],
    RecordType.MASTERS: [master(9, artists=[1], genres=["Rock"], styles=["Punk"])],
    RecordType.RELEASES: [
        release(20, artists=[1, 2], labels=[3], master=9, genres=["Rock"], styles=["Punk"]),
        release(21, artists=[2], genres=["Jazz"], credits_=[credit("Ann", "Producer", 2)]),
    ],
}
WRITE_RELEASES = statement("write_records", label="Release")
#: What is in the graph once all of them are written.
NODES = {"Artist": 4, "Label": 3, "Master": 1, "Release": 2, "Genre": 2, "Style": 1, "Person": 1}
RELATIONSHIPS = {
    "BY": 4,
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


class WatchedSession:
    """A session that notes how it is used and passes everything on."""

    def __init__(self, session: neo4j.AsyncSession, seen: list[str], given: list[object]) -> None:
        self._session = session
        self._seen = seen
        self._given = given

    async def __aenter__(self) -> Self:
        self._seen.append("entered")
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._seen.append("left")
        await self._session.__aexit__(*error)  # type: ignore[no-untyped-call]  # the driver's own, untyped

    async def run(self, *arguments: Any, **parameters: Any) -> neo4j.AsyncResult:
        self._seen.append("run")
        return await self._session.run(*arguments, **parameters)

    async def execute_read(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return await self._session.execute_read(self._watched(function), *arguments)

    async def execute_write(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return await self._session.execute_write(self._watched(function), *arguments)

    def _watched(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        def call(*arguments: Any) -> Awaitable[Any]:
            given = function(*arguments)
            self._given.append(given)
            return given

        return call


@dataclass
class Watched:
    """An `AsyncDriver`, fake or real, whose sessions are watched."""

    driver: neo4j.AsyncDriver
    #: What was done to sessions, in order.
    seen: list[str] = field(default_factory=list)
    #: What the transaction functions gave when they were called.
    given: list[object] = field(default_factory=list)

    def session(self, **config: Any) -> WatchedSession:
        return WatchedSession(self.driver.session(**config), self.seen, self.given)

    async def verify_connectivity(self) -> None:
        await self.driver.verify_connectivity()

    async def close(self) -> None:
        await self.driver.close()


@dataclass(frozen=True)
class World:
    """The product's driver over a fake or a real one, an empty graph with its schema behind it."""

    driver: Driver
    watched: Watched
    #: None where the server is real.
    fake: FakeServer | None


@asynccontextmanager
async def fake_world(fake: FakeAsyncDriver) -> AsyncIterator[World]:
    """The product over the fake, whose server answers the product's statements."""
    answer_for_product(fake.server)
    async with Driver("bolt://127.0.0.1:9", "neo4j", "no password") as driver:
        await driver._driver.close()  # it has not connected yet, and will not
        driver._driver = as_driver(fake)
        yield World(driver, watch(driver), fake.server)


@asynccontextmanager
async def real_world(server: Neo4jServer) -> AsyncIterator[World]:
    """The product as it is, on the real Neo4j, emptied."""
    async with Driver(server.uri, server.user, server.password) as driver:
        await empty_graph(driver)
        yield World(driver, watch(driver), None)


def watch(driver: Driver) -> Watched:
    watched = Watched(driver._driver)
    driver._driver = cast("neo4j.AsyncDriver", watched)
    return watched


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Neo4jServer | None:
    """The real Neo4j, or None for the fake; started here, outside of any event loop."""
    return request.getfixturevalue("neo4j_server") if request.param == "real" else None


@pytest_asyncio.fixture
async def world(server: Neo4jServer | None, realistic_async_driver: FakeAsyncDriver) -> AsyncIterator[World]:
    async with fake_world(realistic_async_driver) if server is None else real_world(server) as world:
        await create_schema(world.driver)
        world.watched.seen.clear()
        yield world


@pytest_asyncio.fixture(params=["fake"])
async def fake(realistic_async_driver: FakeAsyncDriver) -> AsyncIterator[World]:
    """The fake only, for faults at a certain moment."""
    async with fake_world(realistic_async_driver) as world:
        yield world


async def write_everything(driver: Driver) -> list[Written]:
    return [await write_batch(driver, record_type, rows) for record_type, rows in ROWS.items()]


async def test_session_is_async_context_manager(world: World) -> None:
    session = await world.driver.session(database="neo4j")
    assert not hasattr(session, "__enter__")
    async with session:
        pass
    world.watched.seen.clear()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: write_batch(world.driver, RecordType.MASTERS, ROWS[RecordType.MASTERS]),
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
    await settle(world.driver)
    assert len(world.watched.seen) > 6
    assert world.watched.seen == ["entered", "run", "left"] * (len(world.watched.seen) // 3)


async def test_result_iteration_is_async(world: World) -> None:
    assert await fingerprints(world.driver, RecordType.ARTISTS, []) == {}
    await write_everything(world.driver)
    dense = await fingerprints(world.driver, RecordType.ARTISTS, [1, 2, 3])
    sparse = await fingerprints(world.driver, RecordType.ARTISTS, [2, 1, 1_000_000])
    written = {row["id"]: row["properties"]["fingerprint"] for row in ROWS[RecordType.ARTISTS]}
    assert dense == sparse == written
    assert await node_counts(world.driver) == NODES
    assert await relationship_counts(world.driver) == RELATIONSHIPS


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
    assert await write_batch(world.driver, record_type, rows) == Written(created=len(rows))
    known = await fingerprints(world.driver, record_type, ids)
    assert known == {row["id"]: row["properties"]["fingerprint"] for row in rows}
    assert await fingerprints(world.driver, record_type, [*ids, 1_000_000]) == known
    assert await write_batch(world.driver, record_type, rows) == Written(unchanged=len(rows))
    newer = {**rows[0], "properties": {**rows[0]["properties"], "fingerprint": 5}}
    assert await write_batch(world.driver, record_type, [newer, *rows[1:]]) == Written(
        changed=1, unchanged=len(rows) - 1
    )
    assert (await fingerprints(world.driver, record_type, ids))[rows[0]["id"]] == 5


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_async_context_manager_cleanup_on_error(world: World, record_type: RecordType) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_batch(world.driver, record_type, ROWS[record_type], before_commit=fail)
    assert world.watched.seen == ["entered", "left"]
    assert not any((await node_counts(world.driver)).values())


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_async_context_manager_cleanup_on_cancellation(world: World, record_type: RecordType) -> None:
    reached = asyncio.Event()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(
        write_batch(world.driver, record_type, ROWS[record_type], before_commit=hang)
    )
    await reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert world.watched.seen == ["entered", "left"]
    assert not any((await node_counts(world.driver)).values())


async def test_async_exception_propagation(world: World) -> None:
    row = release(1, artists=[1], genres=["Rock"], title={"a": "map is no property"})
    if world.fake is not None:
        world.fake.answer(WRITE_RELEASES, refusing("title"))
    with pytest.raises(GraphRejected) as raised:
        await write_batch(world.driver, RecordType.RELEASES, [row])
    assert isinstance(raised.value.__cause__, neo4j.exceptions.CypherTypeError)
    assert world.watched.seen == ["entered", "left"]
    assert not any((await node_counts(world.driver)).values())


async def test_full_batch_processing_workflow(world: World) -> None:
    assert await write_everything(world.driver) == [Written(created=len(rows)) for rows in ROWS.values()]
    assert await node_counts(world.driver) == NODES
    assert await relationship_counts(world.driver) == RELATIONSHIPS
    assert await write_everything(world.driver) == [Written(unchanged=len(rows)) for rows in ROWS.values()]
    changed = release(21, 2, artists=[7])
    assert await write_batch(world.driver, RecordType.RELEASES, [changed]) == Written(changed=1)
    settled = await settle(world.driver)
    assert (settled.same_as, settled.part_of) == (1, 0)
    assert settled.orphans == {"Artist": 0, "Label": 0, "Master": 0, "Genre": 1, "Style": 0, "Person": 1}
    assert await node_counts(world.driver) == {**NODES, "Genre": 1, "Person": 0}


@pytest.mark.parametrize("record_type", list(RecordType))
@pytest.mark.parametrize("make_error", [deadlock, connection_lost])
@pytest.mark.parametrize("statement_number", [1, 2, 3, 4])
async def test_a_passing_error_at_any_statement_is_repeated_and_leaves_no_trace(
    fake: World, record_type: RecordType, make_error: Callable[[], Exception], statement_number: int
) -> None:
    assert fake.fake is not None
    fake.fake.fail(make_error, occurrence=statement_number, times=2)
    assert await write_batch(fake.driver, record_type, ROWS[record_type]) == Written(
        created=len(ROWS[record_type])
    )
    assert [work.state for work in fake.fake.transactions if work.statements].count("committed") == 1


async def test_an_unconfirmed_commit_is_the_callers_to_repeat(fake: World) -> None:
    assert fake.fake is not None
    fake.fake.fail(commit_unconfirmed, at=Moment.COMMIT)
    rows = ROWS[RecordType.MASTERS]
    with pytest.raises(GraphUnavailable):
        await write_batch(fake.driver, RecordType.MASTERS, rows)
    assert await write_batch(fake.driver, RecordType.MASTERS, rows) == Written(unchanged=len(rows))


@pytest.mark.parametrize("moment", list(Moment))
async def test_a_deadline_ends_a_wait_at_any_moment(fake: World, moment: Moment) -> None:
    assert fake.fake is not None
    await node_counts(fake.driver)  # connected, and found to answer
    fake.fake.hang(at=moment)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await write_batch(fake.driver, RecordType.LABELS, ROWS[RecordType.LABELS])
    assert fake.fake.open_sessions == 0
    assert not any((await node_counts(fake.driver)).values())


async def test_the_loser_of_a_race_looks_again(fake: World) -> None:
    assert fake.fake is not None
    constraint = "Neo.ClientError.Schema.ConstraintValidationFailed"
    fake.fake.fail(lambda: server_error(constraint, "already exists"), occurrence=3)
    rows = ROWS[RecordType.MASTERS]
    assert await write_batch(fake.driver, RecordType.MASTERS, rows) == Written(created=len(rows))


class FixedClaim:
    """A claim on a batch that stands, or has ended, without Redis."""

    def __init__(self, *, holds: bool = True) -> None:
        self._holds = holds

    def holds(self) -> bool:
        return self._holds


async def write_claimed(world: World, rows: list[Row], *, holds: bool = True) -> list[tuple[Row, str]]:
    return await tasks._write(world.driver, RecordType.RELEASES, rows, cast("Claim", FixedClaim(holds=holds)))


def refusing(title: str) -> Answer:
    """Neo4j's answer to the statement that writes releases: it takes no map as a property."""
    write = answers_for_product()[WRITE_RELEASES]

    def answer(store: Store, parameters: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        if any(isinstance(properties[title], dict) for properties in parameters["records"]):
            raise server_error("Neo.ClientError.Statement.TypeError", "Property values can only be primitive")
        return write(store, parameters)

    return answer


async def test_a_record_that_the_graph_refuses_is_found_and_the_others_are_written(world: World) -> None:
    if world.fake is not None:
        world.fake.answer(WRITE_RELEASES, refusing("title"))
    rows = [release(number, title={} if number == 5 else "fine") for number in range(1, 9)]
    assert await write_claimed(world, []) == []
    refused = await write_claimed(world, rows)
    assert [row["id"] for row, _ in refused] == [5]
    assert "Property values" in refused[0][1]
    assert sorted(await fingerprints(world.driver, RecordType.RELEASES, range(1, 9))) == [1, 2, 3, 4, 6, 7, 8]


async def test_bad_records_side_by_side_or_alone_are_found_all_the_same(world: World) -> None:
    if world.fake is not None:
        world.fake.answer(WRITE_RELEASES, refusing("title"))
    rows = [release(number, title={} if number in (4, 5) else "fine") for number in range(1, 9)]
    assert sorted(row["id"] for row, _ in await write_claimed(world, rows)) == [4, 5]
    assert len(await write_claimed(world, [rows[3], rows[4]])) == 2


async def test_a_graph_that_refuses_too_many_records_is_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "MOST_REFUSED", 2)
    if world.fake is not None:
        world.fake.answer(WRITE_RELEASES, refusing("title"))
    with pytest.raises(GraphRejected, match=r"3 of 3 records: .*Property values"):
        await write_claimed(world, [release(number, title={}) for number in (1, 2, 3)])


async def test_a_batch_whose_claim_has_ended_is_not_written(world: World) -> None:
    with pytest.raises(tasks.ClaimLost):
        await write_claimed(world, ROWS[RecordType.RELEASES], holds=False)
    assert not any((await node_counts(world.driver)).values())
    assert await write_claimed(world, ROWS[RecordType.RELEASES]) == []


OPERATIONS: dict[str, Callable[[Driver], Awaitable[object]]] = {
    "fingerprints": lambda driver: fingerprints(driver, RecordType.LABELS, [3]),
    "write_batch": lambda driver: write_batch(driver, RecordType.LABELS, ROWS[RecordType.LABELS]),
    "create_schema": create_schema,
    "check_schema": check_schema,
    "settle": settle,
    "node_counts": node_counts,
    "relationship_counts": relationship_counts,
    "highlights": highlights,
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_a_cancellation_leaves_every_operation(
    fake: World, operation: Callable[[Driver], Awaitable[object]]
) -> None:
    assert fake.fake is not None
    fake.fake.hang()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await operation(fake.driver)
    assert fake.fake.open_sessions == 0


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_an_error_leaves_every_operation_and_no_session_open(
    fake: World, operation: Callable[[Driver], Awaitable[object]]
) -> None:
    assert fake.fake is not None
    fake.fake.fail(lambda: server_error("Neo.ClientError.Statement.TypeError", "refused"))
    with pytest.raises(GraphRejected, match="refused"):
        await operation(fake.driver)
    assert fake.watched.seen in (["entered", "left"], ["entered", "run", "left"])


async def test_a_session_waits_until_the_server_answers(fake: World) -> None:
    assert fake.fake is not None
    fake.fake.fail(connection_lost, at=Moment.CONNECT, times=2)
    assert not any((await node_counts(fake.driver)).values())
    assert [work.state for work in fake.fake.transactions].count("committed") == 7


async def test_a_server_that_never_answers_is_unavailable_after_a_while(fake: World) -> None:
    assert fake.fake is not None
    fake.driver._connection_timeout_seconds = 0.2
    await fake.fake.refuse()
    with pytest.raises(GraphUnavailable, match="did not answer") as raised:
        await node_counts(fake.driver)
    assert isinstance(raised.value.__cause__, GraphUnavailable)

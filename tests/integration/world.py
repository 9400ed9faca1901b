"""The product over the fake or the real driver, watched and with injected faults."""

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Self, cast

import neo4j

from pipeline.graph import cypher
from pipeline.graph.driver import Driver
from pipeline.graph.schema import UNIQUE_KEYS
from pipeline.graph.summary import node_counts
from pipeline.model import RecordType, Row
from tests.conftest import Neo4jServer, empty_graph
from tests.fakes.driver import FakeAsyncDriver, as_driver
from tests.fakes.faults import Fault, Moment
from tests.fakes.server import FakeServer
from tests.integration.rows import artist, credit, label, master, release

ROWS: dict[RecordType, list[Row]] = {
    RecordType.ARTISTS: [artist(2, groups=[7], aliases=[8]), artist(1, members=[2])],
    RecordType.LABELS: [label(4, parents=[3]), label(3, sublabels=[4, 5])],
    RecordType.MASTERS: [master(9, artists=[1], genres=["Rock"], styles=["Punk"])],
    RecordType.RELEASES: [
        release(20, artists=[1, 2], labels=[3], master=9, genres=["Rock"], styles=["Punk"]),
        release(21, artists=[2], genres=["Jazz"], credits_=[credit("Ann", "Producer", 2)]),
    ],
}

#: The real server's answers over an empty graph, for statements whose answer is one row.
NOTHING_STORED: dict[str, list[dict[str, Any]]] = {
    "count_ends": [{"counts": []}],
    "count_nodes": [{"number": 0}],
    "count_relationships": [{"number": 0}],
    "fingerprints": [{"ids": [], "fingerprints": []}],
    "fingerprints_range": [{"ids": [], "fingerprints": []}],
    "lock_records": [{"ids": [], "fingerprints": []}],
    "stored_records": [{"records": []}],
    "unique_keys": [{"names": sorted(UNIQUE_KEYS)}],
}


@dataclass
class Attempt:
    """One call of a transaction function: the statements it sent, and whether they were committed."""

    statements: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    committed: bool = False


@dataclass
class Watched:
    """An `AsyncDriver`, fake or real, that records session use and injects planned faults."""

    driver: neo4j.AsyncDriver
    #: Calls on sessions, in order.
    seen: list[str] = field(default_factory=list)
    #: Return values of the transaction functions, before they are awaited.
    given: list[object] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    _refusals: list[Callable[[str, dict[str, Any]], Exception | None]] = field(default_factory=list)

    # -- the faults of a test

    def fail(
        self, error: Callable[[], Exception], *, at: Moment = Moment.RUN, occurrence: int = 1, times: int = 1
    ) -> None:
        """Plan an error for an occurrence of the moment, counted from now.

        It strikes `times` occurrences in a row.
        """
        self._faults.append(Fault(at, self.moments.count(at) + occurrence, times, error))

    def hang(self, *, at: Moment = Moment.RUN) -> asyncio.Event:
        """Plan an endless wait at the next such moment; its start sets the event."""
        self._faults.append(Fault(at, self.moments.count(at) + 1, 1, None))
        return self._faults[-1].struck

    def refuse(self, error_for: Callable[[str, dict[str, Any]], Exception | None]) -> None:
        """Raise what the function returns for a statement and its parameters, unless it returns None."""
        self._refusals.append(error_for)

    async def moment(self, moment: Moment) -> None:
        self.moments.append(moment)
        for fault in [fault for fault in self._faults if fault.moment is moment]:
            await fault.strike(self.moments.count(moment))

    async def arrive(self, text: str, parameters: dict[str, Any]) -> None:
        """Let the faults strike that are planned for a statement."""
        await self.moment(Moment.RUN)
        for error in filter(None, [error_for(text, parameters) for error_for in self._refusals]):
            raise error

    # -- the driver

    def session(self, **config: Any) -> "WatchedSession":
        return WatchedSession(self.driver.session(**config), self)

    async def verify_connectivity(self) -> None:
        await self.moment(Moment.CONNECT)
        await self.driver.verify_connectivity()

    async def close(self) -> None:
        await self.driver.close()


class WatchedSession:
    """A session that notes how it is used and passes everything on."""

    def __init__(self, session: neo4j.AsyncSession, watched: Watched) -> None:
        self._session = session
        self._watched = watched

    async def __aenter__(self) -> Self:
        self._watched.seen.append("entered")
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._watched.seen.append("left")
        await self._session.__aexit__(*error)  # type: ignore[no-untyped-call]  # the driver's own, untyped

    async def run(self, text: str, *arguments: Any, **parameters: Any) -> neo4j.AsyncResult:
        self._watched.seen.append("run")
        await self._watched.arrive(text, parameters)
        return await self._session.run(text, *arguments, **parameters)

    async def execute_read(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return await self._execute(self._session.execute_read, function, arguments)

    async def execute_write(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return await self._execute(self._session.execute_write, function, arguments)

    async def _execute(
        self, execute: Any, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]
    ) -> Any:
        watched = self._watched

        @functools.wraps(function)
        async def attempt(tx: Any, *arguments: Any) -> Any:
            watched.attempts.append(Attempt())
            given = function(WatchedTransaction(tx, watched), *arguments)
            watched.given.append(given)
            value = await given
            await watched.moment(Moment.COMMIT)
            return value

        value = await execute(attempt, *arguments)
        watched.attempts[-1].committed = True
        await watched.moment(Moment.COMMITTED)
        return value


@dataclass(frozen=True)
class WatchedTransaction:
    """A managed transaction that notes its statements."""

    _tx: Any
    _watched: Watched

    async def run(self, text: str, parameters: dict[str, Any] | None = None, **more: Any) -> Any:
        given = {**(parameters or {}), **more}
        self._watched.attempts[-1].statements.append((text.strip(), given))
        await self._watched.arrive(text.strip(), given)
        return await self._tx.run(text, given)


@dataclass(frozen=True)
class World:
    """The product's driver over the fake or an empty real graph with its schema."""

    driver: Driver
    watched: Watched
    #: None where the server is real.
    fake: FakeServer | None

    def answer(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Script the fake's answer to a statement; the real server needs no script."""
        if self.fake is not None:
            self.fake.answer(pattern(name), rows)

    async def is_empty(self) -> bool:
        """Return True while the real graph is empty, or no write to the fake committed."""
        if self.fake is None:
            return not any((await node_counts(self.driver)).values())
        return not any(attempt.committed for attempt in self.watched.attempts)


def pattern(name: str) -> re.Pattern[str]:
    """The texts of a statement of the product, for any label and type."""
    text = resources.files(cypher).joinpath(f"{name}.cypher").read_text(encoding="utf-8").strip()
    return re.compile(re.sub(r"@(\w+|\\\{\w+\\\})", ".*", re.escape(text)), re.DOTALL)


@asynccontextmanager
async def fake_world(fake: FakeAsyncDriver) -> AsyncIterator[World]:
    """The product over the fake; statements find nothing until a test scripts their answers."""
    fake.server.answer(re.compile(".*", re.DOTALL), [])
    for name, rows in NOTHING_STORED.items():
        fake.server.answer(pattern(name), rows)
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

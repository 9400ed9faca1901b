"""The product over the verified fake or the real Neo4j, and what it does with its driver, watched."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import neo4j

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver
from pipeline.model import RecordType, Row
from tests.conftest import Neo4jServer, empty_graph
from tests.fakes.driver import FakeAsyncDriver, as_driver
from tests.fakes.faults import server_error
from tests.fakes.graph import answer_for_product, answers_for_product
from tests.fakes.server import Answer, FakeServer, Store
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
WRITE_RELEASES = statement("write_records", label="Release")


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


def refusing(title: str) -> Answer:
    """Neo4j's answer to the statement that writes releases: it takes no map as a property."""
    write = answers_for_product()[WRITE_RELEASES]

    def answer(store: Store, parameters: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        if any(isinstance(properties[title], dict) for properties in parameters["batch"]["records"]):
            raise server_error("Neo.ClientError.Statement.TypeError", "Property values can only be primitive")
        return write(store, parameters)

    return answer

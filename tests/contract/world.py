"""The two worlds that the contract suite runs in, and the statements that both understand."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import neo4j

from tests.fakes.driver import FakeAsyncDriver, as_driver
from tests.fakes.faults import server_error
from tests.fakes.server import Answer, FakeServer, Store

COUNT = "UNWIND range(1, $n) AS x RETURN x"
ECHO = "RETURN $a AS a, $b AS b"
CREATE = "CREATE (:ContractThing {name: $name})"
NAMES = "MATCH (t:ContractThing) RETURN t.name AS name ORDER BY name"
DIVIDE = "UNWIND $divisors AS d RETURN 6 / d AS x"
DELETE = "MATCH (t:ContractThing) DELETE t"
#: No answer is registered for this one, and Neo4j does not understand it either.
NONSENSE = "NONSENSE"


def _create(store: Store, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    store.setdefault("names", []).append(parameters["name"])
    return []


def _divide(_: Store, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for divisor in parameters["divisors"]:
        if divisor == 0:
            raise server_error("Neo.ClientError.Statement.ArithmeticError", "/ by zero")
        yield {"x": 6 // divisor}


#: Answers of the fake; the real Neo4j needs none.
ANSWERS: dict[str, Answer] = {
    COUNT: lambda _, parameters: [{"x": x} for x in range(1, parameters["n"] + 1)],
    ECHO: lambda _, parameters: [{"a": parameters["a"], "b": parameters["b"]}],
    CREATE: _create,
    NAMES: lambda store, _: [{"name": name} for name in sorted(store.get("names", []))],
    DIVIDE: _divide,
}


class Neo4jServer(Protocol):
    """Address and login of the real server."""

    uri: str
    user: str
    password: str


@dataclass(frozen=True)
class World:
    """A driver over a graph without `ContractThing`."""

    driver: neo4j.AsyncDriver

    async def names(self) -> list[str]:
        """The names of all things that were committed."""
        async with self.driver.session(database="neo4j") as session:
            result = await session.run(NAMES)
            return [record["name"] async for record in result]


@asynccontextmanager
async def fake_world() -> AsyncIterator[World]:
    """The fake, not strict: a result left unread is discarded, as Neo4j does."""
    server = FakeServer(ANSWERS, strict=False)
    driver = FakeAsyncDriver(server)
    yield World(as_driver(driver))
    await driver.close()


@asynccontextmanager
async def real_world(server: Neo4jServer) -> AsyncIterator[World]:
    """The real driver, connected to the real Neo4j."""
    # Without notifications: in debug mode the driver reads every file on the stack for one, in the event loop.
    async with neo4j.AsyncGraphDatabase.driver(
        server.uri, auth=(server.user, server.password), warn_notification_severity="OFF"
    ) as driver:
        await driver.execute_query(DELETE)
        yield World(driver)
    async with neo4j.AsyncGraphDatabase.driver(server.uri, auth=(server.user, server.password)) as driver:
        await driver.execute_query(DELETE)

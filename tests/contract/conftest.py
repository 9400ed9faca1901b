"""Each contract test runs twice: over the fake and over the real thing."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.world import Neo4jServer, World, fake_world, real_world


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Neo4jServer | None:
    """The real Neo4j, or None for the fake; started here, outside of any event loop."""
    return request.getfixturevalue("neo4j_server") if request.param == "real" else None


@pytest_asyncio.fixture
async def world(server: Neo4jServer | None) -> AsyncIterator[World]:
    """A driver over nothing but what the contract's statements make of it."""
    async with fake_world() if server is None else real_world(server) as world:
        yield world

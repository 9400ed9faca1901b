"""The fixture that gives tests a driver without a database."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.fakes.driver import FakeAsyncDriver
from tests.fakes.server import FakeServer


@pytest_asyncio.fixture
async def realistic_async_driver() -> AsyncIterator[FakeAsyncDriver]:
    """A verified fake of `neo4j.AsyncDriver`; what its statements are answered with is registered at `.server`.

    Strict: a result that nobody reads to its end fails the test, and so does a session left open.
    """
    driver = FakeAsyncDriver(FakeServer())
    yield driver
    await driver.close()
    assert driver.server.open_sessions == 0, "a session was neither closed nor cancelled"

"""Fixtures: the product over the fake and the real driver, as `world`, and a worker."""

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import pytest_asyncio
from celery.worker import WorkController
from redis import Redis

from pipeline.graph.driver import Driver
from pipeline.graph.schema import create_schema
from tests.conftest import Neo4jServer, have_schema
from tests.fakes.driver import FakeAsyncDriver
from tests.integration.world import World, fake_world, real_world
from workers import worker as process
from workers.app import GraphinatorApp, configuration
from workers.settings import Settings


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Neo4jServer | None:
    """The real Neo4j, or None for the fake; started here, outside of any event loop."""
    return request.getfixturevalue("neo4j_server") if request.param == "real" else None


@pytest_asyncio.fixture
async def world(server: Neo4jServer | None, realistic_async_driver: FakeAsyncDriver) -> AsyncIterator[World]:
    async with fake_world(realistic_async_driver) if server is None else real_world(server) as world:
        await (create_schema if server is None else have_schema)(world.driver)
        world.watched.seen.clear()
        world.watched.attempts.clear()
        yield world


@pytest_asyncio.fixture
async def real(neo4j_server: Neo4jServer) -> AsyncIterator[World]:
    """The real Neo4j only, empty, behind a driver that is watched."""
    async with real_world(neo4j_server) as world:
        await have_schema(world.driver)
        world.watched.seen.clear()
        world.watched.attempts.clear()
        yield world


@pytest.fixture
def worker(settings: Settings, redis: Redis, driver: Driver) -> Iterator[process.Worker]:
    """This process as a worker, started and stopped as by Celery, on empty servers."""
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings
    app.conf.update(configuration(settings))
    sender = cast("WorkController", SimpleNamespace(app=app))
    thresholds = gc.get_threshold()
    process.start(sender)
    try:
        yield process.this_worker()
    finally:
        process.stop(sender)
        gc.unfreeze()
        gc.set_threshold(*thresholds)


@contextmanager
def configured(redis: Redis, name: str, value: str) -> Iterator[None]:
    """Redis with another value in its configuration."""
    before = redis.config_get(name)[name]
    redis.config_set(name, value)
    try:
        yield
    finally:
        redis.config_set(name, before or "")


#: Answers that mean "not now".
REFUSALS = ("OOM", "MISCONF", "READONLY")


@contextmanager
def refusing(redis: Redis, refusal: str) -> Iterator[None]:
    """Redis that answers every write with this, for the real reason."""
    with ExitStack() as until:
        match refusal:
            case "OOM":
                until.enter_context(configured(redis, "maxmemory", "1"))
            case "MISCONF":
                until.enter_context(unable_to_save(redis))
            case "READONLY":
                redis.replicaof("127.0.0.1", 9)
                until.callback(redis.replicaof, "NO", "ONE")
        yield


@contextmanager
def unable_to_save(redis: Redis) -> Iterator[None]:
    """Make Redis fail to write its snapshot: a folder stands in the file's place."""

    def save() -> str:
        redis.bgsave()
        while redis.info("persistence")["rdb_bgsave_in_progress"]:
            pass
        return str(redis.info("persistence")["rdb_last_bgsave_status"])

    folder = Path(*(redis.config_get(name)[name] or "" for name in ("dir", "dbfilename")))
    folder.unlink(missing_ok=True)
    folder.mkdir()
    try:
        with configured(redis, "save", "3600 1000000"):
            assert save() == "err"
            yield
    finally:
        folder.rmdir()
        assert save() == "ok"

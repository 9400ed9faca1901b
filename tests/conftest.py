"""Real servers, started once a session and emptied for each test that asks.

A missing server fails the tests that need it: nothing is skipped. Where TEST_HOME names a folder, the
servers stay up there for the next run, which saves their start while one works on the code. Processes that run tests
side by side have servers of their own, and a folder each in that one.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from redis import Redis

from ops.stack import jars, neo4j
from ops.stack.files import exclusive
from ops.stack.ports import answers, is_free
from ops.stack.process import Daemon, stop
from ops.stack.stack import KEEPER, Endpoints, Stack
from ops.stack.state import StackState, load_state, read_endpoints, save_state
from pipeline.graph.driver import Driver
from pipeline.graph.schema import SCHEMA, create_schema
from workers.app import connect_redis
from workers.settings import PREFIX, Settings, load_settings

#: A shell that starts the tests in the background has them ignore Ctrl-C, and with them every process they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: The user's settings that count in tests. Without the others, no test reaches a home or a server of the user.
SHARED = {f"{PREFIX}CACHE", f"{PREFIX}NEO4J_HEAP_MEGABYTES"}
for name in [name for name in os.environ if name.startswith(PREFIX) and name not in SHARED]:
    del os.environ[name]

#: Neo4j's classes as loaded and linked by an earlier start: a start takes half of the processor time, 6 s less.
CLASSES = load_settings().cache / "neo4j-of-tests.aot"
#: Neo4j lives for minutes here: its second compiler would take a third of all processor time and never pay.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1"
os.environ.setdefault("JAVA_TOOL_OPTIONS", f"{JAVA_OPTIONS} '-XX:AOTCache={CLASSES}'")
#: Several stacks run side by side: together they must fit into a small machine.
HEAP_MEGABYTES = int(os.environ.setdefault("GRAPHINATOR_NEO4J_HEAP_MEGABYTES", "1024"))
os.environ["GRAPHINATOR_NEO4J_PAGECACHE_MEGABYTES"] = "256"
os.environ["GRAPHINATOR_REDIS_MEGABYTES"] = "240"

#: Levels of tests, the longest first: two processes share the work evenly only if its end is in small parts.
LEVELS = ("acceptance", "integration", "contract", "static", "unit")


@dataclass(frozen=True)
class Neo4jServer:
    """A real Neo4j that the tests may fill and empty."""

    uri: str
    user: str
    password: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def level(item: pytest.Item) -> str:
        return Path(item.path).relative_to(Path(__file__).parent).parts[0]

    for item in items:
        item.add_marker(level(item))
    items.sort(key=lambda item: LEVELS.index(level(item)))


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Save Neo4j's classes in `CLASSES`, unless that is newer than Java and all jars."""
    data, new = tmp_path_factory.mktemp("classes"), CLASSES.with_suffix(".new")
    class_path = jars.install(CLASSES.parent, jars.read_lock(), lambda *_: None)
    command = neo4j.command(data, HEAP_MEGABYTES)
    with exclusive(CLASSES.with_suffix(".lock")):
        sources = [Path(command[0]), *class_path]
        if CLASSES.exists() and CLASSES.stat().st_mtime > max(path.stat().st_mtime for path in sources):
            return
        bolt, http = free_ports(2)
        neo4j.configure(
            data, bolt_port=bolt, http_port=http, heap_megabytes=HEAP_MEGABYTES, pagecache_megabytes=64
        )
        output = {"JAVA_TOOL_OPTIONS": f"{JAVA_OPTIONS} '-XX:AOTCacheOutput={new}'"}
        with subprocess.Popen(command, env=neo4j.environment(data, class_path) | output) as server:
            while not answers(http):
                assert server.poll() is None
                time.sleep(0.1)
            server.terminate()
        new.replace(CLASSES)


@pytest.fixture(scope="session")
def stack(classes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded stack, its servers started, without workers."""
    kept = os.environ.pop("TEST_HOME", None)
    home = Path(kept, os.environ.get("PYTEST_XDIST_WORKER", "")) if kept else tmp_path_factory.mktemp("home")
    choose_ports(home)
    stack = Stack(load_settings(home=home))
    stack.up(workers=0)
    end_keeper(stack)
    try:
        yield stack
    finally:
        if kept:
            stack.up(workers=0)
            end_keeper(stack)
        else:
            stack.down()


def choose_ports(home: Path) -> None:
    """Choose ports for a stack without any, which stay free while its servers are down."""
    if not load_state(home).ports:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = ("redis", "bolt", "http", "flower")
        save_state(home, StackState(ports=dict(zip(names, free_ports(len(names)), strict=True))))


def free_ports(number: int) -> list[int]:
    """Draw free ports that the system gives to no connection."""
    return list(islice(filter(is_free, random.sample(range(20_000, 30_000), 1000)), number))


def end_keeper(stack: Stack) -> None:
    """End the keeper of the stack, which would start again what a test kills."""
    stop([Daemon(stack.home, KEEPER)], timeout_seconds=60)


@pytest.fixture(scope="session")
def servers(stack: Stack) -> Endpoints:
    endpoints = read_endpoints(stack.home)
    assert endpoints is not None
    return endpoints


@pytest.fixture(scope="session")
def neo4j_server(servers: Endpoints) -> Neo4jServer:
    return Neo4jServer(servers.neo4j_uri, servers.neo4j_user, servers.password())


@pytest.fixture
def settings(stack: Stack, servers: Endpoints) -> Settings:
    return servers.connect(stack.settings)


@pytest.fixture
async def driver(neo4j_server: Neo4jServer) -> AsyncIterator[Driver]:
    """A driver of the product on an empty graph that has its schema."""
    async with Driver(neo4j_server.uri, neo4j_server.user, neo4j_server.password) as driver:
        await empty_graph(driver)
        await have_schema(driver)
        yield driver


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    """The real Valkey, empty."""
    with connect_redis(settings) as redis:
        redis.flushall()
        yield redis


EMPTY_GRAPH = "MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS"


async def have_schema(driver: Driver) -> None:
    """Create the schema if it is missing: a check is much faster than creation."""
    async with await driver.session(database="neo4j") as session:
        found = await session.run("SHOW INDEXES YIELD name, state WHERE state = 'ONLINE' RETURN name")
        online = {record["name"] async for record in found}
    if not online >= SCHEMA.keys():
        await create_schema(driver)


async def empty_graph(driver: Driver) -> None:
    """Delete every node and relationship; the schema stays."""
    async with await driver.session(database="neo4j") as session:
        result = await session.run(EMPTY_GRAPH)
        await result.consume()

"""Wrong code for `tests.checks.async_patterns`: each line that it must find says which code it gets."""

#: The bug that this project comes from, as it was written for each of the four record types.
ORIGINAL_BUG = """
class BatchProcessor:
    async def _process_{type}s_batch(self, batch):
        with self.driver.session(database="neo4j") as session:  # GA101
            result = session.run("UNWIND $ids AS id MATCH (n:{Type} {{id: id}}) RETURN n.id AS id", ids=batch)  # GA103
            for record in result:  # GA102
                self.known.add(record["id"])

            def write(tx):
                tx.run("MERGE (n:{Type} {{id: 1}})")  # GA103

            session.execute_write(write)  # GA103 GA106
"""

BAD = [
    *(
        ORIGINAL_BUG.format(type=type_, Type=type_.capitalize())
        for type_ in ("artist", "label", "master", "release")
    ),
    # -- GA101: sync with
    """
import neo4j

async def ids(driver: neo4j.AsyncDriver) -> None:
    with driver.session(database="neo4j") as session, open("x") as file:  # GA101
        pass
""",
    """
from pipeline.graph.driver import Driver

async def ids(graph: Driver) -> None:
    with await graph.session() as session:  # GA101
        pass
""",
    """
import neo4j

async def main() -> None:
    with neo4j.AsyncGraphDatabase.driver("bolt://x") as driver:  # GA101
        pass
""",
    """
async def work(session):
    with await session.begin_transaction() as tx:  # GA101
        await (await tx.run("RETURN 1")).consume()
""",
    """
from neo4j import AsyncSession as S

async def work(s: "S | None"):
    with s:  # GA101
        pass
""",
    # -- GA102: sync iteration
    """
async def ids(tx):
    result = await tx.run("MATCH (n) RETURN n.id AS id")
    return [record["id"] for record in result]  # GA102
""",
    """
async def ids(session):
    for record in await session.run("MATCH (n) RETURN n"):  # GA102
        yield record
""",
    """
async def ids(session):
    for record in session.run("MATCH (n) RETURN n"):  # GA102 GA103
        yield record
""",
    """
async def first(tx):
    result = await tx.run("RETURN 1")
    rows = list(result)  # GA102
    return next(iter(result)), rows  # GA102
""",
    """
import neo4j

def ids(found: neo4j.AsyncResult):
    return {record["id"]: record for record in found}, [*found]  # GA102
""",
    # -- GA103: missing await
    """
async def count(session):
    result = session.run("RETURN 1 AS n")  # GA103
    return result
""",
    """
async def count(tx):
    result = await tx.run("RETURN 1 AS n")
    return result.single()["n"]  # GA103
""",
    """
async def write(tx, rows):
    result = await tx.run("UNWIND $rows AS row CREATE ()", rows=rows)
    result.consume()  # GA103
""",
    """
from pipeline.graph.driver import Driver

async def write(driver: Driver):
    async with driver.session(database="neo4j") as session:  # GA103
        return session.execute_read(write)  # GA103
""",
    """
async def close(self):
    self._driver.close()  # GA103
    async for record in self.session().run("RETURN 1"):
        pass
    async for record in session.run("RETURN 1"):  # GA103
        pass
""",
    """
import neo4j

class Graph:
    def __init__(self, uri: str) -> None:
        self._bolt = neo4j.AsyncGraphDatabase.driver(uri)

    async def check(self) -> None:
        self._bolt.verify_connectivity()  # GA103
        if self._bolt.verify_connectivity():  # GA103
            raise ValueError
""",
    # -- GA104: await where there is nothing to wait for
    """
import neo4j

async def ids(driver: neo4j.AsyncDriver) -> None:
    async with await driver.session() as session:  # GA104
        pass
""",
    """
from neo4j import AsyncGraphDatabase

async def ids() -> None:
    async with AsyncGraphDatabase.driver("bolt://x") as driver, await driver.session():  # GA104
        pass
""",
    # -- GA105: a session that an error leaves open
    """
async def ids(driver):
    session = await driver.session(database="neo4j")  # GA105
    result = await session.run("RETURN 1")
    await result.consume()
    await session.close()
""",
    """
import neo4j

class Graph:
    def open(self, driver: neo4j.AsyncDriver) -> None:
        self.session = driver.session()  # GA105
""",
    """
async def ids(self):
    return await (await self.driver.session()).execute_read(work)  # GA105
""",
    # -- GA106: transaction functions
    """
async def _write(tx, rows):
    await (await tx.run("CREATE ()")).consume()

async def write(session, rows):
    await session.execute_write(_write(rows))  # GA106
""",
    """
def _write(tx):
    tx.run("CREATE ()")  # GA103

async def write(session):
    await session.execute_write(_write)  # GA106
""",
    """
async def write(session):
    await session.execute_read(lambda tx: 5)  # GA106
    await session.execute_read(lambda tx: [tx.run("RETURN 1")])  # GA106
""",
    # -- GA107: a result that is read too late
    """
async def _read(tx):
    return await tx.run("RETURN 1")  # GA107

async def read(session):
    return await session.execute_read(_read)
""",
    """
async def read(driver):
    async with await driver.session() as session:
        result = await session.run("RETURN 1")
        return result  # GA107
""",
    """
import neo4j

async def read(driver: neo4j.AsyncDriver):
    async def work(tx: neo4j.AsyncManagedTransaction) -> neo4j.AsyncResult:
        found = await tx.run("RETURN 1")
        return found  # GA107

    async with driver.session() as session:
        return await session.execute_read(work)
""",
    # -- GA108: a cancellation that goes no further
    """
import asyncio

async def work():
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:  # GA108
        print("cancelled")
""",
    """
async def work(job):
    try:
        await job()
    except ValueError:
        raise
    except:  # GA108
        return None
""",
    """
from asyncio import CancelledError
from contextlib import suppress

async def work(job):
    with suppress(CancelledError, ValueError):  # GA108
        await job()
    try:
        await job()
    except (ValueError, BaseException) as error:  # GA108
        print(error)
""",
    # -- GA201: futures of other threads
    """
import asyncio

async def work(loop, job, pool):
    future = asyncio.run_coroutine_threadsafe(job(), loop)
    future.result()  # GA201
    return pool.submit(print).result()  # GA201
""",
    """
from concurrent.futures import Future

async def work(answer: Future[int]) -> int:
    if answer.exception():  # GA201
        return 0
    return answer.result(timeout=5)  # GA201
""",
    # -- GA202: Celery
    """
async def work(task, app):
    task.delay(1)  # GA202
    promise = task.apply_async((1,))  # GA202
    return promise.get(timeout=1)  # GA202
""",
    """
from celery.result import AsyncResult

async def work(app, task_id):
    app.send_task("x")  # GA202
    return AsyncResult(task_id).get()  # GA202
""",
    # -- GA203: Redis
    """
import redis

async def work() -> None:
    client = redis.Redis.from_url("redis://x")
    client.set("k", 1)  # GA203
""",
    """
from redis import Redis

class Store:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self) -> object:
        return self._redis.get("k")  # GA203
""",
    # -- GA204: a loop in a loop
    """
import asyncio
from asgiref.sync import async_to_sync

async def work(job, loop):
    asyncio.run(job())  # GA204
    loop.run_until_complete(job())  # GA204
    return async_to_sync(job)()  # GA204
""",
    # -- GA205: threads, and what else blocks
    """
import queue, threading

class Worker:
    def __init__(self) -> None:
        self.inbox: queue.Queue[int] = queue.Queue()
        self.done = threading.Event()
        self.lock = threading.Lock()

    async def work(self, thread: threading.Thread) -> None:
        self.inbox.get()  # GA205
        self.inbox.put(1)  # GA205
        self.done.wait()  # GA205
        self.lock.acquire()  # GA205
        thread.join()  # GA205
        with self.lock:  # GA205
            await self.send()
""",
    """
import gzip, shutil, socket, sqlite3
from neo4j import GraphDatabase

async def work():
    gzip.open("x.gz")  # GA205
    shutil.rmtree("x")  # GA205
    socket.create_connection(("x", 1))  # GA205
    sqlite3.connect("x")  # GA205
    return GraphDatabase.driver("bolt://x")  # GA205
""",
    # -- GA206: plain functions that block
    """
import time

def pause():
    time.sleep(1)

async def work():
    pause()  # GA206
""",
    """
class Dump:
    def _read(self):
        with open("x") as file:
            return file.read()

    async def work(self):
        return self._read()  # GA206
""",
    # -- GA301: mocks in a driver's place
    """
from unittest.mock import AsyncMock, MagicMock, Mock
from neo4j import AsyncDriver, AsyncSession

def test_it():
    one = MagicMock(spec=AsyncDriver)  # GA301
    two = Mock(AsyncSession)  # GA301
    driver = AsyncMock()  # GA301
    processor = Processor(driver=MagicMock())  # GA301
    processor.session = Mock()  # GA301
""",
    """
import pytest
from unittest import mock
import neo4j

@pytest.fixture
def driver():
    return mock.MagicMock()  # GA301

@pytest.fixture
def mock_session():
    yield mock.create_autospec(neo4j.AsyncSession)  # GA301
""",
    # -- GA302: mocks that learn the driver's part
    """
def test_it(thing):
    thing.session.return_value.__aenter__.return_value = 5  # GA302
    thing.execute_write.side_effect = ValueError  # GA302
""",
    """
def test_it(cm):
    cm.__enter__.return_value = 5  # GA302
""",
    # -- GA303: the driver patched away
    """
from unittest.mock import patch

@patch("neo4j.AsyncGraphDatabase.driver")  # GA303
def test_it(fake):
    with patch("pipeline.graph.driver.neo4j.AsyncGraphDatabase"):  # GA303
        pass
""",
    """
from unittest import mock
import neo4j

def test_it(mocker):
    mocker.patch("workers.app.driver")  # GA303
    with mock.patch.object(neo4j.AsyncSession, "run"):  # GA303
        pass
""",
]

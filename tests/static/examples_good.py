"""Right code, and code that only looks like wrong: `tests.checks.async_patterns` finds nothing in it."""

GOOD = [
    """
from pipeline.graph.driver import Driver

async def ids(driver: Driver) -> list[int]:
    async with await driver.session(database="neo4j") as session:
        result = await session.run("MATCH (n) RETURN n.id AS id")
        return [record["id"] async for record in result]
""",
    """
import neo4j

async def _write(tx: neo4j.AsyncManagedTransaction, rows: list[int]) -> int:
    result = await tx.run("UNWIND $rows AS row CREATE ()", rows=rows)
    summary = await result.consume()
    return summary.counters.nodes_created

async def write(driver: neo4j.AsyncDriver) -> int:
    async with driver.session() as session:
        return await session.execute_write(_write, [1])
""",
    """
async def _ask(tx, text):
    return await tx.run(text)

async def _read(tx):
    result = await _ask(tx, "RETURN 1 AS n")
    return (await result.single())["n"]

async def read(session):
    return await session.execute_read(_read)
""",
    """
from neo4j import GraphDatabase

def ids():
    with GraphDatabase.driver("bolt://x") as driver, driver.session() as session:
        for record in session.run("RETURN 1"):
            yield record
""",
    """
import neo4j

def _write(tx: neo4j.ManagedTransaction) -> None:
    tx.run("CREATE ()").consume()

def write(driver: neo4j.Driver) -> None:
    with driver.session() as session:
        session.execute_write(_write)
""",
    """
import requests

def get():
    with requests.Session() as session:
        session.run()
        return session.close()
""",
    """
import aiohttp

async def get():
    async with aiohttp.ClientSession() as session:
        async with session.get("x") as result:
            for line in await result.text():
                print(line)
""",
    """
import asyncio

async def both(driver, session, other):
    await asyncio.gather(session.run("RETURN 1"), *[other.run(text) for text in ("a", "b")])
    task = asyncio.create_task(session.execute_read(work))
    await asyncio.wait_for(driver.verify_connectivity(), 5)
    await task
""",
    """
async def lambdas(session):
    await session.execute_read(lambda tx: tx.run("RETURN 1"))
    await session.execute_read(lambda tx: work(tx, 1))

async def work(tx, n):
    await (await tx.run("RETURN $n", n=n)).consume()
""",
    """
def delegate(tx):
    return tx.run("RETURN 1")

async def partials(session):
    await session.execute_read(delegate)
    await session.execute_read(unit_of_work(timeout=5)(delegate))
""",
    """
from contextlib import AsyncExitStack

class Driver:
    async def session(self, **config):
        return self._driver.session(**config)

async def several(driver):
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(driver.session())
        await session.execute_read(work)
""",
    """
class Watched:
    def session(self):
        return WatchedSession(self.driver.session(), self.seen)

async def later(driver):
    session = await driver.session()
    check(session)
    async with session:
        await session.execute_read(work)
""",
    """
import asyncio

async def cleans_up(job):
    try:
        await job()
    except asyncio.CancelledError:
        await job.abort()
        raise
    except BaseException as error:
        return error
""",
    """
import asyncio, contextlib

async def stop(self):
    self.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await self.task
    try:
        await self.task
    except asyncio.CancelledError:
        pass
""",
    """
def plain(job):
    try:
        job()
    except BaseException as error:
        return error
""",
    """
import asyncio

async def tasks(job):
    task = asyncio.create_task(job())
    await asyncio.wait([task])
    lock, queue = asyncio.Lock(), asyncio.Queue()
    async with lock:
        await queue.get()
    return task.result()
""",
    """
import threading, queue

class Bridge:
    def __init__(self) -> None:
        self._state = threading.Lock()
        self._inbox: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait(self) -> int:
        return self._inbox.get()

    async def main(self) -> None:
        with self._state:
            self._loop = 5
        self._state.acquire(blocking=False)
        self._inbox.get(block=False)
        def late() -> int:
            return self._inbox.get()
        await run(late)
""",
    """
import redis.asyncio
from asgiref.sync import sync_to_async
from redis import Redis

async def ask(client: redis.asyncio.Redis, plain: Redis):
    await client.get("k")
    return await sync_to_async(plain.get)("k")
""",
    """
from celery import chord

def send(tasks, body):
    chord(tasks)(body)
    return body.delay().get()
""",
    """
import asyncio, time

def pause():
    time.sleep(1)

async def work():
    await asyncio.to_thread(pause)
    await asyncio.to_thread(time.sleep, 1)
""",
    """
from unittest.mock import MagicMock, patch

def test_it():
    logger = MagicMock()
    logger.info.return_value = 5
    with patch("time.sleep"):
        run(logger=logger)
""",
    """
import pytest

async def test_nobody_answers(driver):
    with pytest.raises(ValueError):
        await driver.session()

async def test_sync_use_is_refused(session):
    with pytest.raises(TypeError):
        with session:  # wrong on purpose: GA101
            pass
""",
    """
async def run(driver: object, session: str, tx: int | None) -> str:
    with driver:
        pass
    for letter in session:
        tx.run(letter)
    return session.close()
""".replace("driver: object", "driver: list[int]"),
]

"""Tests that pass elsewhere fail under `tests.strictness` and pytest's settings."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.strictness import BLOCKED_SECONDS, Usage

ROOT = Path(__file__).parents[2]

#: Tests whose body finds nothing wrong, and what the run says of them nevertheless.
CAUGHT = {
    "a call that was not awaited": (
        """
async def work():
    pass

async def test_it():
    work()
""",
        "coroutine 'work' was never awaited",
    ),
    "a session that was not closed": (
        """
from tests.fakes.driver import FakeAsyncDriver
from tests.fakes.server import FakeServer

async def test_it():
    driver = FakeAsyncDriver(FakeServer())
    driver.session()
    await driver.close()
""",
        "unclosed",
    ),
    "a result that was not read": (
        """
from tests.fakes.fixtures import realistic_async_driver

async def test_it(realistic_async_driver):
    realistic_async_driver.server.answer("RETURN 1", lambda store, parameters: [{"1": 1}])
    async with realistic_async_driver.session() as session:
        await session.run("RETURN 1")
""",
        "nobody read the result of 'RETURN 1' to its end",
    ),
    "a session that was left open": (
        """
from tests.fakes.fixtures import realistic_async_driver

kept = []

async def test_it(realistic_async_driver):
    kept.append(realistic_async_driver.session())
""",
        "a session was neither closed nor cancelled",
    ),
    "a loop blocked by waiting": (
        """
import time

async def test_it():
    time.sleep(1)
""",
        "an event loop was blocked",
    ),
    "a loop blocked by computing": (
        """
import time

async def test_it():
    end = time.thread_time() + 0.3
    while time.thread_time() < end:
        pass
""",
        "an event loop was blocked",
    ),
    "a loop of the product blocked, in its own thread": (
        """
import asyncio, threading, time

async def work():
    await asyncio.sleep(0)
    time.sleep(1)

def test_it():
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()
""",
        "an event loop was blocked",
    ),
    "an exception that nobody retrieved": (
        """
import asyncio

async def work():
    raise ValueError("lost")

async def test_it():
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
""",
        "Task exception was never retrieved",
    ),
    "a session of the real driver used by two tasks": (
        """
import asyncio
import neo4j

async def test_it():
    async with neo4j.AsyncGraphDatabase.driver("bolt://127.0.0.1:1") as driver:
        async with driver.session() as session:
            tries = [session.run("RETURN 1") for _ in range(2)]
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            if any(isinstance(outcome, RuntimeError) for outcome in outcomes):
                raise outcomes[-1]
""",
        "not concurrency safe",
    ),
}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run all those tests, one module each, and return their failures by key of CAUGHT."""
    folder = tmp_path_factory.mktemp("hiding")
    for number, (text, _) in enumerate(CAUGHT.values()):
        (folder / f"test_{number}.py").write_text(text)
    report = folder / "report.xml"
    options = [
        "-p",
        "tests.strictness",
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        f"--junitxml={report}",
    ]
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options, str(folder)]
    subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
    said: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        found = [each.text or "" for each in case if each.tag in {"failure", "error"}]
        number = int(case.attrib["classname"].rpartition("_")[2])
        said[list(CAUGHT)[number]] = "\n".join(found)
    return said


@pytest.mark.parametrize("hidden", CAUGHT)
def test_a_test_fails_that_hides(failures: dict[str, str], hidden: str) -> None:
    assert CAUGHT[hidden][1] in failures[hidden]


def test_every_loop_is_in_debug_mode() -> None:
    async def debug() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert asyncio.run(debug())


def test_a_busy_machine_blocks_no_loop() -> None:
    """Eight processes compete for the processors while the loop computes a little at a time."""

    async def work() -> None:
        for _ in range(40):
            sum(range(200_000))
            await asyncio.sleep(0.02)

    with contextlib.ExitStack() as rivals:
        for _ in range(8):
            rival = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
            rivals.enter_context(rival)
            rivals.callback(rival.kill)
        asyncio.run(work())


def test_a_wait_for_a_thread_that_waits_for_a_processor_blocks_no_loop() -> None:
    before = Usage(wall=0.0, processor=0.0, excused=0.0, collecting=0.0, waits=0)
    after = Usage(wall=0.5, processor=0.01, excused=0.05, collecting=0.0, waits=1)
    assert after.blocked_seconds(before, longest_wait=0.15) < BLOCKED_SECONDS
    assert after.blocked_seconds(before, longest_wait=0.05) > BLOCKED_SECONDS


def test_threads_that_begin_and_end_late_block_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they do where other processes have the processors."""

    def late(
        original: Callable[..., None], *, before: float = 0.0, after: float = 0.0
    ) -> Callable[..., None]:
        def run(*arguments: object) -> None:
            time.sleep(before)
            original(*arguments)
            time.sleep(after)

        return run

    begin, end = threading.Thread._bootstrap_inner, asyncio.BaseEventLoop._do_shutdown  # type: ignore[attr-defined]
    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", late(begin, before=0.3))
    monkeypatch.setattr(asyncio.BaseEventLoop, "_do_shutdown", late(end, after=0.3))
    asyncio.run(asyncio.to_thread(int))

"""The Python blocks of the async docs run on the fake and the real driver.

A block that shows an error names it: ```` ```python raises=TypeError ````; it must raise that error.
"""

import ast
import asyncio
import gc
import inspect
import re
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import neo4j
import pytest
import pytest_asyncio

from pipeline.graph.driver import Driver
from tests.contract.world import ANSWERS, DELETE, Neo4jServer
from tests.fakes.driver import FakeAsyncDriver, as_driver
from tests.fakes.faults import deadlock
from tests.fakes.server import FakeServer

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "docs/async-bug-postmortem.md",
    ROOT / "docs/async-testing-lessons-learned.md",
]
BLOCK = re.compile(r"^```python(?P<options>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A Python block of a page."""

    line: int
    code: str
    #: The name of the exception that it must end with.
    raises: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        options = dict(option.split("=") for option in match["options"].split())
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(line, match["code"], options.get("raises")))
    return found


@pytest.fixture(params=["fake", "real"])
def server(request: pytest.FixtureRequest) -> Neo4jServer | None:
    """The real Neo4j, or None for the fake; started here, outside of any event loop."""
    return request.getfixturevalue("neo4j_server") if request.param == "real" else None


@pytest_asyncio.fixture
async def driver(server: Neo4jServer | None) -> AsyncIterator[Driver]:
    """The product's driver, over an empty graph."""
    if server is None:
        async with Driver("bolt://127.0.0.1:9", "neo4j", "no password") as driver:
            await driver._driver.close()
            # Not strict: some blocks show what becomes of results that are not read.
            driver._driver = as_driver(FakeAsyncDriver(FakeServer(ANSWERS, strict=False)))
            yield driver
    else:
        async with Driver(server.uri, server.user, server.password) as driver:
            await driver._driver.execute_query(DELETE)
            yield driver
            await driver._driver.execute_query(DELETE)


async def run(block: Block, page: Path, names: dict[str, Any]) -> None:
    """Run a block as a module's code, in which `await` is allowed."""
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, names)  # noqa: S307 - our own documentation
    if inspect.iscoroutine(running):
        await running


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_code_on_the_page_does_what_the_page_says(page: Path, driver: Driver) -> None:
    names: dict[str, Any] = {
        "asyncio": asyncio,
        "deadlock": deadlock,
        "driver": driver,
        "expect_raises": pytest.raises,
        "neo4j": neo4j,
    }
    for block in blocks(page):
        if block.raises is None:
            await run(block, page, names)
            continue
        with warnings.catch_warnings():
            # Such a block forgets to await or to close something, on purpose.
            warnings.simplefilter("ignore")
            own = dict(names)
            with pytest.raises(Exception, match="") as raised:  # noqa: PT011 - its name is compared
                await run(block, page, own)
            assert raised.type.__name__ == block.raises, f"line {block.line}"
            raised.value.__traceback__ = None
            del raised, own
            gc.collect()  # warnings that come up only now must not fail a later block or test


def test_the_pages_have_code() -> None:
    assert sum(len(blocks(page)) for page in PAGES) > 10

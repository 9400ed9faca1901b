"""Fixtures of the fault tests: workers that detect faults soon, and a dump."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack.stack import Stack
from tests.acceptance.conftest import Product, opened, without_workers
from tests.acceptance.faults.crashing import CRASHES
from tests.acceptance.faults.harness import hurried
from tests.conftest import Neo4jServer
from workers.settings import Settings


@pytest.fixture(scope="package")
def hurried_stack(staffed: Stack) -> Iterator[Stack]:
    """The stack with workers that detect faults soon."""
    without_workers(staffed)
    yield hurried(staffed)
    without_workers(staffed)


@pytest.fixture
def product(hurried_stack: Stack, neo4j_server: Neo4jServer, settings: Settings) -> Iterator[Product]:
    """The product with two such workers, an empty graph, nothing in flight."""
    with opened(hurried_stack, neo4j_server, settings) as product:
        product.redis.delete(CRASHES)
        yield product


@pytest.fixture(scope="session")
def releases(sample: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample releases as a plain file."""
    path = tmp_path_factory.mktemp("releases") / "releases.xml"
    path.write_bytes(gzip.decompress(sample[3].read_bytes()))
    return path

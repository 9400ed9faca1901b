"""Real workers, and the command as a user calls it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import kombu.pools
import neo4j
import pytest
from celery import Celery
from celery.app import app_or_default
from click.testing import CliRunner
from docker.client import DockerClient
from pytest_celery.api.backend import CeleryBackendCluster, CeleryTestBackend
from pytest_celery.api.broker import CeleryBrokerCluster, CeleryTestBroker
from redis import Redis

from ops.cli import main
from ops.stack.process import Daemon
from ops.stack.stack import Stack
from ops.stack.state import Endpoints, read_endpoints, running
from tests.acceptance import nodes
from tests.conftest import EMPTY_GRAPH, Neo4jServer, end_keeper
from tests.graph_dump import differences, read_graph_at_once
from tests.oracle import Graph, add_statistics, expected_graph
from workers.app import connect_redis
from workers.settings import Settings
from workers.state.keys import PREFIX

COMMAND = Path(sys.executable).parent / "graphinator"
SAMPLE = Path(__file__).parents[2] / "ops" / "sample"
#: Limit of a wait for what comes within seconds on an idle machine: reached only when it never comes.
BOUND_SECONDS = 600.0


@lru_cache(maxsize=8)
def expected(
    dumps: tuple[tuple[Path, int], ...],
    malformed: tuple[bytes, ...],
    upstream: tuple[tuple[Path, int], ...],
    *,
    tracks: bool,
) -> Graph:
    """Return the expected graph after loads of these dumps, one after the other.

    The records in the files `upstream` are handed over after that. The modification time of each file is part of the
    key of the cache.
    """
    dumped, handed = ([file for file, _ in files] for files in (dumps, upstream))
    return add_statistics(expected_graph(dumped, malformed, handed, tracks=tracks))


class Product:
    """The command `graphinator` for the home of the tests, and its servers."""

    def __init__(self, stack: Stack, server: Neo4jServer, redis: Redis) -> None:
        self.stack = stack
        self.redis = redis
        self._server = server
        self._started: list[subprocess.Popen[str]] = []

    def endpoints(self) -> Endpoints:
        """Return the addresses of the running stack."""
        endpoints = read_endpoints(self.stack.home)
        assert endpoints is not None
        return endpoints

    def environment(self, **settings: object) -> dict[str, str]:
        own = {f"GRAPHINATOR_{name.upper()}": str(value) for name, value in settings.items()}
        path = f"{COMMAND.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": path, "GRAPHINATOR_HOME": str(self.stack.home), **own}

    def run(self, *arguments: object, **settings: object) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end, in this process: that saves a second of imports."""
        words = [str(argument) for argument in arguments]
        ended = CliRunner().invoke(main, words, env=self.environment(**settings))
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return subprocess.CompletedProcess(words, ended.exit_code, ended.stdout, ended.stderr)

    def start(self, *arguments: object, **settings: object) -> "subprocess.Popen[str]":
        """Start the command and leave it running, at most until the test ends."""
        process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            env=self.environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kill started commands that still run, before the next test."""
        for process in self._started:
            with process:
                process.kill()

    def load(self, *paths: Path | str, **settings: object) -> dict[str, Any]:
        """Load dumps without an error and return the JSON report."""
        ended = self.run("load", *paths, "--json", **settings)
        assert ended.returncode == 0, ended.stderr
        result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return result

    def workers(self, number: int) -> None:
        """Run exactly this number of workers. Nobody restarts those that a test kills."""
        self.stack.up(workers=number)
        end_keeper(self.stack)

    def servers(self) -> None:
        """Start the servers that have ended, beside the workers that run."""
        self.workers(len(running(self.stack.home).workers()))

    def graph_differences(
        self,
        dumps: Sequence[Path],
        malformed: Sequence[bytes] = (),
        upstream: Sequence[Path] = (),
        *,
        tracks: bool = True,
    ) -> list[str]:
        """Compare Neo4j with the graph of these dumps, and of records of upstream tasks."""
        with self.driver() as driver, driver.session() as session:
            found = read_graph_at_once(session, ignoring=frozenset())
        dumped, handed = (
            tuple((file, file.stat().st_mtime_ns) for file in files) for files in (dumps, upstream)
        )
        return differences(expected(dumped, tuple(malformed), handed, tracks=tracks), found)

    def empty(self) -> None:
        """Empty Redis and Neo4j. The broker's bindings stay: workers depend on them.

        Redis goes first, so that batches left by the test before are not written.
        """
        # Celery keeps results and interrupted chords until they expire, and messages that a fault left
        # unacknowledged until the visibility timeout.
        patterns = (PREFIX + "*", "celery-taskset-meta-*", "celery-task-meta-*", "unacked*")
        keys = [key for pattern in patterns for key in self.redis.scan_iter(pattern)]
        if keys:
            self.redis.delete(*keys)
        with self.driver() as driver, driver.session() as session:
            session.run(EMPTY_GRAPH).consume()

    def remains(self, *, cut_off: bool = False) -> set[str]:
        """Return the keys of batches, chords, queued and unacknowledged messages.

        `cut_off` leaves out interrupted chords, which expire.
        """
        patterns = (
            "graphinator:in_flight",
            "graphinator:batch:*",
            "graphinator:load",
        )
        broker = ("normalise", "write", "unacked", "celery-taskset-meta-*.[jts]", "celery-task-meta-*")
        found = {
            str(key, "utf-8") for pattern in (*patterns, *broker) for key in self.redis.scan_iter(pattern)
        }
        return {
            key for key in found if not (cut_off and key.startswith("celery-") and self.redis.ttl(key) > 0)
        }

    def leftovers(self, *, cut_off: bool = False) -> set[str]:
        """Wait for the last acknowledgements and return the remaining keys."""
        deadline = time.monotonic() + BOUND_SECONDS
        while (found := self.remains(cut_off=cut_off)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def driver(self) -> neo4j.Driver:
        """Connect to Neo4j."""
        return neo4j.GraphDatabase.driver(self._server.uri, auth=(self._server.user, self._server.password))


def without_workers(stack: Stack) -> None:
    """Stop workers and drop their unacknowledged messages, which others would get later."""
    stack.up(workers=0)
    endpoints = read_endpoints(stack.home)
    assert endpoints is not None
    with connect_redis(endpoints.connect(stack.settings)) as redis:
        redis.flushall()


@pytest.fixture(scope="package")
def staffed(stack: Stack) -> Iterator[Stack]:
    """The stack with workers, which stop before other tests empty Redis.

    Upstream records are written, and stale statistics counted, after one second, because tests wait for both.
    """
    without_workers(stack)
    yield Stack(stack.settings.model_copy(update={"ingest_seconds": 1, "statistics_seconds": 1}))
    without_workers(stack)


@contextmanager
def opened(stack: Stack, server: Neo4jServer, settings: Settings) -> Iterator[Product]:
    """Open the product with two workers, an empty graph and nothing in flight."""
    with connect_redis(settings) as redis:
        product = Product(stack, server, redis)
        product.workers(2)
        product.empty()
        try:
            yield product
        finally:
            product.end()


@pytest.fixture
def product(staffed: Stack, neo4j_server: Neo4jServer, settings: Settings) -> Iterator[Product]:
    """Two workers, an empty graph, nothing in flight."""
    with opened(staffed, neo4j_server, settings) as product:
        yield product


@pytest.fixture(scope="session")
def sample() -> list[Path]:
    """The four sample dumps, in load order."""
    return [
        SAMPLE / f"discogs_20200806_{name}.xml.gz" for name in ("artists", "labels", "masters", "releases")
    ]


@pytest.fixture
def make_worker(product: Product) -> Iterator[nodes.MakeWorker]:
    """Workers of the stack; with `CONTAINERS=1`, workers in containers of the Docker engine.

    Only on Linux do containers reach our servers.
    """
    if "CONTAINERS" in os.environ:
        product.workers(0)
        client: DockerClient = DockerClient.from_env()  # type: ignore[no-untyped-call]
        with closing(client), nodes.containers(client, product.stack) as make:
            yield make
    else:
        yield partial(nodes.daemon, product.stack)


@pytest.fixture
def valkey(product: Product) -> nodes.ValkeyContainer:
    process = nodes.Process(Daemon(product.stack.home, "valkey"), product.servers)
    return nodes.ValkeyContainer(process, product.endpoints().broker_url())


@pytest.fixture
def celery_broker_cluster(valkey: nodes.ValkeyContainer) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(valkey))


@pytest.fixture
def celery_backend_cluster(valkey: nodes.ValkeyContainer) -> CeleryBackendCluster:
    return CeleryBackendCluster(CeleryTestBackend(valkey))


@pytest.fixture
def celery_worker_cluster(
    product: Product, celery_setup_app: Celery, make_worker: nodes.MakeWorker
) -> nodes.Workers:
    """Two workers. Those of the stack run already."""
    workers = nodes.Workers(product.stack.home, celery_setup_app, make_worker)
    workers.scale(2)
    return workers


@pytest.fixture
def celery_setup_app(product: Product, celery_setup_config: dict[str, str]) -> Iterator[Celery]:
    """An upstream app, with Celery's own transport.

    Of graphinator it knows the names of the tasks.
    """
    before = app_or_default()
    timeout = product.stack.settings.visibility_timeout_seconds
    with Celery("upstream", set_as_current=False) as app:
        app.conf.update(
            celery_setup_config,
            broker_transport="kombu.transport.redis:Transport",
            broker_transport_options={"visibility_timeout": timeout},
        )
        yield app
        # Celery leaves connections to the collector, which warns of those that it takes apart in the wrong order.
        backend: Any = app.backend
        backend.result_consumer.stop()
        backend.client.connection_pool.disconnect()
    kombu.pools.reset()
    before.set_current()  # a node that is restarted sets its app


@pytest.fixture
def celery_setup_cls() -> type[nodes.Setup]:
    return nodes.Setup

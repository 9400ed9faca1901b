"""Whatever dies on the way, a load ends with the exact graph, or says what is missing and how to go on.

Real processes are ended for real. Afterwards the whole graph is compared with the oracle, the quarantine is as planted, Redis
holds no leftover, and all of that within `BOUND_SECONDS`.
"""

import gzip
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops import worker
from ops.stack import Stack
from tests.acceptance.conftest import Product
from tests.acceptance.crashing import CRASHES, MOMENTS
from tests.acceptance.faults import (
    HURRIED,
    SMALL,
    crashing_worker,
    ended,
    hurried,
    is_under_way,
    kill,
    left_over,
    runs,
    server,
    suspended,
    wait_until,
    workers,
)
from tests.conftest import Neo4jServer
from workers.app import connect_redis
from workers.runs import State
from workers.settings import Settings

RELEASES = 1000


@pytest.fixture(scope="module")
def hurried_stack(staffed: Stack) -> Iterator[Stack]:
    """The stack, whose workers notice faults soon."""
    staffed.up(workers=0)
    yield hurried(staffed)
    staffed.up(workers=0)


@pytest.fixture
def product(hurried_stack: Stack, neo4j_server: Neo4jServer, settings: Settings) -> Iterator[Product]:
    """The product with two such workers, an empty graph, nothing in flight."""
    with connect_redis(settings) as redis:
        product = Product(hurried_stack, neo4j_server, redis, settings.redis_url or "")
        product.workers(2)
        product.empty()
        product.redis.delete(CRASHES)
        yield product


@pytest.fixture(scope="session")
def releases(sample: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample releases as a plain file."""
    path = tmp_path_factory.mktemp("releases") / "releases.xml"
    path.write_bytes(gzip.decompress(sample[3].read_bytes()))
    return path


def start(product: Product, dump: Path) -> "subprocess.Popen[str]":
    return product.start("load", dump, "--json", **HURRIED, **SMALL)


def is_exact(product: Product, dump: Path) -> None:
    """The graph, the quarantine and Redis are those of this dump loaded without a fault."""
    wait_until(lambda: not left_over(product), f"nothing is left over of {left_over(product)}")
    assert product.graph_differences([dump]) == []
    assert product.run("quarantine", "list").stdout == "nothing is set aside\n"


def ends_well(product: Product, load: "subprocess.Popen[str]", dump: Path) -> None:
    code, result, errors = ended(load)
    assert code == 0, errors
    assert result["complete"] is True
    assert result["releases"]["read"] == RELEASES
    is_exact(product, dump)


def ends_well_when_resumed(product: Product, dump: Path) -> None:
    """The load ended before it was complete; `resume` is all that it takes."""
    assert [run.state for run in runs(product)][-1] is State.STALLED
    assert "graphinator resume" in product.run("status").stdout
    resumed = product.run("resume", **HURRIED)
    assert resumed.returncode == 0, resumed.stderr
    assert [run.state for run in runs(product)][-2:] == [State.REPLACED, State.FINISHED]
    is_exact(product, dump)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_may_die_when(product: Product, releases: Path, moment: str) -> None:
    product.workers(0)
    with crashing_worker(product, moment) as crashing:
        load = start(product, releases)
        wait_until(lambda: crashing.poll() is not None, "the worker has crashed")
        assert crashing.returncode == -signal.SIGKILL
        assert product.redis.get(CRASHES) == b"1"
    product.workers(2)
    ends_well(product, load, releases)


def test_what_a_dead_worker_had_taken_is_given_to_others_and_done_with(
    product: Product, releases: Path
) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    kill(workers(product))
    assert product.redis.exists("unacked")
    product.workers(2)
    ends_well(product, load, releases)
    wait_until(
        lambda: not product.redis.exists("unacked", "normalise", "write"), "every message is done with"
    )


def test_all_workers_may_die_at_once_and_again(product: Product, releases: Path) -> None:
    load = start(product, releases)
    for records in (100, 400):
        is_under_way(product, load, records)
        kill(workers(product))
        product.workers(2)
    ends_well(product, load, releases)


def test_workers_may_be_replaced_one_by_one(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    for process in workers(product):
        process.terminate()
        psutil.wait_procs([process], timeout=60)
        product.workers(2)
    ends_well(product, load, releases)


def test_a_worker_that_is_told_to_end_may_be_killed_while_it_does(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    for process in workers(product):
        process.terminate()
    kill(workers(product))
    product.workers(2)
    ends_well(product, load, releases)


def test_the_number_of_workers_may_change_under_way(product: Product, releases: Path) -> None:
    product.workers(1)
    load = start(product, releases)
    is_under_way(product, load)
    product.workers(4)
    product.workers(2)
    ends_well(product, load, releases)


def test_a_batch_that_ends_its_process_every_time_is_given_up_and_named(
    product: Product, tmp_path: Path
) -> None:
    dump = tmp_path / "labels.xml"
    dump.write_text("<labels><label><id>1</id><name>One</name></label></labels>")
    product.workers(0)
    load = start(product, dump)
    for _ in range(10):
        with crashing_worker(product, "the batch is not committed", times=100) as crashing:
            wait_until(lambda: crashing.poll() is not None or load.poll() is not None, "a crash or an end")
        if load.poll() is not None:
            break
    code, result, errors = ended(load)
    assert code == 7
    assert result["complete"] is False
    assert "a worker process ended each time" in errors
    product.workers(2)
    product.load(dump)
    is_exact(product, dump)


def test_a_load_may_be_killed_while_it_sends(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    load.kill()
    load.communicate()
    product.redis.expire("graphinator:load", 1)  # its lock would go by itself in 30 s
    wait_until(lambda: not product.redis.exists("graphinator:load"), "its lock has gone")
    wait_until(lambda: not product.redis.zcard("graphinator:pending"), "workers finish what was sent")
    ends_well_when_resumed(product, releases)


def test_the_same_load_twice_at_once_is_refused_and_does_no_harm(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    neo4j = server(product, "neo4j")
    neo4j.suspend()  # the first one cannot end before the second one has asked
    try:
        second = product.run("load", releases)
    finally:
        neo4j.resume()
    assert second.returncode == 5
    ends_well(product, load, releases)


def test_redis_may_be_killed_and_come_back_with_its_data(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    kill([server(product, "valkey")])
    product.workers(2)  # starts what does not run
    code, _, errors = ended(load)
    if code:
        assert code in (7, 8)
        assert "Redis" in errors
        product.redis.delete("graphinator:load")
        ends_well_when_resumed(product, releases)
    else:
        is_exact(product, releases)


def test_redis_may_be_away_for_some_seconds(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    suspended(server(product, "valkey"), 5.0)
    ends_well(product, load, releases)


def test_redis_may_drop_every_connection_again_and_again(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    for _ in range(4):
        product.redis.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.3)
    ends_well(product, load, releases)


def test_redis_may_lose_its_data(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    product.redis.flushall()
    code, result, errors = ended(load)
    assert code == 7
    assert result["complete"] is False
    assert "repeat it" in errors or "load again" in errors
    product.workers(0)  # the broker's own keys are gone as well: workers find theirs again when they start
    product.workers(2)
    assert product.load(releases)["releases"]["read"] == RELEASES
    is_exact(product, releases)


def test_redis_may_be_full_for_a_while(product: Product, releases: Path) -> None:
    limit = product.redis.config_get("maxmemory")["maxmemory"] or "0"
    load = start(product, releases)
    is_under_way(product, load)
    product.redis.config_set("maxmemory", 1)
    try:
        time.sleep(3.0)
    finally:
        product.redis.config_set("maxmemory", limit)
    code, _, errors = ended(load)
    if code:
        assert "Redis refuses" in errors
        assert code == 8
        ends_well_when_resumed(product, releases)
    else:
        is_exact(product, releases)


def test_neo4j_may_be_killed_and_come_back(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    kill([server(product, "neo4j")])
    product.workers(2)
    ends_well(product, load, releases)


def test_neo4j_may_not_answer_for_a_while(product: Product, releases: Path) -> None:
    load = start(product, releases)
    is_under_way(product, load)
    suspended(server(product, "neo4j"), 10.0)
    ends_well(product, load, releases)


def test_a_worker_with_a_wrong_password_says_so_at_once(product: Product, settings: Settings) -> None:
    name = worker.node_name(product.stack.home, 98)
    environment = worker.environment(settings, product.stack.password_file)
    del environment["GRAPHINATOR_NEO4J_PASSWORD_FILE"]
    outcome = subprocess.run(
        worker.command(settings, name),
        env={**environment, "GRAPHINATOR_NEO4J_PASSWORD": "wrong"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].startswith("Error: Neo4j: The client is unauthorized")
    assert "wrong" not in outcome.stderr + outcome.stdout

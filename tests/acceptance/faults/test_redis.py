"""A Redis that dies, does not answer, drops connections, loses its data, is full."""

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.harness import (
    LONG,
    RELEASES,
    SMALL,
    TINY,
    ended,
    ends_well,
    ends_well_or_when_resumed,
    is_exact,
    is_exact_or_when_resumed,
    server,
    standing_still,
    start,
    suspended,
    wait_until,
)
from tests.acceptance.nodes import Setup
from tests.integration.conftest import refusing
from workers.state.in_flight import InFlight


def files_of_redis(product: Product) -> Path:
    """Return the folder of the append-only file; Redis rewrites none before its restart."""
    product.redis.config_set("auto-aof-rewrite-percentage", 0)
    wait_until(lambda: not product.redis.info("persistence")["aof_rewrite_in_progress"], "no rewrite")
    (on_disk,) = product.stack.home.glob("*/appendonlydir")
    return on_disk


def test_redis_may_be_killed_and_come_back_with_its_data(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    load = start(product, releases)
    with standing_still(product, load):
        celery_setup.broker.kill()
    celery_setup.broker.restart()
    ends_well_or_when_resumed(product, load, releases, "Redis")


def test_redis_may_be_away_for_some_seconds(product: Product, releases: Path) -> None:
    load = start(product, releases)
    suspended(product, load, server(product, "valkey"), 5.0)
    ends_well(product, load, releases)


def test_redis_may_be_away_for_longer_than_a_load_waits(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    load = start(product, releases)
    with standing_still(product, load):
        celery_setup.broker.kill()
    time.sleep(40.0 if LONG else 12.0)
    celery_setup.broker.restart()
    ends_well_or_when_resumed(product, load, releases, "Redis")


def test_redis_may_drop_every_connection_again_and_again(product: Product, releases: Path) -> None:
    load = start(product, releases, TINY)
    for records in (100, 150, 200, 250):
        with standing_still(product, load, records):
            # The load and two workers.
            assert product.redis.client_kill_filter(_type="normal", skipme=True) >= 3
        time.sleep(0.3)
    ends_well(product, load, releases)


def test_redis_may_lose_its_data(product: Product, celery_setup: Setup, releases: Path) -> None:
    load = start(product, releases)
    with standing_still(product, load):
        product.redis.flushall()
    code, result, errors = ended(load)
    assert code == 7
    assert result["complete"] is False
    assert "load again" in errors
    for worker in celery_setup.worker_cluster:
        worker.restart()  # the broker's own keys are gone as well: workers find theirs again when they start
    assert product.load(releases, **SMALL)["releases"]["read"] == RELEASES
    is_exact(product, releases)


def test_redis_may_be_full_for_a_while(product: Product, celery_setup: Setup, releases: Path) -> None:
    limit = product.redis.config_get("maxmemory")["maxmemory"] or "0"
    load = start(product, releases)
    try:
        with standing_still(product, load):
            product.redis.config_set("maxmemory", 1)
        time.sleep(3.0)
    finally:
        product.redis.config_set("maxmemory", limit)
    ends_well_or_when_resumed(product, load, releases, "Redis is full")
    assert not any(worker.has_ended() for worker in celery_setup.worker_cluster)


@pytest.mark.parametrize("refusal", ["MISCONF", "READONLY"])
def test_redis_may_refuse_to_write_for_a_while(
    product: Product, celery_setup: Setup, releases: Path, refusal: str
) -> None:
    load = start(product, releases)
    with ExitStack() as until:
        with standing_still(product, load):
            until.enter_context(refusing(product.redis, refusal))
        time.sleep(3.0)
    ends_well_or_when_resumed(product, load, releases, "Redis")
    assert not any(worker.has_ended() for worker in celery_setup.worker_cluster)


def test_redis_may_come_back_without_its_last_second(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    """A power failure loses the writes of the last second."""
    load = start(product, releases)
    on_disk = files_of_redis(product)
    older = on_disk.with_name("older")
    with standing_still(product, load):
        shutil.copytree(on_disk, older)
    with standing_still(product, load, RELEASES // 2):
        celery_setup.broker.kill()
        shutil.rmtree(on_disk)
        older.rename(on_disk)
    celery_setup.broker.restart()
    code, _, errors = ended(load)
    if code == 7:
        assert "load again" in errors
        assert product.load(releases, **SMALL)["releases"]["read"] == RELEASES
        is_exact(product, releases)
    else:
        is_exact_or_when_resumed(product, releases, code, errors, "Redis")


def test_a_redis_that_is_older_than_the_graph_is_emptied_before_a_load(
    product: Product, celery_setup: Setup, releases: Path, tmp_path: Path
) -> None:
    """A backup of Redis sends again what was in flight then."""
    load = start(product, releases)
    on_disk = files_of_redis(product)
    backup = tmp_path / "backup"
    with standing_still(product, load, 1):
        celery_setup.worker_cluster.scale(
            0
        )  # a killed one may take a message along that the backup then lacks
    in_flight = InFlight(product.redis)
    wait_until(lambda: len(in_flight) == SMALL["batches_in_flight"], "batches are in flight")
    wait_until(lambda: not in_flight.overdue(BOUND_SECONDS), "they are sent")
    shutil.copytree(on_disk, backup)
    celery_setup.worker_cluster.scale(2)
    ends_well(product, load, releases)
    newer = tmp_path / "newer.xml"
    newer.write_bytes(releases.read_bytes().replace(b"</title>", b" (new)</title>"))
    product.load(newer, **SMALL)
    is_exact(product, newer)
    celery_setup.broker.kill()
    shutil.rmtree(on_disk)
    backup.rename(on_disk)
    celery_setup.broker.restart()
    wait_until(lambda: not len(in_flight), "the old batches are written")
    assert product.graph_differences([newer]) != []
    celery_setup.worker_cluster.scale(0)
    product.redis.flushall()
    celery_setup.worker_cluster.scale(2)
    product.load(newer, **SMALL)
    is_exact(product, newer)

"""A Redis that dies, does not answer, drops connections, loses its data, is full."""

import shutil
import time
from pathlib import Path

from tests.acceptance.conftest import Product
from tests.acceptance.faults.harness import (
    LONG,
    RELEASES,
    ended,
    ends_well,
    ends_well_or_when_resumed,
    is_exact,
    is_exact_or_when_resumed,
    kill,
    runs,
    server,
    suspended,
    under_way,
    wait_until,
)


def test_redis_may_be_killed_and_come_back_with_its_data(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    kill([server(product, "valkey")])
    product.workers(2)  # starts what does not run
    ends_well_or_when_resumed(product, load, releases, "Redis")


def test_redis_may_be_away_for_some_seconds(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    suspended(server(product, "valkey"), 5.0)
    ends_well(product, load, releases)


def test_redis_may_be_away_for_longer_than_a_load_waits(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    kill([server(product, "valkey")])
    time.sleep(40.0 if LONG else 12.0)
    product.workers(2)
    ends_well_or_when_resumed(product, load, releases, "Redis")


def test_redis_may_drop_every_connection_again_and_again(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    for _ in range(4):
        product.redis.client_kill_filter(_type="normal", skipme=True)
        time.sleep(0.3)
    ends_well(product, load, releases)


def test_redis_may_lose_its_data(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
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
    load = under_way(product, releases)
    product.redis.config_set("maxmemory", 1)
    try:
        time.sleep(3.0)
    finally:
        product.redis.config_set("maxmemory", limit)
    ends_well_or_when_resumed(product, load, releases, "Redis is full")


def test_redis_may_come_back_without_its_last_second(product: Product, releases: Path) -> None:
    """What it has on disk is a second old at most; a power failure costs what came later."""
    load = under_way(product, releases)
    (on_disk,) = product.stack.home.glob("*/appendonlydir")
    older = on_disk.with_name("older")
    shutil.copytree(on_disk, older)
    wait_until(
        lambda: load.poll() is not None or any(run.tally.read >= RELEASES / 2 for run in runs(product)),
        "half of the load is done",
    )
    kill([server(product, "valkey")])
    shutil.rmtree(on_disk)
    older.rename(on_disk)
    product.workers(2)  # starts what does not run
    code, _, errors = ended(load)
    if code == 7:
        assert "load again" in errors or "repeat it" in errors
        assert product.load(releases)["releases"]["read"] == RELEASES
        is_exact(product, releases)
    else:
        is_exact_or_when_resumed(product, releases, code, errors, "Redis")

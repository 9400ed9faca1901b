"""A load that is killed, interrupted, suspended, or started twice."""

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.crashing import CRASHES
from tests.acceptance.faults.harness import (
    HURRIED,
    SMALL,
    ended,
    ends_well,
    ends_well_when_resumed,
    is_exact,
    server,
    standing_still,
    start,
    wait_until,
)
from tests.acceptance.nodes import Setup
from workers.state.keys import EXCLUSIVE_LEASE, LOAD_LOCK, STATISTICS
from workers.state.statistics import StatisticsState


def test_a_load_may_be_killed_while_it_sends(product: Product, releases: Path) -> None:
    load = start(product, releases)
    with standing_still(product, load):
        load.kill()
    load.communicate()
    product.redis.expire("graphinator:load", 1)  # its lock would go by itself in 30 s
    wait_until(lambda: not product.redis.exists("graphinator:load"), "its lock has gone")
    wait_until(lambda: not product.redis.zcard("graphinator:in_flight"), "workers finish what was sent")
    ends_well_when_resumed(product, releases)


def test_the_same_load_twice_at_once_is_refused_and_does_no_harm(product: Product, releases: Path) -> None:
    load = start(product, releases)
    neo4j = server(product, "neo4j")
    try:
        with standing_still(product, load):
            neo4j.suspend()  # the first one cannot end before the second one has asked
        second = product.run("load", releases)
    finally:
        neo4j.resume()
    assert second.returncode == 5
    ends_well(product, load, releases)


def test_a_load_that_slept_while_another_one_ran_gives_up_when_it_wakes(
    product: Product, releases: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "releases.xml"
    newer.write_bytes(releases.read_bytes().replace(b"<title>", b"<title>New: "))
    older = start(product, releases)
    with standing_still(product, older):
        product.redis.expire("graphinator:load", 1)  # its lock would go by itself in 30 s
        wait_until(lambda: not product.redis.exists("graphinator:load"), "its lock has gone")
        product.load(newer, **HURRIED, **SMALL)
    code, _, errors = ended(older)
    assert code == 7
    assert "lost the lease on the load" in errors
    is_exact(product, newer)


def test_where_only_the_statistics_are_missing_resume_counts_them(product: Product, releases: Path) -> None:
    """As after a load that could not reach Redis at its very end."""
    product.load(releases, **SMALL)
    with product.driver() as driver, driver.session() as session:
        session.run("MATCH (style:Style) REMOVE style.release_count, style.genre_count").consume()
    product.redis.delete(STATISTICS)
    assert product.graph_differences([releases])
    result = product.run("resume", **HURRIED)
    assert result.stdout == "no load is to be resumed\n", result.stderr
    is_exact(product, releases)


@pytest.mark.parametrize(
    ("moment", "command", "said"),
    [
        ("the statistics are counted in part", "load", "statistics stale since"),
        (
            "the derived relationships are rebuilt in part",
            "finish --full",
            "derived relationships and statistics stale since",
        ),
    ],
)
def test_derived_data_is_stale_until_finish_has_ended(
    product: Product, celery_setup: Setup, releases: Path, moment: str, command: str, said: str
) -> None:
    arguments: tuple[object, ...] = ("load", releases)
    if command != "load":
        product.load(releases, **SMALL)
        arguments = ("finish", "--full")
        with product.driver() as driver, driver.session() as session:
            session.run(
                "MATCH (style:Style)<-[:IS]-(:Release)-[:IS]->(genre:Genre) MERGE (style)-[:PART_OF]->(genre)"
            ).consume()
    celery_setup.worker_cluster.scale(0)
    with celery_setup.worker_cluster.crashing(moment) as crashing:
        killed = product.start(*arguments, **HURRIED, **SMALL)
        wait_until(crashing.has_ended, "the worker has crashed")
        killed.kill()
    killed.communicate()
    assert product.graph_differences([releases])
    assert json.loads(product.run("status", "--json").stdout)["statistics"]["state"] == "stale"
    assert said in product.run("status").stdout
    verified = product.run("verify", releases, **SMALL)
    assert verified.returncode == 0
    assert verified.stdout.splitlines()[-1].startswith(said)
    for key in (LOAD_LOCK, EXCLUSIVE_LEASE):
        product.redis.expire(key, 1)  # they would go by themselves in 30 s
    celery_setup.worker_cluster.scale(2)
    wait_until(lambda: StatisticsState(product.redis).get().is_fresh, "a worker has repaired it")
    is_exact(product, releases)
    assert product.run("verify", releases, **SMALL).stdout.splitlines()[-1].startswith("statistics as of")


def test_a_worker_that_stood_still_during_finish_writes_no_old_statistics(
    product: Product, celery_setup: Setup, releases: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "releases.xml"
    newer.write_bytes(releases.read_bytes().replace(b"<style>", b"<style>New "))
    workers, moment = celery_setup.worker_cluster, "the statistics are counted in part"
    workers.scale(0)
    with workers.crashing(moment, signal="SIGSTOP") as worker:
        load = start(product, releases)
        wait_until(lambda: product.redis.get(CRASHES), "the worker stands still")
        product.redis.expire(EXCLUSIVE_LEASE, 1)  # it would go by itself in 30 s
        workers.scale(2)
        assert ended(load)[0] == 0
        product.load(newer, **HURRIED, **SMALL)
        worker.kill("SIGCONT")
        worker.assert_log_exists("lost the lease on an exclusive task", timeout=int(BOUND_SECONDS))
    is_exact(product, newer)

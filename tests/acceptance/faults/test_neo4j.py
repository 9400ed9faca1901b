"""A Neo4j that dies, does not answer, has no memory, no disk."""

import time
from pathlib import Path

import psutil

from tests.acceptance.conftest import Product
from tests.acceptance.faults.harness import (
    HURRIED,
    LONG,
    ended,
    ends_well,
    is_exact,
    kill,
    neo4j_configured,
    server,
    standing_still,
    start,
    suspended,
    wait_until,
)
from tests.acceptance.nodes import Setup


def test_neo4j_may_not_answer_for_a_while(product: Product, releases: Path) -> None:
    load = start(product, releases)
    suspended(product, load, server(product, "neo4j"), 60.0 if LONG else 8.0)
    ends_well(product, load, releases)


def test_neo4j_may_have_little_memory_for_transactions(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    with neo4j_configured(product, "db.memory.transaction.total.max=10m"):
        load = product.start("load", releases, "--json", **HURRIED, chunk_records=500)
        code, _, errors = ended(load)
        assert code == 0, errors
        said = "".join(worker.logs() for worker in celery_setup.worker_cluster)
        assert "too much for Neo4j at once" in said
    is_exact(product, releases)


def test_neo4j_may_have_a_full_disk_until_it_is_killed_and_comes_back(
    product: Product, releases: Path
) -> None:
    load = start(product, releases)
    neo4j = server(product, "neo4j")
    try:
        with standing_still(product, load):
            neo4j.rlimit(psutil.RLIMIT_FSIZE, (4096, 4096))  # no file may grow beyond that
        time.sleep(10.0 if LONG else 3.0)
        assert load.poll() is None
    finally:
        kill([neo4j])
    product.servers()
    ends_well(product, load, releases)


def test_a_write_that_waits_for_too_long_is_really_cut_off(product: Product, tmp_path: Path) -> None:
    dump = tmp_path / "labels.xml"
    dump.write_text("<labels><label><id>1</id><name>One</name></label></labels>")
    product.load(dump)
    dump.write_text("<labels><label><id>1</id><name>First</name></label></labels>")
    with product.driver() as driver, driver.session() as holding, driver.session() as looking:

        def waiting() -> set[str]:
            shown = looking.run("SHOW TRANSACTIONS YIELD transactionId, status, currentQuery")
            return {each["transactionId"] for each in shown if each["status"].startswith("Blocked")}

        with holding.begin_transaction() as transaction:
            transaction.run("MATCH (l:Label {id: 1}) SET l.held = true").consume()
            load = start(product, dump)
            first: set[str] = set()

            def waits() -> bool:
                first.update(waiting())
                return bool(first)

            wait_until(waits, "a transaction waits for the lock")
            wait_until(lambda: first.isdisjoint(waiting()), "the server has ended it")
            wait_until(waiting, "it is tried again")
            transaction.rollback()
    code, _, errors = ended(load)
    assert code == 0, errors
    is_exact(product, dump)

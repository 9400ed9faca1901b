"""`status` names whatever does not run, waits, or did not end well."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from pipeline.errors import printable
from pipeline.model import RecordType
from tests.acceptance.conftest import Product, without_workers
from tests.acceptance.faults.harness import TINY, kill, runs, server, start, wait_until
from tests.acceptance.nodes import Setup
from tests.acceptance.test_load import servers_of_ones_own
from tests.acceptance.test_updates import await_ingested, hand_over
from tests.conftest import end_keeper
from workers.state.in_flight import InFlight
from workers.state.keys import LOAD_LOCK
from workers.state.runs import RunEnd, RunPlan, Runs

NO_KEEPER = "the keeper does not run, so nothing is started again that ends: "


def shown(product: Product, **settings: object) -> dict[str, Any]:
    """Return the status."""
    status: dict[str, Any] = json.loads(product.run("status", "--json", **settings).stdout)
    return status


def checked(product: Product, **settings: object) -> list[str]:
    """Return the lines of `status --check`.

    They agree with its exit code and with the other formats. Most tests run without a keeper: its line is left out.
    """
    ended = product.run("status", "--check", **settings)
    lines = ended.stdout.splitlines()
    assert ended.returncode == (10 if lines else 0)
    assert [*map(printable, shown(product, **settings)["faults"])] == lines
    printed = product.run("status", **settings).stdout.splitlines()
    assert [line for line in printed if line.startswith("Warning: ")] == [
        f"Warning: {line}" for line in lines
    ]
    return [line for line in lines if not line.startswith(NO_KEEPER)]


def test_a_healthy_stack_has_no_fault_and_a_killed_keeper_or_worker_is_one(product: Product) -> None:
    product.stack.up(workers=2)
    wait_until(lambda: not product.run("status", "--check").stdout, "both workers answer")
    end_keeper(product.stack)
    assert product.run("status", "--check").stdout.startswith(NO_KEEPER)
    kill([server(product, "worker2")])
    (fault,) = checked(product)
    assert fault.startswith("1 of 2 workers run: `graphinator up --workers 2` starts the others; a log: ")
    assert fault.endswith("/logs/worker2.log")
    assert "workers  1 of 2" in product.run("status").stdout
    stack = shown(product)["stack"]
    assert (stack["workers"], stack["wanted_workers"], stack["idle_workers"]) == (1, 2, [])


@pytest.mark.parametrize(("name", "title"), [("valkey", "Valkey"), ("neo4j", "Neo4j")])
def test_a_server_that_stands_still_or_is_dead_is_named_within_seconds(
    product: Product, name: str, title: str
) -> None:
    product.workers(0)
    process = server(product, name)
    process.suspend()
    try:
        began = time.monotonic()
        product.run("status")
        assert time.monotonic() - began < 15
        (fault,) = checked(product)
    finally:
        process.resume()
    assert "not answer" in fault
    kill([process])
    (fault,) = checked(product)
    assert fault.startswith(f"{title} does not run: `graphinator up` starts it; its log: ")
    assert ("nodes" in shown(product)) == (name == "valkey")
    assert ("runs" in shown(product)) == (name == "neo4j")
    product.workers(0)
    assert checked(product) == []


def test_of_each_type_the_newest_load_counts(product: Product) -> None:
    stored = Runs(product.redis)

    def plan(run: str, record_type: RecordType, file: str) -> None:
        stored.plan(run, RunPlan(record_type, file, True, False, time.time(), "load:gone"))

    plan("labels-1", RecordType.LABELS, "/dumps/a.xml")
    plan("masters-1", RecordType.MASTERS, "/dumps/b.xml")
    stored.end("masters-1", RunEnd(time.time(), problems=["no such\nindex"]))
    assert checked(product) == [
        "labels-1 (a.xml) has stalled: `graphinator resume` continues it",
        r"masters-1 (b.xml) is incomplete: no such\nindex",
    ]
    plan("masters-2", RecordType.MASTERS, "/dumps/c.xml")
    stored.end("masters-2", RunEnd(time.time()))
    assert [line.split()[0] for line in checked(product)] == ["labels-1"]


def test_a_load_under_way_shows_since_when_how_far_and_in_which_batches(
    product: Product, celery_setup: Setup, sample: list[Path]
) -> None:
    start(product, sample[3], TINY)
    wait_until(lambda: any(run.tally.read >= 100 for run in runs(product)), "100 records are done")
    for worker in celery_setup.worker_cluster:
        worker.kill()
    wait_until(
        lambda: len(InFlight(product.redis)) == TINY["batches_in_flight"], "the load waits for workers"
    )
    status = shown(product)
    (run,) = status["runs"]
    printed = product.run("status").stdout
    assert run["state"] == "running"
    assert 0 < run["percent"] < 100
    assert run["started"] <= time.time()
    assert run["ended"] is None
    assert run["per_second"] > 0
    assert {*run["batches"]} == InFlight(product.redis).batches()
    assert len(run["batches"]) == run["batches_in_flight"] == status["batches_in_flight"]
    assert re.search(
        rf"^{run['run']}  {sample[3].name}  running  .* {run['percent']} % ", printed, re.MULTILINE
    )
    without_workers(product.stack)  # the messages of the dead ones would be redelivered in a later test


def test_records_of_upstream_tasks_are_seen_from_their_acceptance_on(
    product: Product, celery_setup_app: Celery
) -> None:
    product.redis.set(LOAD_LOCK, "load:another one")
    hand_over(
        celery_setup_app, RecordType.LABELS, *(f"<label><id>{id_}</id></label>" for id_ in range(1, 51))
    )
    (waiting,) = shown(product)["upstream"]
    assert (waiting["run"], waiting["waiting"], waiting["created"]) == ("ingest-labels", 50, 0)
    wait_until(lambda: shown(product)["upstream"][0]["waiting_seconds"] >= 1, "they grow old")
    assert re.search(r"^ingest-labels +50 +0:\d\d ", product.run("status").stdout, re.MULTILINE)
    product.redis.delete(LOAD_LOCK)
    await_ingested(product)
    status = shown(product)
    (written,) = status["upstream"]
    assert (written["waiting"], written["created"], written["batches"]) == (0, 50, [])
    assert status["runs"] == []


def test_servers_of_ones_own_are_checked(product: Product, tmp_path: Path) -> None:
    own = servers_of_ones_own(product, tmp_path)
    wait_until(lambda: not checked(product, **own), "the workers answer")
    (fault,) = checked(product, **{**own, "redis_url": "redis://127.0.0.1:9/0"})
    assert fault.startswith("Redis does not answer (")
    product.workers(0)
    assert checked(product, **own) == ["no worker takes work: `graphinator worker` starts one"]

"""Workers that die, or are replaced, at any moment."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from celery import Celery

from ops import worker
from tests.acceptance.conftest import Product
from tests.acceptance.faults.crashing import CRASHES, MOMENTS
from tests.acceptance.faults.harness import (
    HURRIED,
    LONG,
    crashing_worker,
    ended,
    ends_well,
    is_exact,
    is_under_way,
    kill,
    left_over,
    start,
    under_way,
    wait_until,
    workers,
)
from workers.app import QUEUES
from workers.settings import Settings


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_may_die_when(product: Product, releases: Path, moment: str) -> None:
    product.workers(0)
    with crashing_worker(product, moment) as crashing:
        load = start(product, releases)
        wait_until(lambda: crashing.poll() is not None, "the worker has crashed")
        assert crashing.returncode == -signal.SIGKILL
        assert int(product.redis.get(CRASHES) or 0) >= 1
    product.workers(2)
    ends_well(product, load, releases)


def test_what_a_dead_worker_had_taken_is_given_to_others_and_done_with(
    product: Product, releases: Path
) -> None:
    load = under_way(product, releases)
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


def test_a_worker_may_stand_still_until_others_have_done_its_work(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    asleep = workers(product)[0]
    asleep.suspend()
    try:
        code, _, errors = ended(load)
        assert code == 0, errors
        time.sleep(2 * HURRIED["visibility_timeout_seconds"] if LONG else 0)
    finally:
        asleep.resume()
    wait_until(
        lambda: not product.redis.exists("unacked", "normalise", "write"), "every message is done with"
    )
    is_exact(product, releases)


def test_workers_may_be_replaced_one_by_one(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    for process in workers(product):
        process.terminate()
        psutil.wait_procs([process], timeout=60)
        product.workers(2)
    ends_well(product, load, releases)


def test_a_worker_that_is_told_to_end_may_be_killed_while_it_does(product: Product, releases: Path) -> None:
    load = under_way(product, releases)
    for process in workers(product):
        process.terminate()
    kill(workers(product))
    product.workers(2)
    ends_well(product, load, releases)


def test_the_number_of_workers_may_change_under_way(product: Product, releases: Path) -> None:
    product.workers(1)
    load = under_way(product, releases)
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
    assert "a worker process ended, or ran out of memory, each time" in errors
    product.workers(2)
    product.load(dump)
    is_exact(product, dump)


def test_a_batch_that_is_too_much_for_the_memory_of_a_worker_is_given_up_and_named(
    product: Product, tmp_path: Path
) -> None:
    good, endless = tmp_path / "labels.xml", tmp_path / "releases.xml"
    good.write_text("<labels><label><id>1</id><name>One</name></label></labels>")
    notes = "long " * 11_000_000
    endless.write_text(
        f"<releases><release id='1'><title>t</title><notes>{notes}</notes></release></releases>"
    )
    product.workers(0)
    product.workers(1)
    product.load(good)  # its threads have started, its modules are loaded
    process = workers(product)[0]
    limit = process.memory_info().vms + 40 * 1024 * 1024  # room for two more threads
    process.rlimit(psutil.RLIMIT_AS, (limit, limit))
    code, result, errors = ended(product.start("load", endless, "--json", **HURRIED, record_bytes=60_000_000))
    assert code == 7
    assert result["complete"] is False
    assert "a worker process ended, or ran out of memory, each time" in errors
    product.workers(0)
    product.workers(1)
    product.load(endless, record_bytes=60_000_000)
    wait_until(lambda: not left_over(product), "nothing is left over")
    assert product.graph_differences([good, endless]) == []


def test_a_worker_that_lives_and_takes_no_work_is_not_healthy(product: Product, settings: Settings) -> None:
    deaf, other = (worker.node_name(product.stack.home, number) for number in (1, 2))

    def is_healthy(name: str) -> bool:
        check = [sys.executable, "-m", "ops.worker", name]
        environment = worker.environment(settings, product.stack.password_file)
        return subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0

    assert is_healthy(deaf)
    assert is_healthy(other)
    assert "given up its queues" not in product.run("status").stdout
    try:
        with Celery(broker=settings.redis_url, set_as_current=False) as app:
            for queue in QUEUES:
                app.control.cancel_consumer(queue, destination=[deaf])
            wait_until(lambda: not is_healthy(deaf), "it takes no work")
            assert app.control.ping(destination=[deaf])
        assert is_healthy(other)
        told = product.run("status", "--json").stdout
        assert json.loads(told)["stack"]["idle_workers"] == [1]
        assert "worker 1 has given up its queues" in product.run("status").stdout
    finally:
        product.workers(0)


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

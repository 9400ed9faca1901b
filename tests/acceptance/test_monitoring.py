"""Metrics, log lines and `graphinator health` of real workers and loads."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.stack.stack import Stack
from tests.acceptance.conftest import SAMPLE, Product, opened
from tests.acceptance.faults.harness import SMALL, ended, kill, logs, server, standing_still, wait_until
from tests.conftest import Neo4jServer
from workers.settings import Settings

TYPES = ("artists", "labels", "masters", "releases")

Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture
def taken() -> Iterator[int]:
    """The first port for metrics; another process has it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def watched(
    staffed: Stack, neo4j_server: Neo4jServer, settings: Settings, taken: int
) -> Iterator[tuple[Product, list[int]]]:
    """Two workers with metrics and JSON logs, and the ports of their metrics."""
    staffed.up(workers=0)
    stack = Stack(staffed.settings.model_copy(update={"metrics_port": taken, "log_format": "json"}))
    with opened(stack, neo4j_server, settings) as product:
        yield product, [int(line["event"].rpartition(":")[2].split("/")[0]) for line in starts(product)]
        product.workers(0)


def lines(product: Product) -> list[dict[str, str]]:
    """Return the log lines of the workers, but for a warning to root."""
    text = logs(product).split("\n{", 1)[-1]
    return [json.loads(line) for line in f"{{{text}".splitlines() if line.startswith("{")]


def starts(product: Product) -> list[dict[str, str]]:
    found = [line for line in lines(product) if line["event"].startswith("metrics: ")]
    assert len(found) == 2
    return found


def listening(pid: int) -> list[int]:
    """Return the ports at which a process listens."""
    sockets = psutil.Process(pid).net_connections("tcp")
    return [each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN]


def scrape(port: int) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        (sample.name.removeprefix("graphinator_"), tuple(sorted(sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: list[Samples], name: str, *labels: str) -> float:
    return sum(samples.get((name, tuple(sorted(labels))), 0) for samples in found)


def test_metrics_and_log_lines_tell_what_a_load_does(watched: tuple[Product, list[int]], taken: int) -> None:
    product, ports = watched
    # Usually the next two; other processes of this machine have ports, too.
    assert len({taken, *ports}) == 3
    assert taken < min(ports)
    load = product.start("load", SAMPLE, "--json", metrics_port=taken, **SMALL)
    wait_until(lambda: listening(load.pid), "the load has a port, too")
    assert scrape(listening(load.pid)[0])["worker_threads", ()] == 0
    with standing_still(product, load):
        found = scrape(ports[0])
        assert found["load_state", ("artists", "running")] == 1
        assert found["load_state", ("labels", "waiting")] == 1
        assert found["records_read_total", ("artists", "load")] >= 100
        assert 0 < found["load_done_ratio", ("artists",)] < 1
        assert 0 <= found["oldest_batch_seconds", ()] < 600
    code, report, _ = ended(load)
    assert code == 0
    found_all = [scrape(port) for port in ports]
    for name in TYPES:
        counts = report[name]
        for found in found_all:
            assert found["records_read_total", tuple(sorted(("load", name)))] == counts["read"] == 1000
            for outcome in ("unchanged", "created", "changed", "vanished", "quarantined"):
                assert found["records_total", tuple(sorted(("load", name, outcome)))] == counts[outcome]
            assert found["load_state", tuple(sorted((name, "finished")))] == 1
        assert total(found_all, "batch_records_sum", name) == 1000
    batches = sum(total(found_all, "batch_seconds_count", name) for name in TYPES)
    assert batches >= 4 * 1000 / 100
    assert total(found_all, "task_seconds_count", "graphinator.write_batch", "SUCCESS") >= batches
    assert total(found_all, "worker_threads") == 6
    assert all(found["redis_up", ()] == found["neo4j_up", ()] == 1 for found in found_all)

    ends = [line for line in lines(product) if line["logger"] == "celery.app.trace"]
    named = [line for line in ends if "normalise" in line["event"] or "write_batch" in line["event"]]
    assert len(named) >= 2 * batches
    for line in named:
        assert line["run"].startswith(line["record_type"])
        assert line["batch"].startswith(f"{line['run']}-")
    removals = [line for line in ends if "remove_vanished" in line["event"]]
    assert {line["record_type"] for line in removals} == {*TYPES}
    assert all("batch" not in line for line in removals)


def test_a_worker_works_where_no_port_is_to_be_had(product: Product, sample: list[Path]) -> None:
    load = product.start("load", sample[1], "--json", metrics_port=9808, metrics_address="192.0.2.1")
    code, report, errors = ended(load)
    assert (code, report["labels"]["created"]) == (0, 1000)
    assert "no metrics: cannot listen at 192.0.2.1" in errors


def test_a_server_that_is_gone_shows_in_metrics_and_health(watched: tuple[Product, list[int]]) -> None:
    product, ports = watched

    def health(*options: str) -> tuple[int, str]:
        ended = product.run("health", *options)
        return ended.returncode, ended.stdout

    wait_until(lambda: health() == (0, "healthy\n"), "both workers answer")
    kill([server(product, "neo4j")])
    wait_until(lambda: scrape(ports[0])["neo4j_up", ()] == 0, "it is seen from the first worker")
    code, text = health()
    assert (code, text[:26]) == (1, "Neo4j: Couldn't connect to")
    wait_until(lambda: health("--liveness") == (0, "healthy\n"), "workers live without it")
    kill([server(product, "valkey")])
    found = scrape(ports[1])
    assert found["redis_up", ()] == 0
    assert ("batches_in_flight", ()) not in found
    assert health("--readiness")[0] == 1
    product.workers(2)
    wait_until(
        lambda: scrape(ports[0])["neo4j_up", ()] == scrape(ports[0])["redis_up", ()] == 1, "both are back"
    )
    wait_until(lambda: health() == (0, "healthy\n"), "all answers")

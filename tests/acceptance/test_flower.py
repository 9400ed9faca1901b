"""Flower: readable tasks, no password on its pages, its life beside the stack."""

import base64
import json
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from celery import Celery, chain

from ops.stack import flower, worker_process
from ops.stack.ports import choose
from ops.stack.process import Daemon
from pipeline.model import RecordType
from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.harness import kill, server, wait_until
from tests.acceptance.test_load import servers_of_ones_own
from tests.acceptance.test_status import checked
from tests.acceptance.test_updates import await_ingested, ingest, written
from tests.conftest import end_keeper
from workers.app import QUEUES

BATCH = r"discogs_20200806_labels\.xml\.gz, batch labels-\w+-1-1"
#: By name of a task: patterns of its arguments and its result.
SHOWN = {
    "graphinator.normalise": (rf"1,000 labels, chunk 1 of 1, {BATCH}", "{'rows': 1000}"),
    "graphinator.write_batch": (rf"1,000 labels, {BATCH}", "{'created': 1000}"),
    "graphinator.remove_vanished": (
        r"the removal of labels that discogs_20200806_labels\.xml\.gz lacks",
        "{}",
    ),
    "graphinator.finish": ("the statistics", "{'counted': True}"),
    "graphinator.ingest": ("2 labels", "{'task_id': .*'accepted': 2.*}"),
    "graphinator.written": (r"\({'task_id': .*'accepted': 2.*}.*\)", "{'task_id': .*'written': .*}"),
}


class Page:
    """Flower, as a browser sees it."""

    def __init__(self, url: str, password: str) -> None:
        self._url = url
        login = base64.b64encode(f"flower:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}"}

    def get(self, path: str) -> str:
        with urlopen(Request(self._url + path, headers=self._headers), timeout=60) as answer:  # noqa: S310 - http
            text: str = answer.read().decode()
        return text

    def tasks(self, name: str) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads(self.get(f"/api/tasks?taskname={name}"))
        return [*found.values()]

    def await_ended(self, name: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until the tasks of that name, at least so many, have succeeded."""
        found: list[dict[str, Any]] = []

        def are_ended() -> bool:
            found[:] = self.tasks(name)
            return len(found) >= number and {task["state"] for task in found} == {"SUCCESS"}

        wait_until(are_ended, f"{name} has ended")
        return found


@pytest.fixture
def page(product: Product) -> Iterator[Page]:
    """Flower beside the workers of the stack, without the tasks of earlier tests."""
    shutil.rmtree(product.stack.home / "flower", ignore_errors=True)
    product.run("up", "--flower")
    shown = json.loads(product.run("up", "--json").stdout)["flower"]
    end_keeper(product.stack)
    try:
        yield Page(shown["url"], Path(shown["password_file"]).read_text().strip())
    finally:
        product.run("up", "--no-flower")
        assert Daemon(product.stack.home, "flower").pid() is None
        product.workers(2)


def call(app: Celery) -> None:
    labels = ("<label><id>1</id></label>", "<label><id>2</id></label>")
    chain(ingest(app, RecordType.LABELS, *labels), written(app)).delay().get(timeout=BOUND_SECONDS)


def log(product: Product) -> str:
    return Daemon(product.stack.home, "flower").log.read_text()


def test_each_task_ends_with_arguments_and_a_result_that_a_person_understands(
    product: Product, celery_setup_app: Celery, page: Page, sample: list[Path]
) -> None:
    product.load(sample[1])
    call(celery_setup_app)
    await_ingested(product)
    for name, patterns in SHOWN.items():
        task = min(page.await_ended(name), key=lambda each: each["received"])
        for pattern, text in zip(patterns, (task["args"], task["result"]), strict=True):
            assert re.fullmatch(pattern, text), (name, text)
        assert (task["kwargs"], task["retries"], task["runtime"] > 0) in (("{}", 0, True), ("", 0, True))
    found = json.loads(page.get("/api/workers?refresh=1"))
    names = {worker_process.node_name(product.stack.home, number) for number in (1, 2)}
    assert found.keys() == names
    for worker in found.values():
        assert [queue["name"] for queue in worker["active_queues"]] == [*QUEUES]
        assert worker["stats"]["pool"]["max-concurrency"] == 3


def test_a_task_that_waits_for_neo4j_is_seen_as_a_retry_with_the_same_arguments(
    product: Product, celery_setup_app: Celery, page: Page
) -> None:
    await_ingested(product)  # else the statistics, which go first, would wait for Neo4j
    kill([server(product, "neo4j")])
    call(celery_setup_app)

    def retried() -> list[str]:
        return [task["args"] for task in page.tasks("graphinator.write_batch") if task["retries"]]

    wait_until(retried, "a retry was received")
    product.workers(2)
    (task,) = page.await_ended("graphinator.write_batch")
    assert [task["args"]] == retried()
    assert re.fullmatch(r"2 labels, upstream tasks, batch ingest-labels-\w+", task["args"])


def test_a_password_is_on_no_page_of_flower_and_in_no_list_of_processes(
    product: Product, celery_setup_app: Celery, page: Page, sample: list[Path]
) -> None:
    product.load(sample[1])
    (task, *_) = page.await_ended("graphinator.write_batch")
    name = quote(worker_process.node_name(product.stack.home, 1))
    paths = [
        *("/", "/workers", f"/worker/{name}", "/tasks", f"/task/{task['uuid']}", "/broker", "/metrics"),
        *("/api/workers?refresh=1", "/api/tasks", "/api/queues/length", "/healthcheck"),
    ]
    places = {path: page.get(path) for path in paths}
    places["log"] = log(product)
    places["command line"] = " ".join(server(product, "flower").cmdline())
    for file in ("flower.password", "neo4j.password", "redis.password"):
        path = product.stack.home / file
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [place for place, text in places.items() if not text or path.read_text().strip() in text] == []
    with pytest.raises(HTTPError, match="401"):
        Page(page._url, "wrong").get("/tasks")


def test_flower_outlives_a_restart_of_redis_and_is_started_again_when_it_is_killed(
    product: Product, page: Page, sample: list[Path]
) -> None:
    assert "Flower   http://127.0.0.1:" in product.run("status").stdout
    kill([server(product, "valkey")])
    product.workers(2)
    product.load(sample[1])
    page.await_ended("graphinator.finish")
    assert "Traceback" not in log(product)
    kill([server(product, "flower")])
    (fault,) = checked(product)
    assert fault.startswith("Flower does not run: `graphinator up` starts it; its log: ")
    product.workers(2)
    assert checked(product) == []


def test_flower_and_a_worker_for_servers_of_ones_own_work_and_end_orderly(
    product: Product, tmp_path: Path, sample: list[Path]
) -> None:
    product.workers(0)
    own = servers_of_ones_own(product, tmp_path)
    port = choose()
    watcher = product.start("flower", f"--port={port}", **own)
    worker = product.start("worker", "--hostname=own@here", "--concurrency=2", "--pool=prefork", **own)
    wait_until(lambda: flower.is_ready(port), "Flower answers")
    with Celery(broker=product.endpoints().broker_url(), set_as_current=False) as app:
        wait_until(lambda: worker_process.active_workers(app) == {"own@here"}, "the worker takes work")
    product.load(sample[1], **own)
    page = Page(f"http://127.0.0.1:{port}", (tmp_path / "flower.password").read_text().strip())
    (task, *_) = page.await_ended("graphinator.write_batch")
    assert task["worker"] == "own@here"
    again = product.run("flower", f"--port={port}", **own)
    assert again.stderr == f"Error: port {port} is taken; --port names another\n"
    # After Ctrl-C, a worker of Celery ends as orderly as this, with exit code 1.
    for process, number in ((watcher, signal.SIGINT), (worker, signal.SIGTERM)):
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in output + errors


@pytest.mark.parametrize("command", ["worker", "flower"])
def test_without_servers_a_command_is_one_line(product: Product, tmp_path: Path, command: str) -> None:
    refused = product.run(command, home=tmp_path)
    assert refused.stderr.startswith(
        "Error: the stack is not running; start it with `graphinator up`, or set "
    )
    assert refused.returncode == 2

"""Random kills: of workers in one load, of everything beside many loads and calls."""

import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.model import RecordType
from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.harness import (
    HURRIED,
    LONG,
    RELEASES,
    TINY,
    ends_well,
    standing_still,
    start,
)
from tests.acceptance.nodes import Setup
from tests.acceptance.test_updates import await_ingested
from tests.graph_dump import differences, read_graph_at_once
from tests.integration.history import Newest, Plain, draw_record, to_xml, write_dump
from workers.state.keys import LOAD_LOCK
from workers.state.runs import Run, Runs, RunState

#: Each kill waits for a number of records to be done drawn at random, so that all of them fall into the load.
KILLS = 50 if LONG else 4
SEEDS = range(10 if LONG else 1)
#: Faults beside one another, in an order drawn at random.
FAULTS = 12 if LONG else 4
#: Time after which a caller takes its call for lost.
CALL_SECONDS = 30.0
UNFINISHED = {RunState.WAITING, RunState.RUNNING, RunState.STALLED}

Answer = TypeVar("Answer")


def test_workers_may_be_killed_at_random_all_through_a_load(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    draw = random.Random(KILLS)
    load = start(product, releases, TINY)
    for records in sorted(draw.sample(range(1, RELEASES - 100), KILLS)):
        # The other worker would do all the rest while a new one starts.
        with standing_still(product, load, records):
            worker = draw.choice(celery_setup.worker_cluster.nodes)
            worker.kill()
            worker.restart()
    ends_well(product, load, releases)


@pytest.mark.timeout(2 * BOUND_SECONDS * len(SEEDS))
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_killed_the_graph_is_that_of_the_newest_versions(
    product: Product, tmp_path: Path, seed: int
) -> None:
    world = World(product, tmp_path, random.Random(seed))
    world.command("down")
    world.command("up", "--workers", "2")
    caller, faults = threading.Thread(target=world.call), threading.Thread(target=world.strike)
    caller.start()
    faults.start()
    try:
        for month in world.months():
            world.load(month)
            if not faults.is_alive():
                break
    finally:
        world.ending.set()
        faults.join()
        caller.join()
    assert world.errors == []
    assert world.calls > 0
    await_ingested(product)
    with product.driver() as driver, driver.session() as session:
        found = read_graph_at_once(session, ignoring=frozenset())
    assert differences(world.newest.graph(tmp_path), found) == []
    world.command("down")
    assert world.processes() == []


class World:
    """A stack with its operator, an upstream caller, and faults."""

    def __init__(self, product: Product, folder: Path, draw: random.Random) -> None:
        self._product = product
        self._folder = folder
        self._draw = draw
        #: Held while a load begins, or a call is under way: their order is known then.
        self._order = threading.Lock()
        self._load: subprocess.Popen[str] | None = None
        self._url = product.endpoints().broker_url()
        self.newest = Newest()
        self.ending = threading.Event()
        self.calls = 0
        self.errors: list[str] = []

    def months(self) -> Iterator[dict[RecordType, list[Plain]]]:
        """Yield two months again and again."""
        while True:
            for first, seed in ((1, 0), (5, 1)):
                yield {
                    record_type: [
                        self._record(record_type, id_, seed + id_ % 4) for id_ in range(first, first + 150)
                    ]
                    for record_type in RecordType
                }

    # The operator

    def load(self, month: dict[RecordType, list[Plain]]) -> None:
        """Load a month, and resume it until it is complete."""
        while month:
            self._begin(month)
            while unfinished := [run for run in self._runs() if run.state in UNFINISHED]:
                for run in unfinished:
                    self._release(run.plan.holder)
                self._wait(self._start("resume"))
            failed = {run.record_type for run in self._newest_runs() if run.state is RunState.FAILED}
            month = {record_type: month[record_type] for record_type in failed if record_type in month}

    def _begin(self, month: dict[RecordType, list[Plain]]) -> None:
        dumps = [write_dump(self._folder, record_type, records) for record_type, records in month.items()]
        with self._order:
            before, begun = {run.name for run in self._runs()}, set[RecordType]()
            load = self._start("load", "--allow-vanish", *dumps)
            while len(begun) < len(dumps):
                has_ended = load.poll() is not None
                begun = {run.record_type for run in self._runs() if run.name not in before}
                if has_ended and begun:
                    break  # it was killed while it began
                if has_ended:
                    load = self._start("load", "--allow-vanish", *dumps)
                time.sleep(0.05)
            for record_type in begun:
                self.newest.load(record_type, month[record_type], partial=False)
        self._wait(load)
        if left := month.keys() - begun:
            self._begin({record_type: month[record_type] for record_type in left})

    def _release(self, holder: str) -> None:
        """Take the lock of a dead load, which would go by itself in 30 s."""
        if insist(lambda: self._product.redis.get(LOAD_LOCK)) == holder.encode():
            insist(lambda: self._product.redis.delete(LOAD_LOCK))

    def _runs(self) -> list[Run]:
        return insist(lambda: list(Runs(self._product.redis)))

    def _newest_runs(self) -> list[Run]:
        return [*{run.record_type: run for run in self._runs()}.values()]

    def _start(self, *arguments: object) -> "subprocess.Popen[str]":
        self._load = self._product.start(*arguments, **HURRIED, **TINY)
        return self._load

    def _wait(self, load: "subprocess.Popen[str]") -> None:
        _, errors = load.communicate(timeout=BOUND_SECONDS)
        if "Traceback" in errors:
            self.errors.append(errors)

    # The upstream caller

    def call(self) -> None:
        """Hand over a few records, again and again, each time to the end."""
        number = 0
        while not self.ending.is_set():
            record_type = self._draw.choice(list(RecordType))
            ids = self._draw.sample(range(1, 200), 5)
            records = [self._record(record_type, id_, number) for id_ in ids]
            with self._order:
                summary = self._handed_over(f"call-{number}", record_type, records)
                if (summary["accepted"], summary["superseded"]) != (5, 0):
                    self.errors.append(f"a call answered {summary}")
                self.newest.ingest(record_type, records)
            self.calls += 1
            number += 1
            time.sleep(0.05)

    def _handed_over(self, call: str, record_type: RecordType, records: list[Plain]) -> Any:
        """Send a call, again after a while without an answer, until it answers."""
        given = [to_xml(record_type, record) for record in records]
        while True:
            with (
                suppress(OperationalError, RedisError, OSError),
                Celery("upstream", broker=self._url, set_as_current=False) as app,
            ):
                app.send_task("graphinator.ingest", (record_type.value, given), queue="ingest", task_id=call)
                deadline = time.monotonic() + CALL_SECONDS
                while time.monotonic() < deadline:
                    if result := self._product.redis.get(f"celery-task-meta-{call}"):
                        return json.loads(result)["result"]
                    time.sleep(0.05)

    @staticmethod
    def _record(record_type: RecordType, id_: int, seed: int) -> Plain:
        record = {**draw_record(record_type, 100, seed), "id": id_}
        if "name" in record:
            record["name"] = f"{record_type.label} {id_}"
        return record

    # The faults

    def strike(self) -> None:
        """Let some faults strike; after each, `up` gives a working stack."""
        faults: list[Callable[[], None]] = [
            lambda: self._kill_process("celery"),
            lambda: self._kill_process("valkey"),
            lambda: self._kill_process("neo4j"),
            lambda: self._kill_process(""),
            self._kill_load,
            lambda: self._cut_off("up", "--workers", "3"),
            lambda: self._cut_off("down"),
        ]
        try:
            for _ in range(FAULTS):
                time.sleep(self._draw.uniform(0.2, 3))
                self._draw.choice(faults)()
                if self._draw.random() < 0.7:
                    self.command("up", "--workers", "2")
            self.command("up", "--workers", "2")
        except Exception as error:  # noqa: BLE001 - the test shows it
            self.errors.append(repr(error))

    def command(self, *arguments: object) -> None:
        """Run a command of the stack to its end."""
        ended = self._command(*arguments)
        _, errors = ended.communicate(timeout=BOUND_SECONDS)
        if ended.returncode:
            self.errors.append(f"{arguments}: {errors}")

    def processes(self) -> list[psutil.Process]:
        """Return the processes of the stack."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                of_home = process.environ().get("GRAPHINATOR_HOME") == str(self._product.stack.home)
                if of_home and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _command(self, *arguments: object) -> "subprocess.Popen[str]":
        settings = {**HURRIED, "ingest_seconds": 1, "statistics_seconds": 1}
        return self._product.start(*arguments, **settings)

    def _kill_process(self, name: str) -> None:
        """Kill a process of this name, or every one of the stack."""
        found = [
            each for each in self.processes() if each.pid != self._pid() and name in " ".join(each.cmdline())
        ]
        for process in found if not name else found and [self._draw.choice(found)]:
            process.kill()

    def _pid(self) -> int:
        return 0 if self._load is None else self._load.pid

    def _kill_load(self) -> None:
        if self._load is not None:
            self._load.kill()

    def _cut_off(self, *arguments: object) -> None:
        command = self._command(*arguments)
        time.sleep(self._draw.uniform(0, 6))
        command.kill()
        command.communicate()


def insist(ask: Callable[[], Answer]) -> Answer:
    """Ask Redis until it answers."""
    deadline = time.monotonic() + BOUND_SECONDS
    while True:
        try:
            return ask()
        except RedisError:
            assert time.monotonic() < deadline
            time.sleep(0.1)

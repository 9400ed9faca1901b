"""Faults, and assertions after them."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from ops.stack import neo4j
from ops.stack.files import exclusive
from ops.stack.launch import START_LINE
from ops.stack.process import Daemon
from ops.stack.stack import Stack
from ops.stack.state import load_state
from tests.acceptance.conftest import BOUND_SECONDS, Product
from workers.state.keys import LOAD_LOCK
from workers.state.runs import Run, Runs, RunState
from workers.upstream.quarantine import Quarantine

#: Settings that detect faults within seconds.
HURRIED = {"batch_timeout_seconds": 5, "visibility_timeout_seconds": 15, "resend_after_seconds": 2}
#: Small batches, so that a sample dump becomes many.
SMALL = {"chunk_records": 50, "chunks_per_batch": 2, "batches_in_flight": 4}
#: Smaller batches, for repeated faults during one load.
TINY = {"chunk_records": 10, "chunks_per_batch": 1, "batches_in_flight": 4}
#: Set by `make chaos`.
LONG = "CHAOS" in os.environ
#: Records in the sample dump.
RELEASES = 1000


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Poll until `holds` is true; fail after `BOUND_SECONDS`."""
    end = time.monotonic() + BOUND_SECONDS
    while not holds():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)


def server(product: Product, name: str) -> psutil.Process:
    """Return the process of `valkey` or `neo4j`."""
    return psutil.Process(Daemon(product.stack.home, name).pid())


def kill(processes: list[psutil.Process]) -> None:
    """Send SIGKILL and wait."""
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=BOUND_SECONDS)


@contextmanager
def neo4j_configured(product: Product, *lines: str) -> Iterator[psutil.Process]:
    """Restart Neo4j with additional configuration lines."""
    daemon = Daemon(product.stack.home, "neo4j")
    old = server(product, "neo4j")
    command, environment = old.cmdline(), old.environ()
    old.terminate()
    psutil.wait_procs([old], timeout=BOUND_SECONDS)
    with (product.stack.home / "neo4j" / "conf" / "neo4j.conf").open("a", encoding="utf-8") as configuration:
        configuration.writelines(f"{line}\n" for line in lines)
    with exclusive(product.stack.home / "stack.lock") as held:
        daemon.start(command, environment, held)
    try:
        ports = load_state(product.stack.home).ports
        password = product.stack.password_file.read_text().strip()
        wait_until(lambda: neo4j.is_ready(ports["bolt"], ports["http"], password), "Neo4j answers")
        yield server(product, "neo4j")
    finally:
        kill([server(product, "neo4j")])
        product.servers()  # restarts Neo4j with its usual configuration


def logs(product: Product) -> str:
    """Read the logs of the stack's workers, each since its last start."""
    texts = [path.read_text() for path in (product.stack.home / "logs").glob("worker*.log")]
    return "".join(text.rpartition(START_LINE)[2] for text in texts)


def ended(load: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    """Wait for a load and return exit code, JSON and errors."""
    output, errors = load.communicate(timeout=BOUND_SECONDS)
    assert "Traceback" not in errors
    lines = output.splitlines()
    return load.returncode, json.loads(lines[-1]) if lines else {}, errors


@contextmanager
def standing_still(product: Product, load: "subprocess.Popen[str]", records: int = 100) -> Iterator[None]:
    """Suspend a load in its middle, after `records` records are done.

    So a fault always strikes during the load, however slow this machine is. Workers process the batches in flight.
    """
    sender = psutil.Process(load.pid)

    def is_under_way() -> bool:
        assert load.poll() is None, load.communicate()
        return any(run.state is RunState.RUNNING and run.tally.read >= records for run in runs(product))

    wait_until(is_under_way, f"{records} records are done")
    sender.suspend()
    try:
        assert product.redis.expire(LOAD_LOCK, 600)  # it cannot renew its lock
        (running,) = [run for run in runs(product) if run.state is RunState.RUNNING]
        assert running.tally.read < RELEASES, "the load was done already"
        yield
    finally:
        with suppress(psutil.NoSuchProcess):  # the fault may have ended it
            sender.resume()


def runs(product: Product) -> list[Run]:
    """Return the runs from Redis directly; the command would take too long."""
    return list(Runs(product.redis))


def left_over(product: Product) -> set[str]:
    """Return the keys of unfinished work.

    Interrupted chords expire, and messages of dead workers are redelivered after the visibility timeout.
    """
    return product.remains(cut_off=True) - {"unacked"}


def hurried(stack: Stack) -> Stack:
    """Return the stack with workers that detect faults soon."""
    return Stack(stack.settings.model_copy(update=HURRIED))


def suspended(
    product: Product, load: "subprocess.Popen[str]", process: psutil.Process, seconds: float
) -> None:
    """Suspend a server for some seconds in the middle of a load."""
    try:
        with standing_still(product, load):
            process.suspend()
        time.sleep(seconds)
    finally:
        process.resume()


def start(product: Product, dump: Path, size: Mapping[str, int] = SMALL) -> "subprocess.Popen[str]":
    return product.start("load", dump, "--json", **HURRIED, **size)


def is_exact(product: Product, dump: Path) -> None:
    """Assert that graph, quarantine and Redis are as after a load without faults."""
    wait_until(lambda: not left_over(product), "nothing is left over")
    differences = product.graph_differences([dump])
    assert not differences, differences[:20]
    assert not list(Quarantine(product.redis, limit_bytes=0))


def ends_well(product: Product, load: "subprocess.Popen[str]", dump: Path) -> None:
    code, result, errors = ended(load)
    assert code == 0, errors
    assert result["complete"] is True
    assert result["releases"]["read"] == RELEASES
    is_exact(product, dump)


def ends_well_or_when_resumed(product: Product, load: "subprocess.Popen[str]", dump: Path, said: str) -> None:
    """Assert success, or exit code 8 with `said` and then a successful resume."""
    code, _, errors = ended(load)
    is_exact_or_when_resumed(product, dump, code, errors, said)


def is_exact_or_when_resumed(product: Product, dump: Path, code: int, errors: str, said: str) -> None:
    """Do the same for a load that has ended."""
    if code:
        assert code == 8
        assert said in errors
        product.redis.delete(LOAD_LOCK)  # it would go by itself in 30 s
        resumed(product, dump)
    else:
        is_exact(product, dump)


def ends_well_when_resumed(product: Product, dump: Path) -> None:
    """Assert that the load is stalled and `resume` completes it."""
    assert [run.state for run in runs(product)][-1] is RunState.STALLED
    assert "graphinator resume" in product.run("status").stdout
    resumed(product, dump)
    assert [run.state for run in runs(product)] == [RunState.FINISHED]


def resumed(product: Product, dump: Path) -> None:
    """Run `resume` and assert an exact graph."""
    ended = product.run("resume", **HURRIED)
    assert ended.returncode == 0, ended.stderr
    is_exact(product, dump)

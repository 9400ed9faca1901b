"""The life of a stack.

Whatever is killed at whatever moment, the next `up` gives a working stack, and `down` leaves no process.
"""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError
from redis import Redis

from ops.stack.files import exclusive
from ops.stack.process import Daemon, running_roles
from ops.stack.state import Endpoints, read_endpoints
from tests.acceptance.conftest import BOUND_SECONDS, COMMAND
from tests.acceptance.faults.harness import wait_until
from tests.conftest import choose_ports

EVERYTHING = ["keeper", "neo4j", "valkey", "worker1"]


class Home:
    """A folder with a stack of its own, used through the command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        choose_ports(path)

    def run(self, *arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # type: ignore[call-overload,no-any-return]  # options of any kind
            [COMMAND, "--home", str(self.path), *arguments],
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    def start(self) -> "subprocess.Popen[bytes]":
        """Start `up`, without waiting for it."""
        return subprocess.Popen(
            [COMMAND, "--home", str(self.path), "up", "--workers", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def up(self) -> Endpoints:
        ended = self.run("up", "--workers", "1")
        assert ended.returncode == 0, ended.stderr
        return self.works()

    def works(self) -> Endpoints:
        """Assert that all parts run and answer."""
        endpoints = read_endpoints(self.path)
        assert endpoints is not None
        assert running_roles(self.path) == EVERYTHING
        login = (endpoints.neo4j_user, endpoints.password())
        with GraphDatabase.driver(endpoints.neo4j_uri, auth=login) as driver:
            driver.execute_query("MERGE (:Kept)", database_="neo4j")
        assert self.run("health").stdout == "healthy\n"
        return endpoints

    def down(self) -> None:
        ended = self.run("down")
        assert ended.returncode == 0, ended.stderr
        assert self.processes() == []

    def processes(self) -> list[psutil.Process]:
        """Return all processes that have to do with this home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                words = [*process.cmdline(), process.environ().get("GRAPHINATOR_HOME", ""), process.cwd()]
                alive = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
                if alive and any(f"{self.path}/" in f"{word}/" for word in words):
                    found.append(process)
        return found

    def power_failure(self) -> None:
        """Kill everything, and what that was about to start."""
        while processes := self.processes():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=BOUND_SECONDS)

    def pid(self, role: str) -> int:
        pid = Daemon(self.path, role).pid()
        assert pid is not None
        return pid

    def kill(self, role: str) -> None:
        process = psutil.Process(self.pid(role))
        process.kill()
        process.wait(BOUND_SECONDS)


@contextmanager
def opened(path: Path) -> Iterator[Home]:
    home = Home(path)
    try:
        yield home
    finally:
        home.run("down")
        home.power_failure()


@pytest.fixture(scope="module")
def home(classes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose stack has been started once."""
    with opened(tmp_path_factory.mktemp("life")) as home:
        home.up()
        yield home


def exists(name: str) -> Callable[[Path], object]:
    return lambda home: list(home.glob(name))


def runs(role: str) -> Callable[[Path], object]:
    return lambda home: Daemon(home, role).pid() is not None


#: In the order in which a first start reaches them.
MOMENTS = [
    exists("run"),
    runs("valkey"),
    exists("neo4j.password.new"),
    exists("neo4j/data/dbms/*"),
    exists("neo4j/data/databases/system"),
    exists("neo4j/data/databases/neo4j/*"),
    exists("neo4j.password"),
    runs("worker1"),
]


def test_whatever_is_killed_during_the_first_start_the_next_one_gives_a_working_stack(
    classes: None, tmp_path: Path
) -> None:
    with opened(tmp_path) as home:
        for turn, has_come in enumerate(MOMENTS):
            with home.start() as up:
                wait_until(lambda: has_come(home.path) or up.poll() is not None, "the moment")  # noqa: B023
                if turn % 2:
                    home.power_failure()
                up.kill()
            if turn % 2 == 0:
                home.down()
        endpoints = home.up()
        with (
            GraphDatabase.driver(endpoints.neo4j_uri, auth=("neo4j", "neo4j")) as driver,
            pytest.raises(AuthError),
        ):
            driver.verify_connectivity()
        home.down()


def test_whatever_dies_is_started_again_without_a_command(home: Home) -> None:
    # Celery restarts on SIGHUP and closes all descriptors before, the one of its lock among them.
    os.kill(home.pid("worker1"), signal.SIGHUP)
    for role in ("worker1", "valkey", "neo4j"):
        home.kill(role)
    wait_until(lambda: running_roles(home.path) == EVERYTHING, "the keeper starts all three")
    log = Daemon(home.path, "keeper").log.read_text()
    assert log.count("worker1 has ended: starting it again") == 1
    home.kill("keeper")
    home.kill("worker1")
    neo4j = home.pid("neo4j")
    home.up()
    assert home.pid("neo4j") == neo4j

    keeper = home.pid("keeper")
    with home.start() as up:
        wait_until(lambda: Daemon(home.path, "keeper").pid() != keeper, "it goes on without the keeper")
        up.send_signal(signal.SIGINT)
    home.works()


def full_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_down_stops_everything_while_the_disk_is_full(home: Home, tmp_path: Path) -> None:
    ended = home.run("down", preexec_fn=full_disk)
    assert ended.stdout == "stopped 1 worker, Valkey, Neo4j\n"
    assert home.processes() == []
    with opened(tmp_path / "other") as other:
        state = other.path / "stack.json"
        state.unlink()
        ended = other.run("up", preexec_fn=full_disk)
        assert (ended.returncode, other.processes()) == (4, [])
        assert ended.stderr == f"Error: cannot write {state}: File too large\n"
    with exclusive(tmp_path / "cron.lock") as descriptor:
        os.set_inheritable(descriptor, True)
        ended = home.run("up", "--workers", "1", pass_fds=[descriptor])
        assert ended.returncode == 0, ended.stderr
    with exclusive(tmp_path / "cron.lock", wait=False):
        home.works()


def test_too_little_memory_or_disk_is_said_before_anything_starts(tmp_path: Path) -> None:
    huge = {**os.environ, "GRAPHINATOR_NEO4J_HEAP_MEGABYTES": "65536"}
    with opened(tmp_path) as home:
        ended = home.run("up", "--workers", "256", env=huge)
        assert ended.returncode == 4
        assert ended.stderr.startswith("Error: too little memory: ")
        assert "GRAPHINATOR_NEO4J_HEAP_MEGABYTES (65,536)" in ended.stderr
        assert home.processes() == []
        assert not (tmp_path / "run").exists()
    # A file system of the kernel has no room at all.
    full = next(path for path in (Path("/proc"), Path("/dev")) if path.exists())
    ended = subprocess.run(
        [COMMAND, "--home", str(full / "graphinator"), "up"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 4
    assert ended.stderr.startswith("Error: too little disk: 0 MB free for ")


def test_a_torn_tail_of_the_append_only_file_is_cut_and_kept(home: Home) -> None:
    endpoints = home.up()
    for torn in (b"\0" * 1000, b"*3\r\n$3\r\nSET\r\n$4\r\nlost\r\n$100\r\nhalf"):
        with Redis.from_url(endpoints.broker_url()) as redis:
            redis.incr("kept")
            redis.waitaof(1, 0, 5000)
        for role in ("keeper", "worker1", "valkey"):
            home.kill(role)
        (path,) = home.path.glob("valkey/appendonlydir/*.incr.aof")
        whole = path.read_bytes()
        path.write_bytes(whole + torn)

        ended = home.run("up", "--workers", "1")
        kept = path.with_name(f"{path.name}.cut-at-{len(whole)}")
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.splitlines() == [
            f"the end of Valkey's append-only file was torn: {len(torn):,} bytes were cut and kept in {kept}",
            "starting the stack",
        ]
        assert kept.read_bytes() == torn
    with Redis.from_url(endpoints.broker_url()) as redis:
        assert redis.get("kept") == b"2"


def test_transaction_logs_stay_small(home: Home) -> None:
    endpoints = home.up()
    folder = home.path / "neo4j" / "data" / "transactions" / "neo4j"

    def megabytes() -> float:
        return sum(path.stat().st_size for path in folder.iterdir()) / 2**20

    login = (endpoints.neo4j_user, endpoints.password())
    with GraphDatabase.driver(endpoints.neo4j_uri, auth=login) as driver:
        for _ in range(60):
            driver.execute_query(
                "UNWIND range(1, 5000) AS i CREATE (:Large {text: $text + i})",
                text="x" * 2000,
                database_="neo4j",
            )
    wait_until(lambda: megabytes() < 450, "checkpoints leave less than the 750 MB that were written")


def test_a_stack_whose_saved_state_is_gone_can_be_stopped(home: Home) -> None:
    home.up()
    (home.path / "stack.json").unlink()
    ended = home.run("up")
    assert ended.returncode == 4
    assert ended.stderr.startswith(f"Error: {home.path / 'stack.json'} is gone")
    home.down()

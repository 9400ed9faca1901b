"""Processes, saved state, files and ports of the embedded stack."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ops.stack.files import exclusive, write_private
from ops.stack.keeper import Pauses
from ops.stack.launch import START_LINE
from ops.stack.logs import MAX_BYTES, last_line, rotate
from ops.stack.ports import LOOPBACK, answers, choose, is_free
from ops.stack.process import Daemon, running_roles, stop
from ops.stack.state import load_state
from pipeline.errors import StackError

WAIT = "import time; print('ready', flush=True); time.sleep(600)"

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, "ready", flush=True)
time.sleep(600)
"""

#: Says that it is ready at each SIGUSR1.
ECHO = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
while signal.sigwait({signal.SIGUSR1}):
    print("ready", flush=True)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    for folder in ("run", "logs"):
        (tmp_path / folder).mkdir()
    daemon = Daemon(tmp_path, "valkey")
    yield daemon
    stop([daemon], timeout_seconds=0)


def start(daemon: Daemon, code: str) -> int:
    with exclusive(daemon.home / "stack.lock") as held:
        daemon.start([sys.executable, "-c", code], os.environ, held)
    pid = daemon.pid()
    assert pid is not None
    return pid


def test_a_daemon_that_looks_for_all_that_run_keeps_its_lock(daemon: Daemon) -> None:
    asking = f"""
import os, time
from pathlib import Path
from ops.stack.process import Daemon, running_roles
daemon = Daemon(Path({str(daemon.home)!r}), "valkey")
Daemon.own = daemon.lock
assert running_roles(daemon.home) == ["valkey"]
print("ready", daemon.pid() == os.getpid(), flush=True)
time.sleep(600)
"""
    pid = start(daemon, asking)
    wait_until(lambda: "ready" in daemon.log.read_text())
    assert "ready True" in daemon.log.read_text()
    assert daemon.pid() == pid


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(daemon: Daemon) -> str:
    wait_until(lambda: daemon.log.read_text().endswith("ready\n"))
    return daemon.log.read_text()


def test_a_daemon_is_apart_from_us_and_ends_on_request(daemon: Daemon) -> None:
    assert running_roles(daemon.home) == []
    pid = start(daemon, WAIT)
    assert running_roles(daemon.home) == ["valkey"]
    assert os.getsid(pid) == pid
    stop([daemon], timeout_seconds=60)
    assert running_roles(daemon.home) == []
    assert not is_running(pid)


def test_a_daemon_that_has_ended_does_not_run(daemon: Daemon) -> None:
    os.kill(start(daemon, WAIT), signal.SIGKILL)
    wait_until(lambda: daemon.pid() is None)


def test_there_is_one_daemon_of_a_role_whoever_starts_it(daemon: Daemon) -> None:
    pid = start(daemon, WAIT)
    with pytest.raises(StackError, match=r"^cannot start valkey: another process holds .*valkey\.lock$"):
        start(daemon, WAIT)
    assert daemon.pid() == pid


def test_a_daemon_keeps_nothing_open_of_its_caller_but_its_lock(daemon: Daemon, tmp_path: Path) -> None:
    with exclusive(tmp_path / "cron.lock") as descriptor:
        os.set_inheritable(descriptor, True)
        pid = start(daemon, WAIT)
    said(daemon)
    opened = {Path(file.path).name for file in psutil.Process(pid).open_files()}
    assert opened == {"valkey.lock", "valkey.log"}
    with exclusive(tmp_path / "cron.lock", wait=False), exclusive(tmp_path / "stack.lock", wait=False):
        assert daemon.pid() == pid


def test_nobody_looks_for_a_daemon_before_it_has_its_lock(daemon: Daemon) -> None:
    """A killed caller's lock is free once its daemon has a lock of its own."""
    starter = """
import os, sys, threading
from pathlib import Path
from ops.stack import process
from ops.stack.files import exclusive
slow = Path(sys.argv[1], "slow.py")
slow.write_text("import time; time.sleep(1)\\n" + Path(process.launch.__file__).read_text())
process.launch.__file__ = str(slow)
threading.Timer(0.5, lambda: os.kill(os.getpid(), 9)).start()
with exclusive(Path(sys.argv[1], "stack.lock")) as held:
    process.Daemon(Path(sys.argv[1]), "valkey").start([sys.executable, "-c", sys.argv[2]], os.environ, held)
"""
    killed = subprocess.run([sys.executable, "-c", starter, str(daemon.home), WAIT], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert daemon.pid() is None
    with exclusive(daemon.home / "stack.lock"):
        assert daemon.pid() is not None


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_one_that_ignores_sigterm_is_killed_with_its_children(daemon: Daemon) -> None:
    start(daemon, STUBBORN)
    child = int(said(daemon).split()[-2])
    stop([daemon], timeout_seconds=0.2)
    assert daemon.pid() is None
    wait_until(lambda: not is_running(child))


def test_a_started_process_can_be_interrupted_and_does_not_hang_up(daemon: Daemon) -> None:
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    pid = start(daemon, WAIT)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    said(daemon)
    os.kill(pid, signal.SIGHUP)
    assert daemon.pid() == pid
    os.kill(pid, signal.SIGINT)
    wait_until(lambda: daemon.pid() is None)


def test_a_command_that_is_not_there_is_one_line(daemon: Daemon) -> None:
    with (
        exclusive(daemon.home / "stack.lock") as held,
        pytest.raises(StackError, match=r"^cannot start valkey: /no/such: No such file or directory$"),
    ):
        daemon.start(["/no/such"], {}, held)


JAVA = """Exception in thread "main" java.lang.RuntimeException: Error starting Neo4j at /home/me/neo4j
\tat org.neo4j.graphdb.facade.DatabaseManagementServiceFactory.startDatabaseServer(Factory.java:307)
Caused by: org.neo4j.kernel.lifecycle.LifecycleException
\t... 4 more
Caused by: java.nio.file.AccessDeniedException: /home/me/neo4j/data
\tat java.base/java.lang.Error.fail(Error.java:1)
Caused by: java.lang.NullPointerException
\t... 12 more
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("starting\nERROR the port is taken\nbye\n\n", "ERROR the port is taken"),
        (f"ERROR of yesterday\n{START_LINE}\nstarting\nbye\n\n", "bye"),
        (JAVA, "AccessDeniedException: /home/me/neo4j/data"),
        (f"{START_LINE}\n", "the log is empty"),
        ("", "the log is empty"),
        (None, "the log is empty"),
    ],
)
def test_the_last_error_of_a_log_is_a_message(tmp_path: Path, log: str | None, line: str) -> None:
    if log is not None:
        (tmp_path / "log").write_text(log)
    assert last_line(tmp_path / "log") == line


def test_a_large_log_is_rotated_while_its_daemon_writes(daemon: Daemon) -> None:
    start(daemon, f"print('ready', flush=True)\n{ECHO}")
    for turn in "abc":
        wait_until(lambda: daemon.log.read_text().endswith("ready\n"))
        with daemon.log.open("a") as log:
            log.write(turn * MAX_BYTES)
        rotate(daemon.log)
        assert daemon.log.stat().st_size < MAX_BYTES
        os.kill(daemon.pid() or 0, signal.SIGUSR1)
    wait_until(lambda: daemon.log.read_text() == "ready\n")
    rotate(daemon.log)
    logs = sorted(daemon.log.parent.iterdir())
    assert [path.name for path in logs] == ["valkey.log", "valkey.log.1", "valkey.log.2"]
    assert [path.read_text()[-1] for path in logs] == ["\n", "c", "b"]


def test_one_that_dies_at_each_start_is_tried_ever_more_seldom() -> None:
    pauses = Pauses()
    now = 0.0
    starts = []
    while now < 300.0:
        if pauses.is_due("worker1", now):
            starts.append(now)
        now += 0.5
    assert starts[:6] == [0, 1, 3, 7, 15, 31]
    assert starts[6:] == [63, 123, 183, 243]
    assert pauses.is_due("worker2", now)
    assert all(pauses.is_due("worker1", now + later) for later in (3600, 3601))


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"ports": {}, "servers": {}, "workers": {}}')
    with pytest.raises(StackError, match=r"stack\.json is not of this version"):
        load_state(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_taken_port_gives_way_to_the_next_preferred_or_a_free_one() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        taken = listener.getsockname()[1]
        assert answers(taken)
        assert not is_free(taken)
        free = choose(None, taken)
        assert free != taken
        assert choose(taken, free) == free


def test_a_port_that_is_bound_but_does_not_listen_is_taken_too() -> None:
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        assert not is_free(bound.getsockname()[1])


def test_a_free_port_that_is_preferred_is_taken_again_right_after_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            listener.accept()[0].close()
    assert choose(port) == port

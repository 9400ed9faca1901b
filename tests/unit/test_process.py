"""Processes, saved state, files and ports of the embedded stack."""

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ops.stack.files import write_private
from ops.stack.ports import LOOPBACK, answers, choose, is_free
from ops.stack.process import ProcessId, last_line, spawn, stop
from ops.stack.state import StackState, load_state, save_state
from pipeline.errors import StackError

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def start(tmp_path: Path, code: str) -> ProcessId:
    processes: list[ProcessId] = []
    process = spawn(
        [sys.executable, "-c", code], log=tmp_path / "it.log", environment=os.environ, record=processes.append
    )
    assert processes == [process]
    return process


def wait_for_log(log: Path) -> str:
    deadline = time.monotonic() + 60
    while not log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return log.read_text()


def test_a_process_is_apart_from_us_and_ends_on_request(tmp_path: Path) -> None:
    process = start(tmp_path, "import time; time.sleep(600)")
    assert process.is_alive()
    assert os.getsid(process.pid) == process.pid
    stop([process], timeout_seconds=60)
    assert not psutil.pid_exists(process.pid)


def test_another_process_with_the_same_pid_is_not_ours(tmp_path: Path) -> None:
    process = start(tmp_path, "import time; time.sleep(600)")
    reused = replace(process, started=process.started - 3600)
    assert not reused.is_alive()
    stop([reused], timeout_seconds=60)
    assert process.is_alive()
    stop([process], timeout_seconds=60)


def test_a_process_that_ended_is_not_alive_and_not_a_zombie(tmp_path: Path) -> None:
    process = start(tmp_path, "pass")
    deadline = time.monotonic() + 60
    while process.is_alive():
        assert time.monotonic() < deadline
    assert not psutil.pid_exists(process.pid)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_one_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    process = start(tmp_path, STUBBORN)
    child = int(wait_for_log(tmp_path / "it.log"))
    stop([process], timeout_seconds=0.2)
    assert not process.is_alive()
    deadline = time.monotonic() + 60
    while is_running(child):
        assert time.monotonic() < deadline


def test_a_new_start_keeps_the_last_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        process = start(tmp_path, f"print('{word}', flush=True); import time; time.sleep(600)")
        wait_for_log(tmp_path / "it.log")
        stop([process], timeout_seconds=60)
    assert (tmp_path / "it.log").read_text() == "second\n"
    assert (tmp_path / "it.log.old").read_text() == "first\n"


def test_a_started_process_can_be_interrupted(tmp_path: Path) -> None:
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    process = start(tmp_path, "import time; time.sleep(600)")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == held
    os.kill(process.pid, signal.SIGINT)
    deadline = time.monotonic() + 60
    while process.is_alive():
        assert time.monotonic() < deadline


def test_a_command_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"^cannot start /no/such: No such file"):
        spawn(["/no/such"], log=tmp_path / "log", environment={}, record=print)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("starting\nERROR the port is taken\nbye\n\n", "ERROR the port is taken"),
        ("starting\nbye\n\n", "bye"),
        ("", "the log is empty"),
        (None, "the log is empty"),
    ],
)
def test_the_last_error_of_a_log_is_found(tmp_path: Path, log: str | None, line: str) -> None:
    if log is not None:
        (tmp_path / "log").write_text(log)
    assert last_line(tmp_path / "log") == line


def test_the_state_forgets_ended_processes(tmp_path: Path) -> None:
    process = start(tmp_path, "import time; time.sleep(600)")
    gone = replace(process, started=process.started - 3600)
    save_state(
        tmp_path / "stack.json",
        StackState(
            ports={"bolt": 1}, servers={"valkey": process, "neo4j": gone}, workers={1: gone, 2: process}
        ),
    )
    state = load_state(tmp_path / "stack.json")
    assert (state.ports, state.servers, state.workers) == ({"bolt": 1}, {"valkey": process}, {2: process})
    stop([process], timeout_seconds=60)


def test_a_state_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"ports": []}')
    with pytest.raises(StackError, match=r"stack\.json cannot be read"):
        load_state(tmp_path / "stack.json")


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

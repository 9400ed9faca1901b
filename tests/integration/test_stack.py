"""The embedded stack: start, restart, crash, stop."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from celery import Celery
from neo4j import GraphDatabase
from redis import Redis
from redis.exceptions import AuthenticationError

from ops.stack import worker_process
from ops.stack.ports import LOOPBACK
from ops.stack.process import Daemon
from ops.stack.stack import Endpoints, Stack
from ops.stack.state import read_endpoints, running
from pipeline.chunk import Rejected
from pipeline.errors import SettingError, StackError
from pipeline.model import RecordType
from tests.conftest import choose_ports, end_keeper
from workers.app import QUEUES
from workers.settings import load_settings
from workers.upstream.quarantine import Quarantine

UP = """
import sys
from pathlib import Path
from ops.stack.stack import Stack
from workers.settings import load_settings
Stack(load_settings(home=Path(sys.argv[1]))).up(workers=0)
"""

UP_WORKER = UP.replace("workers=0", "workers=1")

QUARANTINED = Rejected(8, "mismatched tag", b"<label>\xff</label>")


def processes(stack: Stack) -> list[psutil.Process]:
    """Return the servers that run, then the workers."""
    roles = [role for role in running(stack.home).roles if role != "keeper"]
    return [process(stack, role) for role in roles]


def process(stack: Stack, role: str) -> psutil.Process:
    return psutil.Process(Daemon(stack.home, role).pid())


def up(stack: Stack, workers: int | None = 0) -> Endpoints:
    """Call `up`. Nobody restarts what a test kills."""
    endpoints = stack.up(workers)
    end_keeper(stack)
    return endpoints


def left_over(home: Path) -> list[str]:
    """Return command lines of processes that use the folder, without zombies."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                words = [*process.cmdline(), process.environ().get("GRAPHINATOR_HOME", ""), process.cwd()]
                found += (
                    [" ".join(process.cmdline())] if any(f"{home}/" in f"{word}/" for word in words) else []
                )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@contextmanager
def own_stack(home: Path) -> Iterator[Stack]:
    stack = Stack(load_settings(home=home))
    try:
        yield stack
    finally:
        stack.down()


def up_twice_at_once(stack: Stack) -> Endpoints:
    found: list[Endpoints] = []
    threads = [threading.Thread(target=lambda: found.append(up(stack))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    return found[0]


def remember(endpoints: Endpoints) -> None:
    with Redis.from_url(endpoints.broker_url()) as redis:
        redis.set("kept", "yes")
        Quarantine(redis, limit_bytes=10_000).add(RecordType.LABELS, "labels.xml", [QUARANTINED], "run")
        redis.waitaof(1, 0, 5000)
    with GraphDatabase.driver(
        endpoints.neo4j_uri, auth=(endpoints.neo4j_user, endpoints.password())
    ) as driver:
        driver.execute_query("CREATE (:Kept)")


def recalls(endpoints: Endpoints) -> bool:
    with Redis.from_url(endpoints.broker_url()) as redis:
        entries = [(entry.reason, entry.raw) for entry in Quarantine(redis, limit_bytes=10_000)]
        kept = redis.get("kept") == b"yes" and entries == [(QUARANTINED.reason, QUARANTINED.raw)]
    with GraphDatabase.driver(
        endpoints.neo4j_uri, auth=(endpoints.neo4j_user, endpoints.password())
    ) as driver:
        return kept and len(driver.execute_query("MATCH (n:Kept) RETURN n").records) == 1


def test_up_again_changes_nothing(stack: Stack, servers: Endpoints) -> None:
    remembered = (stack.home / "stack.json").read_bytes()
    before = processes(stack)
    assert up(stack) == servers
    assert (stack.home / "stack.json").read_bytes() == remembered
    assert processes(stack) == before


def test_endpoints_are_printed_as_json(stack: Stack, servers: Endpoints) -> None:
    printed = servers.to_json()
    assert printed["neo4j"]["uri"].startswith(f"bolt://{LOOPBACK}:")
    assert printed["neo4j"]["password_file"] == str(stack.home / "neo4j.password")
    assert printed["redis"]["url"].startswith(f"redis://{LOOPBACK}:")
    assert printed["redis"]["password_file"] == str(stack.home / "redis.password")
    assert printed["home"] == str(stack.home)
    assert printed["workers"] == 0


def test_passwords_are_the_owners_only_and_on_no_command_line(stack: Stack, servers: Endpoints) -> None:
    for path in (servers.password_file, servers.redis_password_file, stack.home / "stack.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for password in (servers.password(), servers.redis_password() or ""):
        assert len(password) >= 32
        for process in processes(stack):
            assert not any(password in word for word in process.cmdline())
            assert password not in process.environ().values()


def test_valkey_asks_for_its_password(servers: Endpoints) -> None:
    with Redis.from_url(servers.redis_url) as redis, pytest.raises(AuthenticationError):
        redis.ping()


def test_only_the_loopback_address_listens(stack: Stack) -> None:
    sockets = [connection for process in processes(stack) for connection in process.net_connections()]
    open_to = {connection.laddr.ip for connection in sockets if connection.status in ("LISTEN", "NONE")}
    assert open_to <= {LOOPBACK, f"::ffff:{LOOPBACK}"}
    assert len(open_to) >= 1


def test_valkey_is_durable_and_never_evicts(servers: Endpoints) -> None:
    with Redis.from_url(servers.broker_url()) as redis:
        options = redis.config_get("*")
    assert options["appendonly"] == "yes"
    assert options["maxmemory-policy"] == "noeviction"
    assert options["maxmemory"] == str(servers.megabytes["redis"] * 2**20)


def test_a_second_home_beside_it_keeps_its_data_over_down_and_over_a_crash(
    servers: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    home = tmp_path / "zweites Häuschen"
    choose_ports(home)
    with own_stack(home) as second:
        endpoints = up_twice_at_once(second)
        assert {endpoints.neo4j_uri, endpoints.redis_url, endpoints.browser}.isdisjoint(
            {servers.neo4j_uri, servers.redis_url, servers.browser}
        )
        assert len(left_over(second.home)) == 2
        remember(endpoints)

        assert set(second.down()) == {"valkey", "neo4j"}
        assert left_over(second.home) == []
        assert read_endpoints(second.home) is None
        assert second.down() == []

        assert up(second) == endpoints
        assert recalls(endpoints)

        valkey, neo4j = process(second, "valkey"), process(second, "neo4j")
        valkey.kill()
        valkey.wait(60)
        assert read_endpoints(second.home) is None
        assert up(second) == endpoints
        assert neo4j in processes(second)
        assert recalls(endpoints)
    assert left_over(second.home) == []


def takes_work(endpoints: Endpoints, name: str, *, within: float = 30.0) -> bool:
    with Celery(broker=endpoints.broker_url(), set_as_current=False) as app:
        return name in worker_process.active_workers(app, [name], within)


def test_the_number_of_workers_follows_each_up(stack: Stack, servers: Endpoints) -> None:
    names = [worker_process.node_name(stack.home, number) for number in (1, 2)]
    try:
        endpoints = up(stack, 2)
        assert endpoints.workers == 2
        assert all(takes_work(endpoints, name) for name in names)
        for process in processes(stack):
            assert servers.password() not in " ".join(process.environ().values())

        assert up(stack, 1).workers == 1
        assert takes_work(endpoints, names[0])
        assert not takes_work(endpoints, names[1], within=1.0)

        kept = processes(stack)[-1]
        kept.kill()
        kept.wait(60)
        assert up(stack, 1).workers == 1
        assert takes_work(endpoints, names[0])
        assert not takes_work(endpoints, names[1], within=1.0)
    finally:
        assert up(stack) == servers
    assert len(left_over(stack.home)) == 2


def test_up_without_a_number_stops_no_worker_and_replaces_those_that_take_no_work(
    stack: Stack, servers: Endpoints
) -> None:
    try:
        many = (os.cpu_count() or 1) + 1
        up(stack, many)
        *_, kept, deaf = processes(stack)
        with Celery(broker=servers.broker_url(), set_as_current=False) as app:
            for queue in QUEUES:
                app.control.cancel_consumer(
                    queue, destination=[worker_process.node_name(stack.home, many)], reply=True
                )
        assert stack.idle_workers() == [many]
        assert up(stack, None).workers == many
        assert stack.idle_workers() == []
        assert kept in processes(stack)
        assert deaf not in processes(stack)
    finally:
        up(stack)


def test_up_adopts_workers_started_by_a_killed_call(stack: Stack) -> None:
    try:
        with subprocess.Popen([sys.executable, "-c", UP_WORKER, str(stack.home)]) as starter:
            while not running(stack.home).workers():
                assert starter.poll() is None
                time.sleep(0.01)
            starter.kill()
        endpoints = up(stack, 1)
        assert takes_work(endpoints, worker_process.node_name(stack.home, 1))
    finally:
        up(stack)


def test_an_idle_worker_quits_at_once(stack: Stack) -> None:
    try:
        up(stack, 1)
        idle = processes(stack)[-1]
        idle.send_signal(signal.SIGQUIT)
        assert psutil.wait_procs([idle], timeout=60)[0] == [idle]
    finally:
        up(stack)


def test_a_failed_start_names_the_reason_and_stops_everything(tmp_path: Path) -> None:
    with own_stack(tmp_path) as stack:
        broken = tmp_path / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
        broken.parent.mkdir(parents=True)
        broken.write_text("not a manifest\n")
        with pytest.raises(StackError, match=r"^valkey ended while it started: .*\(log: .*valkey\.log\)$"):
            up(stack)
        assert read_endpoints(stack.home) is None
        assert left_over(tmp_path) == []


def test_a_lost_password_is_one_clear_line(tmp_path: Path) -> None:
    with own_stack(tmp_path) as stack:
        (tmp_path / "neo4j" / "data" / "databases" / "system").mkdir(parents=True)
        with pytest.raises(StackError, match=r"neo4j\.password is gone"):
            up(stack)
        assert left_over(tmp_path) == []


def test_a_home_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match=r"^cannot make .*file.*: Not a directory$"):
        Stack(load_settings(home=tmp_path / "file" / "home")).up(workers=0)


def test_settings_that_name_other_servers_are_refused(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, redis_url="redis://elsewhere:6379/0")
    with pytest.raises(SettingError, match="GRAPHINATOR_REDIS_URL is set"):
        Stack(settings).up(workers=0)


def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with own_stack(tmp_path) as stack, subprocess.Popen([sys.executable, "-c", UP, str(tmp_path)]) as starter:
        while "neo4j" not in running(tmp_path).roles:
            assert starter.poll() is None
            time.sleep(0.05)
        starter.send_signal(signal.SIGINT)
        assert starter.wait(300) != 0
        assert left_over(tmp_path) == []
        assert read_endpoints(stack.home) is None

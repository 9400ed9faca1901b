"""Flower: command line, login, health check."""

import secrets
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from ops.stack.files import write_private
from ops.stack.ports import LOOPBACK
from ops.stack.state import FLOWER_USER, flower_password_file
from ops.stack.worker_process import CELERY
from pipeline.errors import SettingError

PORT = 5555


def command(home: Path, port: int) -> list[str]:
    """Return the command line of Flower, which keeps the tasks in a folder of `home`."""
    options = {
        "address": LOOPBACK,
        "port": port,
        "read_only": True,
        "tasks_columns": "name,args,state,result,received,runtime,worker",
        # 10 KB each; the oldest go first.
        "max_tasks": 10_000,
        # Saved at its end only: meanwhile, for seconds on a busy machine, it answers nobody.
        "persistent": True,
        "db": home / "flower" / "tasks",
        "purge_offline_workers": 600,
        # A busy worker answers late.
        "inspect_timeout": 5000,
    }
    return [*CELERY, "flower", *(f"--{name}={value}" for name, value in options.items())]


def login(home: Path) -> dict[str, str]:
    """Return the environment variable with user and password; generate that before the first start.

    Raises:
        SettingError: Flower would take the password in the file for several.
    """
    for folder in (home, home / "flower"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = flower_password_file(home)
    if not file.exists():
        write_private(file, secrets.token_hex(20) + "\n")
    password = file.read_text(encoding="utf-8").strip()
    if "," in password or not password:
        raise SettingError(f"{file}: a password of Flower is not empty and has no comma")
    # From the environment, so that no list of processes shows it.
    return {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{password}"}


def is_ready(port: int) -> bool:
    """Return True once Flower answers."""
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()

"""One worker of the embedded stack: command line, environment, health."""

import hashlib
import os
import sys
from collections.abc import Collection
from pathlib import Path

from celery import Celery
from celery.exceptions import OperationalError
from redis.exceptions import RedisError

from workers.app import QUEUES, TAKES_WORK
from workers.settings import PREFIX, SECRETS, Settings, variable

#: Time in which even a busy worker answers.
PATIENCE_SECONDS = 5.0

#: The command line of Celery; -P: it imports nothing from the current folder.
CELERY = (sys.executable, "-P", "-m", "celery", "-A", "workers.app")


def node_name(home: Path, number: int) -> str:
    """Return the Celery node name of a worker, unique on this machine."""
    return f"worker{number}@{hashlib.sha256(bytes(home)).hexdigest()[:8]}"


def command(settings: Settings, name: str) -> list[str]:
    """Return the command line of a worker: threads pool, all queues."""
    # Its banner is no JSON.
    quiet = ["--quiet"] if settings.log_format == "json" else []
    return [
        *CELERY,
        *quiet,
        "worker",
        f"--concurrency={settings.worker_threads}",
        f"--queues={','.join(QUEUES)}",
        f"--hostname={name}",
        f"--loglevel={settings.log_level}",
        "--without-gossip",
        "--without-mingle",
    ]


def own_environment(settings: Settings) -> dict[str, str]:
    """Return the environment with these settings, without passwords."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own = {
        variable(name): str(value) for name, value in settings if value is not None and name not in SECRETS
    }
    return {**inherited, **own}


def active_workers(app: Celery, names: Collection[str] | None = None, seconds: float = 1.0) -> set[str]:
    """Return the node names of workers that take work.

    `names` limits the question to some workers. A worker that does not answer within `seconds` is left out.
    """
    destination = None if names is None else list(names)
    limit = None if names is None else len(names)
    try:
        replies = app.control.broadcast(
            TAKES_WORK, reply=True, destination=destination, timeout=seconds, limit=limit
        )
    except (OperationalError, RedisError):
        return set()
    return {name for reply in replies or [] for name, takes_work in reply.items() if takes_work is True}

"""One worker of the embedded stack: command line, environment, health check.

    python -m ops.stack.worker_process NODE

exits with 0 if the worker with that Celery node name takes work, else with 1. docker-compose uses it as health check.
"""

import hashlib
import os
import sys
from collections.abc import Collection
from pathlib import Path

import click
from celery import Celery
from celery.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.errors import GraphinatorError
from workers.app import QUEUES, app
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
    return [
        *CELERY,
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
    """Return the node names of workers that consume our queues.

    `names` limits the question to some workers. A worker that does not answer within `seconds` is left out.
    """
    destination = None if names is None else list(names)
    limit = None if names is None else len(names)
    inspect = app.control.inspect(destination=destination, timeout=seconds, limit=limit)
    try:
        replies = inspect.active_queues() or {}
    except (OperationalError, RedisError):
        return set()
    return {name for name, queues in replies.items() if any(queue["name"] in QUEUES for queue in queues)}


@click.command()
@click.argument("node")
def main(node: str) -> None:
    """Exit with 0 if the worker with that node name takes work, else with 1."""
    try:
        is_healthy = node in active_workers(app, [node], PATIENCE_SECONDS)
    except GraphinatorError as error:
        sys.exit(f"Error: {error}")
    if not is_healthy:
        sys.exit(f"{node} takes no work, or does not answer within {PATIENCE_SECONDS:g} s")


if __name__ == "__main__":
    main()

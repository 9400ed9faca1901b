"""One worker of the embedded stack: its command line, its environment, and whether it takes work.

    python -m ops.stack.workers NODE

exits with 0 if the worker of that Celery node name takes work, with 1 if not: the health check of a container.
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

#: How long a worker that is busy may take to answer.
PATIENCE_SECONDS = 5.0


def node_name(home: Path, number: int) -> str:
    """The Celery node name of worker `number` of a home, unique among all homes of a machine."""
    return f"worker{number}@{hashlib.sha256(bytes(home)).hexdigest()[:8]}"


def command(settings: Settings, name: str) -> list[str]:
    """The command line of a worker: threads pool, all three queues."""
    return [
        sys.executable,
        "-P",  # the folder it is started in holds no code of ours
        "-m",
        "celery",
        "-A",
        "workers.app",
        "worker",
        "--pool=threads",
        f"--concurrency={settings.worker_threads}",
        f"--queues={','.join(QUEUES)}",
        f"--hostname={name}",
        f"--loglevel={settings.log_level}",
        "--without-gossip",
        "--without-mingle",
    ]


def environment(settings: Settings, password_file: Path) -> dict[str, str]:
    """The environment that gives a worker these very settings, the password by its file."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own = {
        variable(name): str(value) for name, value in settings if value is not None and name not in SECRETS
    }
    own[variable("redis_url")] = settings.redis_url or ""
    own[variable("neo4j_password") + "_FILE"] = str(password_file)
    return {**inherited, **own}


def taking_work(app: Celery, names: Collection[str] | None = None, seconds: float = 1.0) -> set[str]:
    """Which of these workers, or of all, take messages from a queue, and say so within that time."""
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
    """Tell by the exit code whether the worker of that Celery node name takes work."""
    try:
        is_healthy = node in taking_work(app, [node], PATIENCE_SECONDS)
    except GraphinatorError as error:
        sys.exit(f"Error: {error}")
    if not is_healthy:
        sys.exit(f"{node} has given up its queues, or does not answer within {PATIENCE_SECONDS:g} s")


if __name__ == "__main__":
    main()

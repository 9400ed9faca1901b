"""One worker of the embedded stack: its command line, its environment, and whether it answers."""

import hashlib
import os
import sys
from pathlib import Path

from celery import Celery
from celery.exceptions import OperationalError
from redis.exceptions import RedisError

from workers.app import QUEUES
from workers.settings import PREFIX, SECRETS, Settings, variable


def node_name(home: Path, number: int) -> str:
    """The Celery node name of worker `number` of a home, unique among all homes of a machine."""
    return f"worker{number}@{hashlib.sha256(bytes(home)).hexdigest()[:8]}"


def command(settings: Settings, name: str) -> list[str]:
    """The command line of a worker: threads pool, both queues."""
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


def answering(redis_url: str, names: list[str]) -> set[str]:
    """Which of these workers answer a ping within a second."""
    with Celery(broker=redis_url, set_as_current=False) as app:
        try:
            replies = app.control.ping(destination=names, timeout=1.0, limit=len(names)) or []
        except (OperationalError, RedisError):
            return set()
    return {name for reply in replies for name in reply}

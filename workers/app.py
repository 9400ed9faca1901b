"""The Celery app for senders and workers: its queues, task names and configuration.

`celery -A workers.app worker --pool threads` starts a worker. Nothing is read from the environment,
and no connection is made, before the app is used.
"""

import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from celery import Celery
from celery.canvas import Signature
from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES
from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from workers.addresses import with_password
from workers.settings import ServerNotSet, Settings, load_settings, variable
from workers.upstream.inbox import Inbox
from workers.upstream.quarantine import Quarantine

NORMALISE_QUEUE = "normalise"
WRITE_QUEUE = "write"
INGEST_QUEUE = "ingest"
QUEUES = (NORMALISE_QUEUE, WRITE_QUEUE, INGEST_QUEUE)
#: The remote control command that asks a worker for its health.
TAKES_WORK = "takes_work"


@dataclass(frozen=True, slots=True)
class TaskName:
    """The name of a task and its queue: a sender imports no task."""

    name: str
    queue: str

    def signature(self, app: Celery, *args: object, shown: str) -> "Signature[Any]":
        """Return a message for the task, whose result nobody awaits.

        Flower shows `shown` in place of the arguments.
        """
        options = {"queue": self.queue, "ignore_result": True, "argsrepr": shown}
        return app.signature(self.name, args=args, options=options)


NORMALISE = TaskName("graphinator.normalise", NORMALISE_QUEUE)
WRITE_BATCH = TaskName("graphinator.write_batch", WRITE_QUEUE)
INGEST = TaskName("graphinator.ingest", INGEST_QUEUE)
WRITTEN = TaskName("graphinator.written", INGEST_QUEUE)
BATCH_FAILED = TaskName("graphinator.batch_failed", WRITE_QUEUE)
FINISH = TaskName("graphinator.finish", WRITE_QUEUE)
REMOVE_VANISHED = TaskName("graphinator.remove_vanished", WRITE_QUEUE)


class GraphinatorApp(Celery):
    """A Celery app with the settings."""

    loader_cls: str | None = "workers.celery_redis:Loader"

    @cached_property
    def settings(self) -> Settings:
        """The settings of the environment, unless others were assigned before the first use."""
        return load_settings()


def connect_redis(settings: Settings, *, patient: bool = True) -> Redis:
    """Return a client of the Redis that is broker, result backend and store of batches.

    A command whose connection breaks is sent again for about five seconds, so it may run twice. Unless `patient`, a
    server that does not answer within three seconds is an error.
    """
    if not patient:
        return Redis.from_url(_broker_url(settings), socket_timeout=3, retry=Retry(NoBackoff(), 0))
    return Redis.from_url(
        _broker_url(settings),
        socket_timeout=30,
        socket_connect_timeout=10,
        socket_keepalive=True,
        retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=2.0), 8),
    )


def connect_inbox(settings: Settings, redis: Redis) -> Inbox:
    """Return the inbox in this Redis, limited by the settings."""
    return Inbox(redis, limit_bytes=settings.ingest_megabytes * 1024 * 1024)


def connect_quarantine(settings: Settings, redis: Redis) -> Quarantine:
    """Return the quarantine in this Redis, limited by the settings."""
    return Quarantine(redis, limit_bytes=settings.quarantine_megabytes * 1024 * 1024)


def _broker_url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise ServerNotSet(variable("redis_url"))
    return with_password(settings.redis_url, settings.redis_password)


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings. docs/decisions/celery-settings.md has the reason of each."""
    url = _broker_url(settings)
    transport = {
        "visibility_timeout": settings.visibility_timeout_seconds,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,
        "socket_timeout": 30,
        "socket_keepalive": True,
    }
    secured = {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss:") else None
    return {
        "broker_use_ssl": secured,
        "redis_backend_use_ssl": secured,
        "broker_url": url,
        "result_backend": url,
        "broker_transport_options": transport,
        "task_queues": [Queue(name, exchange=Exchange(name), routing_key=name) for name in QUEUES],
        # The next task of a caller's chain goes to the default queue of the caller's app.
        "task_default_queue": "celery",
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Celery's own default, prefork, would leave the event loop behind; so `--pool=prefork` means this, too.
        "worker_pool": "threads",
        "worker_prefetch_multiplier": 1,
        "worker_consumer": "workers.consumer:Consumer",
        "worker_deduplicate_successful_tasks": False,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "redis_retry_on_timeout": True,
        "redis_socket_keepalive": True,
        "redis_socket_timeout": 30,
        "result_backend_always_retry": True,
        "result_expires": 3600,
        "result_chord_expires": 7 * 24 * 3600,
    }


# They replace kombu's own under the same names, which Flower goes by.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "workers.celery_redis:Transport"))

app = GraphinatorApp("graphinator", include=["workers.logs", "workers.tasks"], set_as_current=True)
app.add_defaults(lambda: configuration(app.settings))

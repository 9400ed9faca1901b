"""Celery's Redis result backend for senders that never wait for a result.

A chord needs the backend to count its header tasks. Celery's own backend also subscribes to the result of each header
task and keeps the result object until it arrives. With `ignore_result` it never arrives: memory grows with every chord,
and the finalisers of these objects run at exit, when the connection to Redis is gone.
"""

from typing import Any

from celery.backends.redis import RedisBackend


class UnwaitedRedisBackend(RedisBackend):
    """Store and count as RedisBackend does, without waiting: `get` on a result times out."""

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:  # noqa: ARG002 - the signature is Celery's
        """Return `result` without keeping it or subscribing to it."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Return `result`: nothing was kept."""
        return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do not subscribe to the task's result."""

"""Celery's Redis result backend for senders that never wait for a result.

A chord needs the backend to count its header tasks. Celery, in the sender, also subscribes to each header
task's result and keeps the result object until it arrives, which with `ignore_result` is never: memory
grows with every chord sent, and at exit the finalisers of those objects reach for Redis too late.
"""

from typing import Any

from celery.backends.redis import RedisBackend


class UnwaitedRedisBackend(RedisBackend):
    """Stores and counts as RedisBackend does; waits for nothing (`get` on a result would time out)."""

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:  # noqa: ARG002 - the signature is Celery's
        """Do not keep the result or listen for it."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Nothing was kept."""
        return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do not listen for the task's result."""

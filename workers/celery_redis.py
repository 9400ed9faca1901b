"""Celery's Redis transport and result backend, adapted."""

import time
from typing import Any

from celery.backends.redis import RedisBackend
from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

#: Pause between two attempts to store a taken message in a full Redis.
FULL_REDIS_SECONDS = 0.5


class QoS(redis.QoS):
    """kombu's record of unacknowledged messages, for a Redis that may be full.

    A full Redis refuses to store that a message was taken, which would lose the message, and refuses to take a message
    back, which would end the worker.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """Store a taken message as unacknowledged; wait while Redis is full.

        Other work that ends meanwhile makes space.
        """
        while True:
            try:
                super().append(message, delivery_tag)
            except OutOfMemoryError:
                time.sleep(FULL_REDIS_SECONDS)
            else:
                return

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message; one that Redis does not take back is redelivered.

        It stays unacknowledged until the visibility timeout.
        """
        try:
            super().reject(delivery_tag, requeue=requeue)
        except ResponseError:
            virtual.QoS.ack(self, delivery_tag)


class Channel(redis.Channel):
    """kombu's channel; raises a connection error once its connection is closed.

    A worker that loses its connection returns its unacknowledged messages to the queue; tasks that end later
    acknowledge theirs. Both ask the channel for a client. kombu builds it from the closed connection, and raises an
    AttributeError that Celery does not expect: the worker ends.
    """

    QoS = QoS  # type: ignore[mutable-override]  # as with Transport.Channel

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in kombu's stubs
        return parameters


class Transport(redis.Transport):
    """kombu's Redis transport with these channels."""

    Channel = Channel  # type: ignore[mutable-override]  # kombu's own transports do the same


class UnwaitedRedisBackend(RedisBackend):
    """Celery's result backend for senders that never wait for a result: `get` times out.

    A chord needs the backend to count its header tasks. Celery's own also subscribes to the result of each header task
    and keeps the result object until it arrives. With `ignore_result` it never arrives: memory grows with every chord,
    and the finalisers of these objects run at exit, when the connection to Redis is gone.
    """

    def add_pending_result(self, result: Any, weak: bool = False, start_drainer: bool = True) -> Any:  # noqa: ARG002 - the signature is Celery's
        """Return `result` without keeping it or subscribing to it."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Return `result`: nothing was kept."""
        return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do not subscribe to the task's result."""

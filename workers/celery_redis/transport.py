"""kombu's Redis transport for workers that outlive a lost connection and a full Redis.

A worker that loses its connection returns its unacknowledged messages to the queue; tasks that end later acknowledge
theirs. Both ask the channel for a client. kombu builds it from a connection that is closed by then, and raises an
AttributeError that Celery does not expect: the worker ends.

A full Redis refuses to store that a message was taken, which would lose the message, and refuses to take a message
back, which would end the worker.
"""

import time
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

#: Pause between two attempts to store a taken message in a full Redis.
FULL_REDIS_SECONDS = 0.5


class QoS(redis.QoS):
    """kombu's record of unacknowledged messages, for a Redis that may be full."""

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
    """kombu's channel; raises a connection error once its connection is closed."""

    QoS = QoS  # type: ignore[mutable-override]  # as with Transport.Channel

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in kombu's stubs
        return parameters


class Transport(redis.Transport):
    """kombu's Redis transport with these channels."""

    Channel = Channel  # type: ignore[mutable-override]  # kombu's own transports do the same

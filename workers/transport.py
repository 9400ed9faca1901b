"""kombu's Redis transport, for workers that outlive their Redis.

A worker that loses its connection closes it, and hands back what it has taken and not acknowledged; tasks that end
later acknowledge their messages. Both ask the channel for a client, which kombu makes from a connection that is gone by
then: the AttributeError that follows is none of the errors that Celery expects of a lost connection, and ends the worker.

So does a message that cannot be put back, as Redis is full.
"""

from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError


class QoS(redis.QoS):
    """As kombu's; what Redis does not take back stays unacknowledged, and comes back when the visibility timeout has passed."""

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Be done with a message."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        except ResponseError:
            virtual.QoS.ack(self, delivery_tag)


class Channel(redis.Channel):
    """As kombu's; one whose connection is closed says so by an error of connections."""

    QoS = QoS  # type: ignore[mutable-override]  # as with Transport.Channel

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in kombu's stubs
        return parameters


class Transport(redis.Transport):
    """As kombu's, with such channels."""

    Channel = Channel  # type: ignore[mutable-override]  # kombu's own transports do the same

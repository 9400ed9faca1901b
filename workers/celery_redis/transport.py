"""kombu's Redis transport, for workers that outlive their Redis.

A worker that loses its connection closes it, and hands back what it has taken and not acknowledged; tasks that end
later acknowledge their messages. Both ask the channel for a client, which kombu makes from a connection that is gone by
then: the AttributeError that follows is none of the errors that Celery expects of a lost connection, and ends the worker.

A Redis that is full takes neither the note that a message was taken nor the message back. The one would lose it, as nobody
else has it by then; the other would end the worker.
"""

import time
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

#: The pause between two attempts to note a message in a Redis that is full.
ROOM_SECONDS = 0.5


class QoS(redis.QoS):
    """As kombu's, where Redis is full."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that a message was taken; waits for the room to do so. What is under way meanwhile makes some when it is done."""
        while True:
            try:
                super().append(message, delivery_tag)
            except OutOfMemoryError:
                time.sleep(ROOM_SECONDS)
            else:
                return

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Be done with a message; one that Redis does not take back comes back when the visibility timeout has passed."""
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

"""kombu's Redis transport, for workers that outlive their Redis.

A worker that loses its connection closes it, and hands back what it has taken and not acknowledged; tasks that end
later acknowledge their messages. Both ask the channel for a client, which kombu makes from a connection that is gone by
then: the AttributeError that follows is none of the errors that Celery expects of a lost connection, and ends the worker.
"""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):
    """As kombu's; one whose connection is closed says so by an error of connections."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in kombu's stubs
        return parameters


class Transport(redis.Transport):
    """As kombu's, with such channels."""

    Channel = Channel  # type: ignore[mutable-override]  # kombu's own transports do the same

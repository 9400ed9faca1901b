"""Celery's Redis transport and result backend, adapted."""

import logging
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery.backends.redis import RedisBackend
from celery.loaders.app import AppLoader
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from workers.refusals import is_not_now
from workers.state.keys import REJECTED_MESSAGES

logger = logging.getLogger(__name__)

#: Pause between two attempts to store a taken message in a Redis that refuses it.
REFUSED_SECONDS = 0.5
#: Rejected messages that are kept; the oldest go first.
MAX_REJECTED_MESSAGES = 1000
#: Errors of code that is given a value of another shape than it expects.
WRONG_SHAPE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


class NotAMessage(ValueError):
    """An item of a queue is no message."""


def insist(store: Callable[[], object]) -> None:
    """Call `store`, again and again while Redis answers "not now"."""
    while True:
        try:
            store()
        except RedisError as error:
            if not is_not_now(error):
                raise
            time.sleep(REFUSED_SECONDS)
        else:
            return


class Message(virtual.Message):
    """kombu's message; raises NotAMessage for anything else."""

    def __init__(self, payload: Any, channel: Any = None, **options: Any) -> None:
        self._payload = payload
        self._keep = channel.keep_rejected
        try:
            super().__init__(payload, channel=channel, **options)
            places = [self.delivery_tag, self.delivery_info["exchange"], self.delivery_info["routing_key"]]
        except WRONG_SHAPE as error:
            raise NotAMessage(describe(error)) from error
        if not all(isinstance(place, str) for place in places):
            raise NotAMessage("its delivery tag, exchange or routing key is no text")

    def keep(self, reason: str) -> None:
        """Keep the message, which no worker can handle, among the rejected ones."""
        self._keep(dumps(self._payload), reason)

    def keep_and_reject(self, reason: str) -> None:
        """Keep the message and reject it, unless that is done."""
        if not self.acknowledged:
            self.keep(reason)
            self.reject()


def describe(error: BaseException) -> str:
    """Describe an error about a message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


class QoS(redis.QoS):
    """kombu's record of unacknowledged messages, for a Redis that may refuse to write.

    A Redis that is full refuses to store that a message was taken, which would lose the message, and refuses to take a
    message back, which would end the worker.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """Store a taken message as unacknowledged; wait while Redis answers "not now".

        Other work that ends meanwhile makes space.
        """
        insist(lambda: super(QoS, self).append(message, delivery_tag))

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; it is redelivered if Redis answers "not now"."""
        try:
            super().ack(delivery_tag)
        except RedisError as error:
            if not is_not_now(error):
                raise
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message; one that Redis does not take back is redelivered.

        It stays unacknowledged until the visibility timeout.
        """
        try:
            super().reject(delivery_tag, requeue=requeue)
        except ResponseError:
            virtual.QoS.ack(self, delivery_tag)


class Channel(redis.Channel):
    """kombu's channel; keeps what is no message, and knows that its connection is closed.

    With kombu's, an item that is no message ends the worker.

    A worker that loses its connection returns its unacknowledged messages to the queue; tasks that end later
    acknowledge theirs. Both ask the channel for a client. kombu builds it from the closed connection, and raises an
    AttributeError that Celery does not expect: the worker ends.
    """

    QoS = QoS  # type: ignore[mutable-override]  # as with Transport.Channel
    Message = Message  # type: ignore[mutable-override]  # as with Transport.Channel
    # These are not in kombu's stubs.
    connection_errors: tuple[type[Exception], ...]
    _queue_cycle: Any
    _flush_brpop_reauth: Any

    def keep_rejected(self, raw: bytes | str, reason: str) -> None:
        """Keep an item that nobody can handle among the rejected messages, and log it."""
        logger.error("a message is rejected and kept in %s: %s", REJECTED_MESSAGES, reason)

        def store() -> None:
            with self.conn_or_acquire() as client, client.pipeline() as pipe:
                pipe.rpush(REJECTED_MESSAGES, raw)
                pipe.ltrim(REJECTED_MESSAGES, -MAX_REJECTED_MESSAGES, -1)
                pipe.execute()

        insist(store)

    def _brpop_read(self, **options: Any) -> bool:
        """Read and deliver an item, as kombu does, but reject one that is no message."""
        try:
            try:
                answer = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not answer:
                raise Empty
            key, item = answer
            queue = bytes_to_str(key).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            try:
                self.connection._deliver(_parsed(item), queue)  # noqa: SLF001 - as kombu does
            except NotAMessage as error:
                self.keep_rejected(item, f"an item of the queue {queue} is no message: {error}")
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _deliver_fanout_message(self, message: Any, exchange: str) -> bool:
        try:
            delivered: bool = super()._deliver_fanout_message(message, exchange)  # type: ignore[misc]  # as below
        except NotAMessage as error:
            logger.error("a broadcast is dropped, since it is no message: %s", error)  # noqa: TRY400 - one line
            return True
        return delivered

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise RedisConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # not in kombu's stubs
        return parameters


def _parsed(item: bytes) -> Any:
    try:
        return loads(bytes_to_str(item))
    except WRONG_SHAPE as error:
        raise NotAMessage(describe(error)) from error


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


class Loader(AppLoader):
    """Celery's loader; this result backend stands for Redis.

    With its name in the URL, Celery would fail to hide the password.
    """

    override_backends = dict.fromkeys(("redis", "rediss"), "workers.celery_redis:UnwaitedRedisBackend")

"""kombu's transport with a lost connection and with a Redis that refuses to write."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kombu import Connection, Queue
from redis import Redis

from tests.integration.conftest import REFUSALS, configured, refusing
from workers.app import WRITE_QUEUE, GraphinatorApp, configuration
from workers.celery_redis import MAX_REJECTED_MESSAGES, Channel, Transport
from workers.settings import Settings
from workers.state.keys import REJECTED_MESSAGES

QUEUE = Queue("tests.transport")


@pytest.fixture
def connection(settings: Settings, redis: Redis) -> Iterator[Connection]:
    """The connection of a worker to its broker."""
    app = GraphinatorApp("tests", set_as_current=False)
    app.conf.update(configuration(settings))
    with app.connection_for_read() as connection:
        yield connection


@pytest.fixture
def taken(connection: Connection) -> Any:
    """A message that is taken and not acknowledged."""
    channel: Any = connection.channel()
    queue = QUEUE(channel)
    queue.declare()
    connection.Producer().publish("content", routing_key=QUEUE.name)
    message = queue.get(no_ack=False)
    assert message is not None
    return message


@pytest.fixture
def message(taken: Any, connection: Connection) -> Any:
    """The same on a channel that kombu has closed after a fault."""
    taken.channel._disconnect_pools()
    connection.transport.client = None
    return taken


def test_the_transport_serves_ordinary_redis_addresses(connection: Connection) -> None:
    assert connection.as_uri().startswith("redis://")
    assert isinstance(connection.transport, Transport)


def test_a_late_acknowledgement_raises_a_connection_error(message: Any, connection: Connection) -> None:
    with pytest.raises(connection.connection_errors, match="is closed"):
        message.ack()


def test_closing_the_channel_raises_a_connection_error(message: Any, connection: Connection) -> None:
    with pytest.raises(connection.connection_errors, match="is closed"):
        message.channel.close()


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_message_that_redis_does_not_take_back_stays_unacknowledged(
    taken: Any, redis: Redis, refusal: str
) -> None:
    taken.channel.basic_qos(0, 1, False)
    assert not taken.channel.qos.can_consume()
    with refusing(redis, refusal):
        taken.reject(requeue=True)
    assert redis.hlen("unacked") == 1
    assert taken.channel.qos.can_consume()


def test_a_message_taken_from_a_full_redis_is_stored_as_soon_as_there_is_space(
    connection: Connection, redis: Redis
) -> None:
    queue = QUEUE(connection.channel())
    queue.declare()
    connection.Producer().publish("content", routing_key=QUEUE.name)
    with ThreadPoolExecutor(1) as other:
        with configured(redis, "maxmemory", "1"):
            taking = other.submit(queue.get, no_ack=False)
            while redis.llen(QUEUE.name):
                assert not taking.done()
            assert not taking.done()
        assert taking.result(60) is not None
    assert redis.hlen("unacked") == 1


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_taken_message_is_stored_as_soon_as_redis_stores_again(
    connection: Connection, redis: Redis, refusal: str
) -> None:
    channel: Any = connection.channel()
    QUEUE(channel).declare()
    connection.Producer().publish("content", routing_key=QUEUE.name)
    message = channel.Message(channel._get(QUEUE.name), channel=channel)
    with ThreadPoolExecutor(1) as other:
        with refusing(redis, refusal):
            storing = other.submit(channel.qos.append, message, message.delivery_tag)
            with pytest.raises(TimeoutError):
                storing.result(1)
        storing.result(60)
    assert redis.hlen("unacked") == 1


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_message_that_cannot_be_acknowledged_now_stays_unacknowledged(
    taken: Any, redis: Redis, refusal: str
) -> None:
    with refusing(redis, refusal):
        taken.ack()
    # A full Redis deletes.
    assert redis.hlen("unacked") == (0 if refusal == "OOM" else 1)


def test_rejected_messages_are_bounded(connection: Connection, redis: Redis) -> None:
    channel: Any = connection.channel()
    for number in range(MAX_REJECTED_MESSAGES + 2):
        channel.keep_rejected(str(number), "a test")
    assert redis.llen(REJECTED_MESSAGES) == MAX_REJECTED_MESSAGES
    assert redis.lindex(REJECTED_MESSAGES, 0) == b"2"


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_rejected_message_is_kept_as_soon_as_redis_stores_again(
    connection: Connection, redis: Redis, refusal: str
) -> None:
    channel: Any = connection.channel()
    with ThreadPoolExecutor(1) as other:
        with refusing(redis, refusal):
            keeping = other.submit(channel.keep_rejected, b"\xff", "a test")
            with pytest.raises(TimeoutError):
                keeping.result(1)
        keeping.result(60)
    assert redis.lrange(REJECTED_MESSAGES, 0, -1) == [b"\xff"]


def test_a_message_is_in_the_key_that_keda_counts(connection: Connection, redis: Redis) -> None:
    def counts() -> tuple[int, int]:
        return redis.llen(WRITE_QUEUE), redis.hlen(Channel.unacked_key)

    with connection.SimpleQueue(WRITE_QUEUE) as queue:
        queue.put({})
        assert counts() == (1, 0)
        message = queue.get(timeout=10)
        assert counts() == (0, 1)
        message.ack()
        assert counts() == (0, 0)

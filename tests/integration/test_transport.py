"""What a worker makes of messages that it holds when its connection to Redis is gone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kombu import Connection, Queue
from redis import Redis

from tests.integration.conftest import configured
from workers.app import GraphinatorApp, configuration
from workers.celery_redis.transport import Transport
from workers.settings import Settings

QUEUE = Queue("tests.transport")


@pytest.fixture
def connection(settings: Settings, redis: Redis) -> Iterator[Connection]:
    """The broker's connection as a worker has it."""
    app = GraphinatorApp("tests", set_as_current=False)
    app.conf.update(configuration(settings))
    with app.connection_for_read() as connection:
        yield connection


@pytest.fixture
def taken(connection: Connection) -> Any:
    """A message that was taken and not acknowledged."""
    channel: Any = connection.channel()
    queue = QUEUE(channel)
    queue.declare()
    connection.Producer().publish("what is in it", routing_key=QUEUE.name)
    message = queue.get(no_ack=False)
    assert message is not None
    return message


@pytest.fixture
def message(taken: Any, connection: Connection) -> Any:
    """The same, through a channel in the state in which kombu leaves it after a fault."""
    taken.channel._disconnect_pools()
    connection.transport.client = None
    return taken


def test_its_address_is_that_of_any_redis(connection: Connection) -> None:
    assert connection.as_uri().startswith("redis://")
    assert isinstance(connection.transport, Transport)


def test_a_late_acknowledgement_fails_as_on_a_lost_connection(message: Any, connection: Connection) -> None:
    with pytest.raises(connection.connection_errors, match="is closed"):
        message.ack()


def test_what_it_holds_is_handed_back_to_a_lost_connection_alone(
    message: Any, connection: Connection
) -> None:
    with pytest.raises(connection.connection_errors, match="is closed"):
        message.channel.close()


def test_what_a_full_redis_does_not_take_back_stays_unacknowledged_and_makes_room_for_the_next(
    taken: Any, redis: Redis
) -> None:
    taken.channel.basic_qos(0, 1, False)
    assert not taken.channel.qos.can_consume()
    with configured(redis, "maxmemory", "1"):
        taken.reject(requeue=True)
    assert redis.hlen("unacked") == 1
    assert taken.channel.qos.can_consume()


def test_a_message_that_was_taken_from_a_full_redis_is_noted_as_soon_as_there_is_room(
    connection: Connection, redis: Redis
) -> None:
    queue = QUEUE(connection.channel())
    queue.declare()
    connection.Producer().publish("what is in it", routing_key=QUEUE.name)
    with ThreadPoolExecutor(1) as other:
        with configured(redis, "maxmemory", "1"):
            taking = other.submit(queue.get, no_ack=False)
            while redis.llen(QUEUE.name):
                assert not taking.done()
            assert not taking.done()
        assert taking.result(60) is not None
    assert redis.hlen("unacked") == 1

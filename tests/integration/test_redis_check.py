"""What is wrong with a Redis is said before it costs a record."""

import pytest
from redis import Redis

from tests.integration.conftest import configured
from workers.celery_redis.check import dangers


def test_the_embedded_one_is_as_it_should_be(redis: Redis) -> None:
    assert dangers(redis) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("appendonly", "no", "append-only"),
        ("appendfsync", "no", "appendfsync everysec"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_one_that_may_lose_what_is_in_flight_is_told_of(
    redis: Redis, name: str, value: str, said: str
) -> None:
    with configured(redis, name, value):
        (danger,) = dangers(redis)
    assert said in danger

"""The start-up check of the Redis server."""

import pytest
from redis import Redis

from tests.integration.conftest import configured
from workers.redis_check import risks


def test_the_embedded_server_has_no_risks(redis: Redis) -> None:
    assert risks(redis) == []


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("appendonly", "no", "append-only"),
        ("appendfsync", "no", "appendfsync everysec"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
def test_a_configuration_that_can_lose_records_is_reported(
    redis: Redis, name: str, value: str, named: str
) -> None:
    with configured(redis, name, value):
        (risk,) = risks(redis)
    assert named in risk

"""Whether a Redis keeps what is given to it: looked at when a worker or a load starts."""

from collections.abc import Iterator

from redis import Redis
from redis.exceptions import ResponseError

#: Older ones lack commands that are used here.
OLDEST_VERSION = (7, 2)


def dangers(redis: Redis) -> list[str]:
    """What could lose records in flight, each in one line that says what to set; nothing for a Redis as it should be.

    A Redis that does not tell its configuration, as hosted ones do not, is asked for what `INFO` says.
    """
    return [*_version(redis), *_persistence(redis), *_eviction(redis)]


def _version(redis: Redis) -> Iterator[str]:
    version = str(redis.info("server").get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_VERSION:
        yield f"Redis is {version}: 7.2 or newer, or Valkey, is needed"


def _persistence(redis: Redis) -> Iterator[str]:
    if not int(redis.info("persistence").get("aof_enabled", 0)):
        yield (
            "Redis keeps no append-only file: records of upstream tasks are lost when it ends; set `appendonly yes`"
        )
    elif _configured(redis, "appendfsync") == "no":
        yield "Redis leaves it to the system when its append-only file is on disk; set `appendfsync everysec`"


def _eviction(redis: Redis) -> Iterator[str]:
    policy = _configured(redis, "maxmemory-policy") or redis.info("memory").get(
        "maxmemory_policy", "noeviction"
    )
    if policy != "noeviction":
        yield (
            f"Redis throws away what is in flight when it is full (maxmemory-policy {policy}); "
            "set `maxmemory-policy noeviction`"
        )


def _configured(redis: Redis, name: str) -> str | None:
    try:
        value: str | None = redis.config_get(name).get(name)
    except ResponseError:
        return None
    return value

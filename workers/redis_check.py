"""Start-up check of the Redis server: warnings about a configuration that can lose records."""

from collections.abc import Iterator

from redis import Redis
from redis.exceptions import ResponseError

#: Older servers lack commands that are used here.
OLDEST_VERSION = (7, 2)


def risks(redis: Redis) -> list[str]:
    """Return one line for each risk of losing records, with the directive to set.

    Hosted servers refuse `CONFIG GET`; then only `INFO` is checked.
    """
    return [*_version(redis), *_persistence(redis), *_eviction(redis)]


def _version(redis: Redis) -> Iterator[str]:
    version = str(redis.info("server").get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_VERSION:
        yield f"Redis is {version}: use 7.2 or newer, or Valkey"


def _persistence(redis: Redis) -> Iterator[str]:
    if not int(redis.info("persistence").get("aof_enabled", 0)):
        yield "Redis has no append-only file: a restart loses records of upstream tasks; set `appendonly yes`"
    elif _configured(redis, "appendfsync") == "no":
        yield "Redis never syncs its append-only file to disk: a power failure loses records; set `appendfsync everysec`"


def _eviction(redis: Redis) -> Iterator[str]:
    policy = _configured(redis, "maxmemory-policy") or redis.info("memory").get(
        "maxmemory_policy", "noeviction"
    )
    if policy != "noeviction":
        yield f"Redis evicts records in flight when it is full ({policy}); set `maxmemory-policy noeviction`"


def _configured(redis: Redis, name: str) -> str | None:
    try:
        value: str | None = redis.config_get(name).get(name)
    except ResponseError:
        return None
    return value

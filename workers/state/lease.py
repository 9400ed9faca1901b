"""The right to do something that only one process may do at a time; it ends by itself soon after that process has."""

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from redis import Redis

from pipeline.errors import GraphUnavailable

Result = TypeVar("Result")

#: A claim ends so long after its process has; while that lives, it is renewed three times as often.
CLAIM_SECONDS = 30

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class ClaimLost(GraphUnavailable):
    """Another process holds the claim, or this one took too long: what was under way is rolled back."""


class Claim:
    """The right to write one batch, or to take one step, for `seconds` unless it is renewed."""

    def __init__(self, redis: Redis, key: str, seconds: int) -> None:
        self._redis = redis
        self.key = key
        self.seconds = seconds
        self.token = uuid.uuid4().hex.encode()

    def holds(self) -> bool:
        """Whether the claim has neither expired nor ended with its batch."""
        return self._redis.get(self.key) == self.token

    def renew(self) -> bool:
        """Have it begin anew; False if it has ended."""
        return self.holds() and bool(self._redis.expire(self.key, self.seconds))


@contextmanager
def claimed(redis: Redis, key: str, seconds: int) -> Iterator[Claim | None]:
    """Hold the claim of this key, one process at a time; gives None while another one holds it."""
    claim = Claim(redis, key, seconds)
    # A command that was sent again, as its answer got lost, finds what it did itself.
    if not redis.set(key, claim.token, nx=True, ex=seconds) and not claim.holds():
        yield None
        return
    try:
        yield claim
    finally:
        release(redis, key, claim.token)


def release(redis: Redis, key: str, token: bytes) -> None:
    """Delete the key if it still holds this token."""
    redis.register_script(_RELEASE)(keys=[key], args=[token])


async def holding(claim: Claim, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` returns; the claim is renewed meanwhile. Raises ClaimLost, with `work` cancelled, if it ends."""

    async def renew() -> None:
        while True:
            if not await sync_to_async(claim.renew)():
                raise ClaimLost("the claim on this work has ended")
            await asyncio.sleep(claim.seconds / 3)

    try:
        async with asyncio.TaskGroup() as group:
            renewal = group.create_task(renew())
            result = await work
            renewal.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return result

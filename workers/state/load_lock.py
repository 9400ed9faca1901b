"""The load lock: one process at a time sends batches."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from redis import Redis

from pipeline.errors import BusyError
from workers.state.encoding import bytes_of
from workers.state.keys import LOAD_LOCK
from workers.state.lease import Lease

#: The pause between two attempts to take the lock.
POLL_SECONDS = 0.01


class Holder(StrEnum):
    """The purposes of holding the lock."""

    LOAD = "load"
    #: A worker's recovery thread. A load waits for it: for seconds, unless statistics are counted.
    RECOVERY = "recovery"


class LoadLock:
    """The lease of the process that sends batches, and who holds it."""

    def __init__(self, redis: Redis, holder: Holder = Holder.LOAD) -> None:
        self._redis = redis
        self._holder = holder
        self._lease = Lease(redis, LOAD_LOCK, "the load", owner=f"{holder}:")

    @contextmanager
    def held(self, on_wait: Callable[[str], None]) -> Iterator[Lease]:
        """Hold the lock for a block; a load waits while recovery holds it. Raises BusyError."""
        while not self._lease.acquire():
            if self._holder is Holder.RECOVERY or not self._is_free_soon():
                raise BusyError("another load is under way")
            on_wait("the recovery of earlier batches")
            time.sleep(POLL_SECONDS)
        try:
            yield self._lease
        finally:
            self._lease.release()

    def _is_free_soon(self) -> bool:
        holder = self._redis.get(LOAD_LOCK)
        return holder is None or bytes_of(holder).startswith(f"{Holder.RECOVERY}:".encode())


def is_load_locked(redis: Redis) -> bool:
    """Return True while some process holds the load lock."""
    return bool(redis.exists(LOAD_LOCK))

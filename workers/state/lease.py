"""Leases: the right of one process at a time, kept alive by a heartbeat.

A lease expires soon after its process has ended. A process that was suspended for longer than that finds its lease
gone, or held by another process: every write asks Redis, never the own clock.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from enum import StrEnum
from functools import partial
from typing import ParamSpec, TypeVar

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from pipeline.errors import BusyError, GraphinatorError
from workers.state.encoding import bytes_of
from workers.state.keys import LEASE_SECONDS, LOAD_LOCK
from workers.state.lua import script

logger = logging.getLogger(__name__)

P = ParamSpec("P")
Result = TypeVar("Result")

#: The pause between two attempts to take the load lock.
POLL_SECONDS = 0.01


class LeaseLost(GraphinatorError):
    """The lease expired or was taken over; nothing is written under it any more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"lost the lease on {name}: the process was suspended, or Redis lost its data")
        self.name = name

    def is_retryable(self) -> bool:
        """Return True: the work may be done by the process that holds the lease now."""
        return True


class Lease:
    """One acquisition of the lease of a key: `acquire`, work, `release`.

    Use `held` for a block. While it is held, a thread renews it every third of `seconds`. `name` is what messages call
    it; `owner` is a prefix of its token.
    """

    def __init__(
        self, redis: Redis, key: str, name: str, *, seconds: float = LEASE_SECONDS, owner: str = ""
    ) -> None:
        self._redis = redis
        self._script = script(redis, "lease")
        self._milliseconds = int(seconds * 1000)
        self._stopped = threading.Event()
        self._heartbeat: threading.Thread | None = None
        self._state = threading.Lock()
        self._is_lost = False
        self._callback: Callable[[], object] | None = None
        self.key = key
        self.name = name
        self.token = owner + uuid.uuid4().hex

    def acquire(self) -> bool:
        """Take the lease and start its heartbeat; return False while another process holds it."""
        taken = self._redis.set(self.key, self.token, nx=True, px=self._milliseconds)
        # A command is sent again when its answer is lost: it then finds its own token.
        if not taken and not self.is_held():
            return False
        # Not before: a thread that never starts keeps the lease, and its connection, until the next garbage collection.
        self._heartbeat = threading.Thread(
            target=copy_context().run, args=(self._renew,), name=f"lease {self.name}", daemon=True
        )
        self._heartbeat.start()
        return True

    def release(self) -> None:
        """Stop the heartbeat and give the lease up, if it is still held."""
        self._stopped.set()
        if self._heartbeat is not None:
            self._heartbeat.join()
        self._script(keys=[self.key], args=[self.token, 0])

    def is_held(self) -> bool:
        """Ask Redis if this process holds the lease."""
        return self._redis.get(self.key) == self.token.encode()

    def check(self) -> None:
        """Raise LeaseLost unless this process holds the lease."""
        if not self.is_held():
            raise LeaseLost(self.name)

    def guard(self, pipe: Pipeline) -> None:
        """Make a Redis transaction fail unless the lease is held until its end.

        Call it before `pipe.multi()`. Raises LeaseLost.
        """
        pipe.watch(self.key)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        if pipe.get(self.key) != self.token.encode():
            raise LeaseLost(self.name)

    def on_lost(self, callback: Callable[[], object] | None) -> None:
        """Call `callback` once, in another thread, when the heartbeat finds the lease lost."""
        with self._state:
            self._callback = callback
            is_lost = self._is_lost
        if is_lost and callback is not None:
            callback()

    async def run(self, work: Callable[P, Awaitable[Result]], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Await `work(…)`; cancel it and raise LeaseLost when the lease is lost meanwhile."""
        loop, lost = asyncio.get_running_loop(), asyncio.timeout(None)
        try:
            async with lost:
                self.on_lost(partial(loop.call_soon_threadsafe, _expire, lost))
                try:
                    return await work(*args, **kwargs)
                finally:
                    self.on_lost(None)
        except TimeoutError:
            if lost.expired():
                raise LeaseLost(self.name) from None
            raise

    def _renew(self) -> None:
        while not self._stopped.wait(self._milliseconds / 3000):
            try:
                is_held = self._script(keys=[self.key], args=[self.token, self._milliseconds])
            except RedisError as error:
                # Redis decides when it answers again.
                logger.warning("the lease on %s is not renewed: %s", self.name, error)
                continue
            if not is_held:
                self._lose()
                return

    def _lose(self) -> None:
        with self._state:
            self._is_lost = True
            callback = self._callback
        if callback is not None:
            callback()


@contextmanager
def held(lease: Lease) -> Iterator[Lease | None]:
    """Hold the lease for a block; gives None while another process holds it."""
    if not lease.acquire():
        yield None
        return
    try:
        yield lease
    finally:
        lease.release()


class Holder(StrEnum):
    """The purposes of holding the load lock."""

    LOAD = "load"
    #: A worker's recovery thread. A load waits for it: for seconds, unless statistics are counted.
    RECOVERY = "recovery"


class LoadLock:
    """The lease of the process that sends batches, and its purpose."""

    def __init__(self, redis: Redis, holder: Holder) -> None:
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


def _expire(timeout: asyncio.Timeout) -> None:
    # A RuntimeError: the work has just ended by itself.
    with suppress(RuntimeError):
        timeout.reschedule(0)

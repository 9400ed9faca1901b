"""Exclusive tasks: work on the graph as a whole, never beside a batch.

The process that holds the load lock asks for one when nothing is in flight, by a token that the message carries. Its
next batch, or the next holder, withdraws what is still asked for; a new holder waits until a task that runs has ended.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from redis import Redis
from redis.client import Pipeline

from pipeline.errors import GraphinatorError, GraphOverloaded
from workers.state.encoding import optional_bytes
from workers.state.in_flight import MAX_CRASHES
from workers.state.keys import EXCLUSIVE, EXCLUSIVE_LEASE, EXCLUSIVE_SECONDS, LEASE_SECONDS
from workers.state.lease import Lease, held
from workers.state.lua import script
from workers.state.statistics import StatisticsState


class PoisonTask(GraphinatorError):
    """An exclusive task that crashed several workers or overloaded Neo4j; it is not retried."""

    def __init__(self) -> None:
        super().__init__(
            f"{MAX_CRASHES} times a worker process crashed, or Neo4j had too little memory or time, during this task"
        )


class TaskResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of an exclusive task."""

    #: The reason of a failure; empty without one.
    error: str = ""
    #: `finish`: the statistics were counted. Not so where they were fresh.
    counted: bool = False
    #: `remove_vanished`: records removed, and those that stay since an illegible record may be them.
    removed: int = 0
    spared: int = 0
    #: `remove_vanished`: records that would vanish, so many that none was removed, of how many in the graph.
    missing: int = 0
    stored: int = 0


class ExclusiveTasks:
    """The exclusive task that is asked for or runs, in one Redis."""

    def __init__(self, redis: Redis, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._lease_seconds = lease_seconds
        self._count_attempt = script(redis, "count_attempt")
        self._statistics = StatisticsState(redis)

    # The holder of the load lock

    def ask(self, token: str, guard: Callable[[Pipeline], None] | None = None) -> None:
        """Ask for the task with this token, unless that was done before.

        `guard` watches keys and raises if it must not be asked for.
        """

        def ask(pipe: Pipeline) -> None:
            if guard is not None:
                guard(pipe)
            is_asked = pipe.hget(EXCLUSIVE, "token") == token.encode()
            pipe.multi()
            if not is_asked:
                pipe.delete(EXCLUSIVE)
                pipe.hset(EXCLUSIVE, "token", token)
            pipe.expire(EXCLUSIVE, EXCLUSIVE_SECONDS)

        self._redis.transaction(ask, EXCLUSIVE)

    def withdraw(self, pipe: Pipeline | None = None) -> None:
        """Ask for no task any more; with `pipe` as part of its transaction."""
        (self._redis if pipe is None else pipe).delete(EXCLUSIVE)

    def is_running(self) -> bool:
        """Return True while a worker runs an exclusive task."""
        return bool(self._redis.exists(EXCLUSIVE_LEASE))

    def result(self, token: str) -> TaskResult | None:
        """Return the outcome of the task with this token; None until it has ended."""
        asked, result = map(optional_bytes, self._redis.hmget(EXCLUSIVE, ["token", "result"]))
        if asked != token.encode() or result is None:
            return None
        return msgspec.json.decode(result, type=TaskResult)

    # The worker that runs it

    @contextmanager
    def lease(self, token: str) -> Iterator[Lease | None]:
        """Hold the lease on the task.

        Gives None if the task is not asked for, has ended, or runs in another worker.
        """
        own = Lease(self._redis, EXCLUSIVE_LEASE, "an exclusive task", seconds=self._lease_seconds)
        with held(own) as lease:
            asked, result = self._redis.hmget(EXCLUSIVE, ["token", "result"])
            yield lease if asked == token.encode() and result is None else None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count an attempt at the task, under its lease.

        The end of the process, and a task that is too much for Neo4j, leave it in the count: an exclusive task cannot
        be split. Raises PoisonTask when that happened too often.
        """
        if self._count(1) > MAX_CRASHES:
            raise PoisonTask
        try:
            yield
        except GraphOverloaded:
            raise
        except BaseException:
            self._count(-1)
            raise
        self._count(-1)

    def _count(self, number: int) -> int:
        return int(self._count_attempt(keys=[EXCLUSIVE], args=["attempts", number]))

    def end(self, lease: Lease, token: str, result: TaskResult) -> None:
        """Store the outcome of the task if it is still asked for.

        The statistics are fresh if it counted them. Raises LeaseLost.
        """

        def end(pipe: Pipeline) -> None:
            lease.guard(pipe)
            is_asked = pipe.hget(EXCLUSIVE, "token") == token.encode()
            pipe.multi()
            if is_asked:
                pipe.hset(EXCLUSIVE, "result", msgspec.json.encode(result))
                if result.counted:
                    self._statistics.mark_fresh(pipe)

        self._redis.transaction(end, EXCLUSIVE)

"""The state of the statistics: fresh as of a time, or stale since one."""

from dataclasses import dataclass
from enum import StrEnum

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from workers.state.encoding import redis_now, text_of_all
from workers.state.keys import STATISTICS

#: Time for Redis to write to disk; with `appendfsync everysec` it needs a second.
FSYNC_SECONDS = 5


class Freshness(StrEnum):
    """The two states of the statistics."""

    FRESH = "fresh"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Statistics:
    """The state of the statistics at one moment."""

    state: Freshness
    #: Unix seconds of the last count if fresh, of the first write since then if stale; None if unknown.
    at: float | None
    #: A rebuild of everything derived has begun and not ended: `finish` begins it again.
    rebuild: bool = False

    @property
    def is_fresh(self) -> bool:
        """Return True while the statistics are those of the graph."""
        return self.state is Freshness.FRESH


class StatisticsState:
    """The state of the statistics, in one Redis.

    Absent, as in a new Redis or one that lost its data, counts as stale.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self) -> Statistics:
        """Return the current state."""
        times = self._times()
        state = Freshness.FRESH if set(times) == {"counted"} else Freshness.STALE
        at = times.get("counted" if state is Freshness.FRESH else "stale")
        return Statistics(state, at, "rebuild" in times)

    def mark_stale(self, *, rebuild: bool = False) -> None:
        """Note that the graph is about to change. Call it before the write.

        `rebuild` notes that everything derived is about to be rebuilt. A new mark is awaited on disk: Redis must not
        come back fresh after a crash of its machine.
        """
        now, times = redis_now(self._redis), self._times()
        marks = ("stale", "rebuild") if rebuild else ("stale",)
        if all(now - times.get(mark, float("inf")) > FSYNC_SECONDS for mark in marks):
            return
        # WAITAOF waits for the writes of its own connection.
        with self._redis.pipeline(transaction=False) as pipe:
            for mark in marks:
                pipe.hsetnx(STATISTICS, mark, str(now))
            pipe.waitaof(1, 0, FSYNC_SECONDS * 1000)
            *noted, on_disk = pipe.execute(raise_on_error=False)
        for answer in noted:
            if isinstance(answer, RedisError):
                raise answer
        # Without an append-only file WAITAOF is refused; a worker warns of such a Redis when it starts.
        if isinstance(on_disk, RedisError) and not isinstance(on_disk, ResponseError):
            raise on_disk

    def mark_fresh(self, pipe: Pipeline) -> None:
        """Note, in a transaction, that everything was just counted."""
        pipe.delete(STATISTICS)
        pipe.hset(STATISTICS, "counted", str(redis_now(self._redis)))

    def mark_failed(self) -> None:
        """Note that counting failed: `is_due` waits for as long again."""
        self._redis.hset(STATISTICS, "failed", str(redis_now(self._redis)))

    def is_due(self, seconds: float) -> bool:
        """Return True when the statistics have been stale, or since a failed count, for `seconds`."""
        times = self._times()
        if not times:
            # Nobody knows since when: from now on, unless they are counted at this moment.
            self._redis.transaction(self._begin, STATISTICS)
        if "stale" not in times:
            return False
        return redis_now(self._redis) - max(times["stale"], times.get("failed", 0.0)) >= seconds

    def _begin(self, pipe: Pipeline) -> None:
        if not pipe.exists(STATISTICS):
            pipe.multi()
            pipe.hset(STATISTICS, "stale", str(redis_now(self._redis)))

    def _times(self) -> dict[str, float]:
        stored = self._redis.hgetall(STATISTICS)
        return dict(zip(text_of_all(stored), map(float, stored.values()), strict=True))

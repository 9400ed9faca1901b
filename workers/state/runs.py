"""Loads as a whole, in Redis: each load of one dump is a run, with its tally and how it ended.

    graphinator:load               who holds the lock of loads (expires unless renewed)
    graphinator:runs               sorted set: run → when it was planned (Unix s)
    graphinator:run:<run>          hash: `about`, the tally, `read`, `failed:<batch>`, `not_kept`, `ended` (expires)
    graphinator:run:<run>:ids      the ids that the dump of that run contains (packed; expires)

The runs of upstream tasks, one a record type, have a tally only. `workers.state.in_flight` adds to a tally in the step that takes a
batch off its list.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import msgspec
from pyroaring import BitMap64
from redis import Redis

from pipeline.model import RecordType
from workers.state.keys import PREFIX, bytes_of, optional_bytes, text_of_all

#: Held by the one load that runs; expires soon after its process has gone.
LOCK = PREFIX + "load"
RUNS = PREFIX + "runs"
#: The source of records that upstream tasks hand over, and the beginning of the names of their runs.
UPSTREAM = "ingest"

#: What is known of a run goes after this long.
RUN_EXPIRY_SECONDS = 30 * 24 * 3600


class Tally(msgspec.Struct, frozen=True):
    """What became of some records; the sum of the four is how many were read."""

    #: Already in the graph, or followed by a newer version of themselves in the same chunk.
    unchanged: int = 0
    #: Not a record in the graph before; a stub may have stood in its place.
    created: int = 0
    #: In the graph with another fingerprint.
    changed: int = 0
    #: Set aside in the quarantine.
    quarantined: int = 0

    @property
    def read(self) -> int:
        """How many records these are."""
        return self.unchanged + self.created + self.changed + self.quarantined

    def __add__(self, other: Self) -> "Tally":
        return Tally(
            self.unchanged + other.unchanged,
            self.created + other.created,
            self.changed + other.changed,
            self.quarantined + other.quarantined,
        )

    def as_dict(self) -> dict[str, int]:
        """By name, for messages and reports."""
        return msgspec.structs.asdict(self)


class About(msgspec.Struct, frozen=True):
    """What a run is to do."""

    record_type: RecordType
    path: str
    partial: bool
    allow_vanish: bool
    #: When it was planned, in Unix seconds.
    at: float
    #: The value of the lock while the load that it belongs to is under way.
    holder: str


class Ending(msgspec.Struct, frozen=True):
    """How a run ended."""

    #: When, in Unix seconds.
    at: float
    vanished: int = 0
    #: What is missing and why; empty for a complete run.
    problems: list[str] = []
    #: Whether a later load took its place before it had ended.
    replaced: bool = False


class State(StrEnum):
    """Where a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    #: It ended, and something is missing.
    FAILED = "failed"
    #: Its load is gone and it has not ended: `graphinator resume`.
    STALLED = "stalled"
    #: Stalled, until a later load of the same did it.
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Run:
    """One run as it stands now."""

    name: str
    record_type: RecordType
    state: State
    tally: Tally
    #: None for that of upstream tasks, which has no beginning and no end.
    about: About | None = None
    #: Records read from the dump so far.
    read: int = 0
    #: Records that the quarantine had no space for; those of a dump are among its problems.
    not_kept: int = 0
    ending: Ending | None = None


class Runs:
    """The runs, in one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    # The load

    def plan(self, run: str, about: About) -> None:
        """List a run that is about to begin; what stalled before and it does anew is replaced."""
        for other in self:
            if other.state is State.STALLED and other.about is not None and _replaces(about, other.about):
                self.end(other.name, Ending(time.time(), replaced=True))
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(key_of(run), "about", msgspec.json.encode(about))
            pipe.expire(key_of(run), RUN_EXPIRY_SECONDS)
            pipe.zadd(RUNS, {run: about.at})
            pipe.execute()

    def tell_read(self, run: str, records: int) -> None:
        """Note how many records were read."""
        self._redis.hset(key_of(run), "read", records)

    def end(self, run: str, ending: Ending) -> None:
        """Note how the run ended."""
        self._redis.hset(key_of(run), "ended", msgspec.json.encode(ending))

    def tally(self, run: str) -> tuple[Tally, list[str]]:
        """What became of the run's records so far, and why batches failed."""
        stored = self._fields(run)
        return _tally(stored), [
            str(value, "utf-8") for name, value in stored.items() if name.startswith("failed:")
        ]

    def not_kept(self, run: str, records: int) -> None:
        """Note records that were set aside when the quarantine had no space left."""
        self._redis.hincrby(key_of(run), "not_kept", records)

    def number_not_kept(self, run: str) -> int:
        """How many of the run's records the quarantine had no space for."""
        return int(self._redis.hget(key_of(run), "not_kept") or 0)

    def store_ids(self, run: str, ids: BitMap64) -> None:
        """Keep the ids that the dump of the run contains, for `remove_vanished`."""
        self._redis.set(_ids(run), ids.serialize(), ex=RUN_EXPIRY_SECONDS)

    def ids(self, run: str) -> BitMap64 | None:
        """The ids that the dump of the run contains; None when they have been dropped."""
        stored = optional_bytes(self._redis.get(_ids(run)))
        return None if stored is None else BitMap64.deserialize(stored)

    def drop_ids(self, run: str) -> None:
        """Forget the ids."""
        self._redis.delete(_ids(run))

    # Whoever looks

    def __iter__(self) -> Iterator[Run]:
        """Every run that is not forgotten, the oldest first, then those of upstream tasks."""
        self._redis.zremrangebyscore(RUNS, 0, time.time() - RUN_EXPIRY_SECONDS)
        holder = optional_bytes(self._redis.get(LOCK))
        for run in text_of_all(self._redis.zrange(RUNS, 0, -1)):
            stored = self._fields(run)
            if "about" in stored:
                yield _run(run, stored, holder)
        for record_type in RecordType:
            run = f"{UPSTREAM}-{record_type}"
            stored = self._fields(run)
            tally = _tally(stored)
            if tally.read or "not_kept" in stored:
                not_kept = int(stored.get("not_kept", 0))
                yield Run(run, record_type, State.RUNNING, tally, read=tally.read, not_kept=not_kept)

    def _fields(self, run: str) -> dict[str, bytes]:
        fields = self._redis.hgetall(key_of(run))
        return dict(zip(text_of_all(fields), map(bytes_of, fields.values()), strict=True))


def key_of(run: str) -> str:
    """The key of the hash of a run."""
    return PREFIX + "run:" + run


def _ids(run: str) -> str:
    return key_of(run) + ":ids"


def _replaces(new: About, old: About) -> bool:
    return new.record_type is old.record_type and (new.path == old.path or not new.partial)


def _run(name: str, stored: dict[str, bytes], holder: bytes | None) -> Run:
    about = msgspec.json.decode(stored["about"], type=About)
    ending = msgspec.json.decode(stored["ended"], type=Ending) if "ended" in stored else None
    read = int(stored.get("read", 0))
    if ending is not None:
        state = State.REPLACED if ending.replaced else State.FAILED if ending.problems else State.FINISHED
    elif holder == about.holder.encode():
        state = State.RUNNING if "read" in stored else State.WAITING
    else:
        state = State.STALLED
    return Run(name, about.record_type, state, _tally(stored), about, read, ending=ending)


def _tally(stored: dict[str, Any]) -> Tally:
    return Tally(**{name: int(stored[name]) for name in Tally.__struct_fields__ if name in stored})

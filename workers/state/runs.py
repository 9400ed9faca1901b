"""Runs: the load of one dump each, with its tally and its end.

Records of upstream tasks belong to no load: those of one type share a tally. `InFlight` adds to the tally of a run when
it settles a batch.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import msgspec
from pyroaring import BitMap64
from redis import Redis

from pipeline.model import RecordType
from pipeline.reader.ids import DumpIds
from workers.state.encoding import bytes_of, optional_bytes, pack, redis_now, text_of_all, unpack
from workers.state.keys import (
    ENDED_RUN_SECONDS,
    LOAD_LOCK,
    RUN_SECONDS,
    RUNS,
    run_ids_key,
    run_key,
    run_newer_key,
    run_samples_key,
)

#: The source of records from upstream tasks, and the prefix of their runs.
UPSTREAM = "ingest"


def upstream_run(record_type: RecordType) -> str:
    """Return the run of all records of this type from upstream tasks."""
    return f"{UPSTREAM}-{record_type}"


class Tally(msgspec.Struct, frozen=True):
    """Numbers of records by outcome; their sum is the number of records read."""

    #: Already in the graph, or followed by a newer version in the same chunk.
    unchanged: int = 0
    #: No record in the graph before; a stub may have stood in its place.
    created: int = 0
    #: In the graph with another fingerprint.
    changed: int = 0
    quarantined: int = 0

    @property
    def read(self) -> int:
        """The number of records."""
        return self.unchanged + self.created + self.changed + self.quarantined

    def __add__(self, other: Self) -> "Tally":
        return Tally(
            self.unchanged + other.unchanged,
            self.created + other.created,
            self.changed + other.changed,
            self.quarantined + other.quarantined,
        )

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by name, for messages and reports."""
        return msgspec.structs.asdict(self)

    def summary(self) -> dict[str, int]:
        """Return the numbers that are not zero, by name; Flower shows them."""
        return {name: number for name, number in self.as_dict().items() if number}


class Work(msgspec.Struct, frozen=True):
    """Sums over the written batches of a run."""

    batches: int = 0
    #: The time of the tasks that wrote them, without earlier attempts.
    batch_milliseconds: int = 0
    #: Earlier attempts of these tasks.
    retries: int = 0
    #: Resident memory of the worker at the end of each batch.
    worker_megabytes: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by name."""
        return msgspec.structs.asdict(self)


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """The progress of a run at one moment.

    Numbers of records and batches are sums since its start.
    """

    seconds: float
    #: Records of the dump that are read; those of the tally are done.
    read: int
    tally: Tally
    work: Work
    batches_in_flight: int
    #: Resident memory of the load.
    load_megabytes: int


class GraphSize(msgspec.Struct, frozen=True):
    """Numbers of nodes by label and of relationships by type."""

    nodes: dict[str, int]
    relationships: dict[str, int]


class RunPlan(msgspec.Struct, frozen=True):
    """The dump that a run loads, and its options."""

    record_type: RecordType
    path: str
    partial: bool
    allow_vanish: bool
    #: The time of its acceptance: Redis's Unix seconds, later than those of every run before.
    at: float
    #: The token of the load lock that the run belongs to.
    holder: str
    #: The number of times that the load was begun: 2 when `resume` has begun it again.
    attempt: int = 1


class Reading(msgspec.Struct, frozen=True):
    """The part of a dump that its load has read so far."""

    #: Unix seconds of the start of the load, not of its planning.
    started: float
    records: int = 0
    #: Bytes of the file as stored; its number of records shows only at its end.
    consumed_bytes: int = 0
    size_bytes: int = 0
    #: True once the dump is read to its end.
    whole: bool = False
    #: Records that go into no batch: the graph has them in this version, or in a newer one.
    unchanged: int = 0

    @property
    def total(self) -> float:
        """Estimate the number of records of the dump."""
        if self.whole:
            return self.records
        return self.records * self.size_bytes / max(1, self.consumed_bytes)

    def done(self, tally: Tally) -> float:
        """Estimate the share of the dump whose records are done; 1 only if all are."""
        if self.whole and tally.read >= self.records:
            return 1.0
        of_read = tally.read / max(1, self.records)
        return min(self.consumed_bytes / max(1, self.size_bytes) * of_read, 0.99)


class RunEnd(msgspec.Struct, frozen=True):
    """The end of a run."""

    #: In Unix seconds.
    at: float
    vanished: int = 0
    #: Reasons why something is missing; empty for a complete run.
    problems: list[str] = []
    #: Quarantined records by reason, the most frequent reasons.
    reasons: dict[str, int] = {}
    #: The graph at the start and at the end; None if Neo4j did not answer.
    graph_before: GraphSize | None = None
    graph_after: GraphSize | None = None


class RunState(StrEnum):
    """The states of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    #: It ended, and something is missing.
    FAILED = "failed"
    #: Its load is gone before the run ended.
    STALLED = "stalled"
    #: It stalled, and a later load of its type has begun: `resume` would put older records over newer ones.
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class Run:
    """One run as it stands now."""

    name: str
    record_type: RecordType
    state: RunState
    tally: Tally
    work: Work
    plan: RunPlan
    #: None before its start.
    reading: Reading | None = None
    end: RunEnd | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """The records of one type that upstream tasks have handed over."""

    #: The name that batches and quarantine entries give as their run.
    run: str
    record_type: RecordType
    tally: Tally
    #: Records that the quarantine had no space for; those of a dump are among the problems of its run.
    not_kept: int


class Runs:
    """The runs, in one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    # The load

    def now(self) -> float:
        """Return the time for the plan of a load that is accepted now."""
        last: Any = self._redis.zrange(RUNS, -1, -1, withscores=True)
        times: list[float] = [redis_now(self._redis), *(at + 0.001 for _, at in last)]
        return max(times)

    def plan(self, run: str, plan: RunPlan) -> None:
        """List a run before it begins, or before it begins again."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(run_key(run), run_ids_key(run), run_samples_key(run))
            pipe.hset(run_key(run), "plan", msgspec.json.encode(plan))
            pipe.expire(run_key(run), RUN_SECONDS)
            pipe.zadd(RUNS, {run: plan.at})
            pipe.execute()

    def accepted_at(self, run: str) -> float:
        """Return when the load of a dump was planned; 0 for any other run."""
        return float(self._redis.zscore(RUNS, run) or 0)

    def forget(self, run: str) -> list[str]:
        """Delete a run and those that it has overtaken; return their names.

        They are not resumed.
        """
        names, runs = [run], {each.name: each for each in self}
        if run in runs and runs[run].reading is not None:
            type_, at = runs[run].record_type, runs[run].plan.at
            names[:0] = [
                each.name
                for each in runs.values()
                if each.state is RunState.OVERTAKEN and each.record_type is type_ and each.plan.at < at
            ]
        with self._redis.pipeline(transaction=True) as pipe:
            for name in names:
                pipe.delete(run_key(name), run_ids_key(name), run_newer_key(name), run_samples_key(name))
                pipe.zrem(RUNS, name)
            pipe.execute()
        return names

    def stalled(self) -> list[Run]:
        """Return the stalled runs, the oldest first."""
        return [run for run in self if run.state is RunState.STALLED]

    def add_newer(self, run: str, ids: Collection[int]) -> None:
        """Note the ids of records in the graph that were accepted after a stalled run."""
        if not ids:
            return
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(run_newer_key(run), *ids)
            pipe.expire(run_newer_key(run), RUN_SECONDS)
            pipe.execute()

    def newer(self, run: str) -> BitMap64:
        """Return the ids of records in the graph that were accepted after the run."""
        return BitMap64(map(int, self._redis.sscan_iter(run_newer_key(run), count=10_000)))

    def set_read(self, run: str, reading: Reading) -> None:
        """Store the part of the dump that is read so far."""
        self._redis.hset(run_key(run), "read", msgspec.json.encode(reading))

    def store_samples(self, run: str, samples: list[Sample]) -> None:
        """Store all samples of a run so far."""
        self._redis.set(run_samples_key(run), pack(samples), ex=ENDED_RUN_SECONDS)

    def samples(self, run: str) -> list[Sample]:
        """Return the samples of a run."""
        stored = optional_bytes(self._redis.get(run_samples_key(run)))
        return [] if stored is None else unpack(stored, list[Sample])

    def end(self, run: str, end: RunEnd) -> None:
        """Store the end of a run, which is kept longer then."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(run_key(run), "end", msgspec.json.encode(end))
            pipe.expire(run_key(run), ENDED_RUN_SECONDS)
            pipe.unlink(run_newer_key(run))
            pipe.execute()

    def progress(self, run: str) -> tuple[Tally, list[str], Work]:
        """Return tally, reasons of failed batches, and work of the others, so far."""
        stored = self._fields(run)
        failures = [str(value, "utf-8") for name, value in stored.items() if name.startswith("failed:")]
        return _tally(stored), failures, _work(stored)

    def add_not_kept(self, run: str, records: int) -> None:
        """Count records that the full quarantine did not keep."""
        self._redis.hincrby(run_key(run), "not_kept", records)

    def not_kept(self, run: str) -> int:
        """Return the number of records that the full quarantine did not keep."""
        return int(self._redis.hget(run_key(run), "not_kept") or 0)

    def store_ids(self, run: str, ids: DumpIds) -> None:
        """Store the ids in the dump, for `remove_vanished`."""
        self._redis.set(run_ids_key(run), ids.pack(), ex=RUN_SECONDS)

    def ids(self, run: str) -> DumpIds | None:
        """Return the ids in the dump; None after `drop_ids`."""
        stored = optional_bytes(self._redis.get(run_ids_key(run)))
        return None if stored is None else DumpIds.unpack(stored)

    def drop_ids(self, run: str) -> None:
        """Delete the ids."""
        self._redis.delete(run_ids_key(run))

    # Commands

    def __iter__(self) -> Iterator[Run]:
        """Every run that has not expired, the oldest first."""
        now = redis_now(self._redis)
        self._redis.zremrangebyscore(RUNS, 0, now - ENDED_RUN_SECONDS)
        holder = optional_bytes(self._redis.get(LOAD_LOCK))
        names = text_of_all(self._redis.zrange(RUNS, 0, -1))
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(run_key(name))
            found = dict(zip(names, map(_named, pipe.execute()), strict=True))
        runs: list[Run] = []
        begun: set[RecordType] = set()
        for name, stored in reversed(found.items()):
            if "plan" in stored:
                run = _run(name, stored, holder, begun)
                if "read" in stored:
                    begun.add(run.record_type)
                # The ids of newer records, which `resume` needs, expire later than this.
                if run.end is not None or run.plan.at > now - RUN_SECONDS:
                    runs.append(run)
        yield from reversed(runs)

    def upstream(self) -> Iterator[Upstream]:
        """Yield the types of records from upstream tasks, also those without any."""
        for record_type in RecordType:
            run = upstream_run(record_type)
            stored = self._fields(run)
            yield Upstream(run, record_type, _tally(stored), int(stored.get("not_kept", 0)))

    def _fields(self, run: str) -> dict[str, bytes]:
        return _named(self._redis.hgetall(run_key(run)))


def _named(fields: dict[Any, Any]) -> dict[str, bytes]:
    return dict(zip(text_of_all(fields), map(bytes_of, fields.values()), strict=True))


def _run(name: str, stored: dict[str, bytes], holder: bytes | None, begun: Collection[RecordType]) -> Run:
    """Return a run; later loads of the types `begun` have begun."""
    plan = msgspec.json.decode(stored["plan"], type=RunPlan)
    end = msgspec.json.decode(stored["end"], type=RunEnd) if "end" in stored else None
    if end is not None:
        state = RunState.FAILED if end.problems else RunState.FINISHED
    elif holder == plan.holder.encode():
        state = RunState.RUNNING if "read" in stored else RunState.WAITING
    else:
        state = RunState.OVERTAKEN if plan.record_type in begun else RunState.STALLED
    return Run(name, plan.record_type, state, _tally(stored), _work(stored), plan, _reading(stored), end)


def _reading(stored: dict[str, bytes]) -> Reading | None:
    return msgspec.json.decode(stored["read"], type=Reading) if "read" in stored else None


def _tally(stored: dict[str, bytes]) -> Tally:
    reading = _reading(stored)
    of_batches = Tally(**_numbers(stored, Tally))
    return of_batches + Tally(unchanged=reading.unchanged if reading else 0)


def _work(stored: dict[str, bytes]) -> Work:
    return Work(**_numbers(stored, Work))


def _numbers(stored: dict[str, bytes], kind: type[msgspec.Struct]) -> dict[str, int]:
    return {name: int(stored[name]) for name in kind.__struct_fields__ if name in stored}

"""The quarantine: records that could not be loaded, with reason and raw text.

An entry stays until its record is written, in the same version or one that was accepted later, or it is purged. Its id
is a hash of record type and raw text, so a record that is loaded or delivered again is the same entry.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

import msgspec
from redis import Redis
from redis.client import Pipeline
from xxhash import xxh3_64, xxh3_64_hexdigest

from pipeline.chunk import Chunk, Rejected
from pipeline.model import RecordType, Row
from pipeline.records.accept import legible_id
from workers.state.encoding import bytes_of, optional_bytes, pack, text_of_all, unpack
from workers.state.in_flight import BatchMeta, CallOutcome, InFlight
from workers.state.keys import (
    QUARANTINE,
    QUARANTINE_BYTES,
    QUARANTINE_RECORDS,
    quarantine_entry_key,
    quarantine_runs_key,
)
from workers.state.lease import Lease
from workers.state.lua import script
from workers.state.runs import UPSTREAM, Runs

logger = logging.getLogger(__name__)

#: Runs of an entry that are remembered, so that a redelivered task is not counted twice.
REMEMBERED_RUNS = 10
#: Bytes in Redis that an entry takes beside its text, counted as part of its size.
ENTRY_BYTES = 1000
#: Entries read from Redis, or removed, at a time.
PAGE_ENTRIES = 50


class Entry(msgspec.Struct, frozen=True):
    """A quarantined record."""

    record_type: RecordType
    #: Its Discogs id; None if that is not legible.
    record_id: int | None
    #: The file or caller that it came from.
    source: str
    #: Its start, in bytes of XML from the start of the source; -1 if unknown.
    position: int
    #: The reason of the last run that quarantined it.
    reason: str
    raw: bytes
    #: The last load, call, batch or replay that quarantined it.
    run: str
    #: Number of runs that have quarantined it.
    attempts: int
    #: Unix seconds of the first time.
    at: float

    @property
    def entry_id(self) -> str:
        """Sixteen hexadecimal digits, the same for the same record type and text."""
        return entry_id(self.record_type, self.raw)

    @property
    def is_upstream(self) -> bool:
        """Return True for a record that an upstream task handed over."""
        return self.source == UPSTREAM and self.position < 0


def entry_id(record_type: RecordType, raw: bytes) -> str:
    """Return the id of a record's entry; it does not depend on the mapping version."""
    digest = xxh3_64(record_type.value.encode())
    digest.update(raw)
    return digest.hexdigest()


class Quarantine:
    """The entries in one Redis, in at most `limit_bytes` bytes."""

    def __init__(self, redis: Redis, *, limit_bytes: int) -> None:
        self._redis = redis
        self._limit_bytes = limit_bytes
        self._add = script(redis, "quarantine_add")
        self._remove = script(redis, "quarantine_remove")

    def add(self, record_type: RecordType, source: str, rejected: Iterable[Rejected], run: str) -> int:
        """Quarantine records of one run; return the number of records without space.

        A record is counted once a run, however often a task of that run is delivered. If the quarantine is full, an
        entry that is there keeps its place and its older reason.
        """
        dropped = 0
        for record in rejected:
            id_ = entry_id(record_type, record.raw)
            place = source, record.position
            number = legible_id(record_type, record.raw)
            fields = {
                "record_type": record_type.value,
                "record_id": "" if number is None else number,
                "reason": record.reason,
                "raw": pack(record.raw),
                "run": run,
            }
            values = [part for item in fields.items() for part in item]
            limits = self._limit_bytes, REMEMBERED_RUNS, ENTRY_BYTES
            named = "" if number is None else _record(record_type, number)
            added = self._add(keys=_keys(id_), args=[id_, _digest(run), *limits, named, *place, *values])
            dropped += int(added) < 0
        return dropped

    def size_bytes(self) -> int:
        """Return the size of all entries, which is limited."""
        return int(self._redis.get(QUARANTINE_BYTES) or 0)

    def __len__(self) -> int:
        return self._redis.zcard(QUARANTINE)

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries, the oldest first; only a few are in memory at a time."""
        for ids in _pages(self._ids()):
            with self._redis.pipeline(transaction=True) as pipe:
                for id_ in ids:
                    _read(pipe, id_)
                replies = pipe.execute()
            for fields, at in zip(replies[::2], replies[1::2], strict=True):
                # It may have been removed meanwhile.
                if at is not None:
                    yield _entry(fields, at)

    def get(self, id_: str) -> Entry | None:
        """Return one entry, or None."""
        with self._redis.pipeline(transaction=True) as pipe:
            _read(pipe, id_)
            fields, at = pipe.execute()
        return None if at is None else _entry(fields, at)

    def reasons(self, run: str) -> Counter[str]:
        """Return the number of entries by reason that this run was the last to quarantine."""
        found = Counter[str]()
        for ids in _pages(self._ids()):
            with self._redis.pipeline(transaction=False) as pipe:
                for id_ in ids:
                    pipe.hmget(quarantine_entry_key(id_), "run", "reason")
                for by, reason in pipe.execute():
                    if by == run.encode():
                        found[reason.decode()] += 1
        return found

    def purge(self, ids: Iterable[str] | None = None) -> int:
        """Remove these entries, or all; return the number of removed entries."""
        return self._remove_all(self._ids() if ids is None else [*ids])

    def purge_run(self, run: str) -> int:
        """Remove the entries that only this run has quarantined; return their number."""
        return self.purge([entry.entry_id for entry in self if entry.run == run and entry.attempts == 1])

    def remove_written(self, lease: Lease, run: str, ids: Iterable[str]) -> None:
        """Remove entries of records that `run` has written.

        Keeps those that `run` has quarantined itself. Does nothing if the lease on the batch is lost.
        """
        wanted = [*ids]
        scores = self._redis.zmscore(QUARANTINE, wanted) if wanted else []
        there = [id_ for id_, at in zip(wanted, scores, strict=True) if at is not None]
        self._remove_all(there, [lease.key], ["", lease.token, _digest(run)])

    def of_records(self, record_type: RecordType, ids: Iterable[int]) -> dict[int, list[str]]:
        """Return the entries of those of the records that have any, by record id."""
        if not self._redis.hlen(QUARANTINE_RECORDS):
            return {}
        wanted = [*ids]
        found = (
            self._redis.hmget(QUARANTINE_RECORDS, [_record(record_type, id_) for id_ in wanted])
            if wanted
            else []
        )
        return {
            id_: entries.decode().split()
            for id_, entries in zip(wanted, map(optional_bytes, found), strict=True)
            if entries is not None
        }

    def remove_older(self, ids: Iterable[str], than: float) -> int:
        """Remove those of the entries that were last quarantined before a time.

        In Redis's Unix seconds.
        """
        return self._remove_all([*ids], args=[than])

    def _ids(self) -> list[str]:
        return text_of_all(self._redis.zrange(QUARANTINE, 0, -1))

    def _remove_all(self, ids: list[str], keys: Sequence[Any] = (), args: Sequence[Any] = ()) -> int:
        removed = 0
        for page in _pages(ids):
            with self._redis.pipeline(transaction=False) as pipe:
                for id_ in page:
                    self._remove(keys=[*_keys(id_), *keys], args=[id_, *(args or [""])], client=pipe)
                removed += sum(pipe.execute())
        return removed


class BatchQuarantine:
    """The quarantine as the tasks of one batch use it."""

    def __init__(
        self,
        quarantine: Quarantine,
        in_flight: InFlight,
        runs: Runs,
        batch: str,
        meta: BatchMeta,
    ) -> None:
        self._quarantine = quarantine
        self._in_flight = in_flight
        self._runs = runs
        self._batch = batch
        self._meta = meta
        # The run of upstream records never ends, so each of their batches counts as one.
        self._run = batch if meta.source == UPSTREAM else meta.run

    def add(self, rejected: Sequence[Rejected]) -> None:
        """Quarantine records; count those without space for the run."""
        dropped = self._quarantine.add(self._meta.record_type, self._meta.source, rejected, self._run)
        if self._meta.calls:
            entries = (entry_id(self._meta.record_type, record.raw) for record in rejected)
            self._in_flight.note_refused(self._batch, entries)
        if dropped:
            logger.warning("the quarantine is full: %d records of %s are lost", dropped, self._meta.source)
            self._runs.add_not_kept(self._meta.run, dropped)

    def add_all(self, reason: str) -> None:
        """Quarantine every record of the batch."""
        for chunk in self._chunks():
            records = zip(chunk.positions, chunk.records, strict=True)
            self.add([Rejected(position, reason, raw) for position, raw in records])

    def add_refused(self, refused: Sequence[tuple[Row, str]]) -> None:
        """Quarantine the records of rows that the graph refuses, each with its reason."""
        reasons = {row["id"]: reason for row, reason in refused}
        for chunk in self._chunks():
            # The last of several versions was to be written.
            last = {
                record_id: Rejected(position, reasons[record_id], raw)
                for position, record_id, raw in zip(chunk.positions, chunk.ids, chunk.records, strict=True)
                if record_id in reasons
            }
            self.add([*last.values()])

    def remove_written(self, lease: Lease) -> None:
        """Remove the entries of records of the batch, except those that it has quarantined."""
        if len(self._quarantine):
            for chunk in self._chunks():
                ids = [entry_id(chunk.record_type, raw) for raw in chunk.records]
                self._quarantine.remove_written(lease, self._run, ids)

    def resolve(self, ids: Iterable[int]) -> None:
        """Remove the entries of these records that are older than their versions in the batch."""
        found = self._quarantine.of_records(self._meta.record_type, ids)
        if not found:
            return
        accepted = self._accepted_at() if self._meta.source == UPSTREAM else {}
        load = self._runs.accepted_at(self._meta.run)
        for id_, entries in found.items():
            self._quarantine.remove_older(entries, accepted.get(id_, load))

    def outcomes(self) -> list[CallOutcome]:
        """Return the outcome of each call in the batch, which is written."""
        if not self._meta.calls:
            return []
        records = self._refusals()
        newest = {id_: place for place, (id_, _) in enumerate(records)}
        outcomes = iter(
            "refused" if is_refused else "written" if newest[id_] == place else "superseded"
            for place, (id_, is_refused) in enumerate(records)
        )
        found = []
        for call in self._meta.calls:
            counts = Counter(islice(outcomes, call.records))
            found.append(CallOutcome(call.task, counts["written"], counts["superseded"], counts["refused"]))
        return found

    def note_newer(self) -> None:
        """Have stalled loads, which are older than the batch, keep the ids that are written."""
        if self._meta.stalled:
            written = [id_ for id_, is_refused in dict(self._refusals()).items() if not is_refused]
            for run in self._meta.stalled:
                self._runs.add_newer(run, written)

    def _refusals(self) -> list[tuple[int, bool]]:
        """Return the id of each record, and whether it is refused."""
        refused = self._in_flight.refused(self._batch)
        return [
            (id_, entry_id(chunk.record_type, raw) in refused)
            for chunk in self._chunks()
            for id_, raw in zip(chunk.ids, chunk.records, strict=True)
        ]

    def _accepted_at(self) -> dict[int, float]:
        """Return when the call was first seen that brought the last version of each record."""
        times = chain.from_iterable(repeat(call.at, call.records) for call in self._meta.calls)
        return dict(zip((id_ for chunk in self._chunks() for id_ in chunk.ids), times, strict=False))

    def _chunks(self) -> Iterator[Chunk]:
        for index in range(self._meta.chunks):
            chunk = self._in_flight.chunk(self._batch, index)
            if chunk is not None:
                yield chunk


def _read(pipe: Pipeline, id_: str) -> None:
    pipe.hgetall(quarantine_entry_key(id_))
    pipe.zscore(QUARANTINE, id_)


def _entry(fields: dict[Any, Any], at: float) -> Entry:
    named = dict(zip(text_of_all(fields), map(bytes_of, fields.values()), strict=True))
    return Entry(
        record_type=RecordType(named["record_type"].decode()),
        record_id=int(named["record_id"]) if named["record_id"] else None,
        source=named["source"].decode(),
        position=int(named["position"]),
        reason=named["reason"].decode(),
        raw=unpack(named["raw"], bytes),
        run=named["run"].decode(),
        attempts=int(named["attempts"]),
        at=at,
    )


def _keys(id_: str) -> list[str]:
    keys = quarantine_entry_key(id_), quarantine_runs_key(id_)
    return [*keys, QUARANTINE, QUARANTINE_BYTES, QUARANTINE_RECORDS]


def _record(record_type: RecordType, id_: int) -> str:
    return f"{record_type}:{id_}"


def _digest(run: str) -> str:
    return xxh3_64_hexdigest(run.encode())


def _pages(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), PAGE_ENTRIES):
        yield ids[start : start + PAGE_ENTRIES]

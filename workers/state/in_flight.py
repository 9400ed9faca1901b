"""Batches in flight: outbox, credit and tally in one sorted set.

A batch is stored and listed before its messages are sent. It leaves the list in the same atomic step that adds its
outcome to the tally and deletes its data. So a lost message leaves its batch behind, to be sent again; a redelivered
message finds nothing left to do; and the number of batches in flight is the length of the list, which no lost or
redelivered message can change.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import msgspec
from redis import Redis
from redis.client import Pipeline

from pipeline.chunk import Chunk
from pipeline.errors import GraphinatorError
from pipeline.model import RecordType, Row
from workers.state.encoding import optional_bytes, pack, text_of_all, unpack
from workers.state.keys import (
    BATCH_SECONDS,
    CALL_SECONDS,
    IN_FLIGHT,
    LEASE_SECONDS,
    RUN_SECONDS,
    batch_key,
    batch_lease_key,
    inbox_call_key,
    run_key,
)
from workers.state.lease import Lease, held
from workers.state.lua import script
from workers.state.runs import Tally, Work

#: Fields of a batch that name quarantine entries.
_REFUSED = "refused:"
#: A part of a batch that has crashed so many workers is not attempted again.
MAX_CRASHES = 4
NO_WORK = Work()


class PoisonBatch(GraphinatorError):
    """A batch that crashed several workers; it is not retried."""

    def __init__(self) -> None:
        super().__init__(
            f"poison batch: {MAX_CRASHES} worker processes crashed, or ran out of memory, while they worked on it"
        )


class CallRecords(NamedTuple):
    """Some records of one upstream call."""

    #: The task id of the call.
    task: str
    records: int
    #: The time when the call was first seen, in Redis's Unix seconds.
    at: float


class BatchMeta(msgspec.Struct, frozen=True):
    """The description of a batch, stored beside its chunks."""

    record_type: RecordType
    #: The run whose tally the batch counts for.
    run: str
    #: The file or the caller that the records came from.
    source: str
    #: The number of records in each chunk.
    records: list[int]
    #: For records of upstream calls: their calls, in the order of the records.
    calls: list[CallRecords] = []
    #: Loads that had stalled before these calls were sent; `resume` leaves what is written of them.
    stalled: list[str] = []

    @property
    def chunks(self) -> int:
        """The number of chunks."""
        return len(self.records)


class CallOutcome(NamedTuple):
    """Numbers of records that a batch holds of one call, by outcome."""

    task: str
    written: int
    #: A newer version of the record was in the same batch.
    superseded: int
    refused: int


class InFlight:
    """The batches in flight, in one Redis."""

    def __init__(self, redis: Redis, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._lease_seconds = lease_seconds
        self._store_once = script(redis, "store_once")
        self._count_attempt = script(redis, "count_attempt")
        self._settle = script(redis, "settle_batch")

    # The sender

    def store(
        self,
        batch: str,
        meta: BatchMeta,
        chunks: Sequence[bytes],
        *,
        guard: Callable[[Pipeline], None] | None = None,
        also: Callable[[Pipeline], None] | None = None,
    ) -> None:
        """Store a batch with its packed chunks and list it, in one transaction.

        `guard` watches keys and raises if the batch must not be stored; `also` adds commands to the transaction.
        """
        fields: dict[Any, Any] = {f"chunk:{index}": chunk for index, chunk in enumerate(chunks)}
        fields["meta"] = msgspec.msgpack.encode(meta)

        def write(pipe: Pipeline) -> None:
            if guard is not None:
                guard(pipe)
            # The transaction is repeated when a broken connection has cost its answer.
            is_stored = pipe.exists(batch_key(batch))
            pipe.multi()
            if is_stored:
                return
            pipe.hset(batch_key(batch), mapping=fields)
            pipe.expire(batch_key(batch), BATCH_SECONDS)
            pipe.zadd(IN_FLIGHT, {batch: 0})
            if also is not None:
                also(pipe)

        self._redis.transaction(write, batch_key(batch))

    def mark_sent(self, batch: str) -> None:
        """Note that the messages of a batch have just been sent."""
        now, _ = self._redis.time()
        self._redis.zadd(IN_FLIGHT, {batch: now}, xx=True)

    def __len__(self) -> int:
        return self._redis.zcard(IN_FLIGHT)

    def batches(self) -> set[str]:
        """Return the batches in flight."""
        return set(text_of_all(self._redis.zrange(IN_FLIGHT, 0, -1)))

    def overdue(self, age_seconds: float) -> list[str]:
        """Return the batches without a sign of life for `age_seconds`, sent or not."""
        now, _ = self._redis.time()
        return text_of_all(self._redis.zrangebyscore(IN_FLIGHT, 0, now - age_seconds))

    def oldest_seconds(self) -> float:
        """Return the age of the oldest batch in flight; 0 without one."""
        with self._redis.pipeline(transaction=False) as pipe:
            for batch in self.batches():
                pipe.pttl(batch_key(batch))
            # Batches expire so long after they are stored; one that is done meanwhile has a negative time.
            left = [each / 1000 for each in pipe.execute() if each >= 0]
        return max((BATCH_SECONDS - each for each in left), default=0.0)

    def forget(self, batch: str) -> None:
        """Take a batch off the list whose data has expired."""
        self._redis.zrem(IN_FLIGHT, batch)

    # The workers

    def meta(self, batch: str) -> BatchMeta | None:
        """Return the description of a batch; None if it is done or has expired."""
        stored = optional_bytes(self._redis.hget(batch_key(batch), "meta"))
        return None if stored is None else msgspec.msgpack.decode(stored, type=BatchMeta)

    def chunk(self, batch: str, index: int) -> Chunk | None:
        """One chunk of a batch; None if it is done or has expired."""
        blob = optional_bytes(self._redis.hget(batch_key(batch), f"chunk:{index}"))
        return None if blob is None else unpack(blob, Chunk)

    def store_rows(self, batch: str, index: int, rows: list[Row]) -> None:
        """Store the rows of one chunk, unless the batch is done."""
        self._store_once(keys=[batch_key(batch)], args=[f"rows:{index}", pack(rows)])

    def note_refused(self, batch: str, entries: Iterable[str]) -> None:
        """Note the quarantine entries of records of the batch, unless it is done."""
        for entry in entries:
            self._store_once(keys=[batch_key(batch)], args=[f"{_REFUSED}{entry}", ""])

    def refused(self, batch: str) -> set[str]:
        """Return the quarantine entries that were noted."""
        fields = text_of_all(self._redis.hkeys(batch_key(batch)))
        return {field.removeprefix(_REFUSED) for field in fields if field.startswith(_REFUSED)}

    def rows(self, batch: str, chunks: int) -> list[Row] | None:
        """All rows of a batch; None until those of every chunk are stored."""
        blobs = self._redis.hmget(batch_key(batch), [f"rows:{index}" for index in range(chunks)])
        rows: list[Row] = []
        for blob in map(optional_bytes, blobs):
            if blob is None:
                return None
            rows += unpack(blob, list[Row])
        return rows

    def store_known(self, batch: str, known: dict[int, int]) -> None:
        """Store the fingerprints that the graph has of a batch before it is written."""
        self._store_once(keys=[batch_key(batch)], args=["known", pack(known)])

    def known(self, batch: str) -> dict[int, int] | None:
        """Return what was stored by `store_known`, None before."""
        blob = optional_bytes(self._redis.hget(batch_key(batch), "known"))
        return None if blob is None else unpack(blob, dict[int, int])

    @contextmanager
    def attempt(self, batch: str, part: str) -> Iterator[None]:
        """Count an attempt at one part of a batch.

        `part` is the index of a chunk, or "body". Only the end of the process, or a MemoryError, leaves the attempt in
        the count. Raises PoisonBatch when that happened too often.
        """
        if self._count(batch, part, 1) > MAX_CRASHES:
            raise PoisonBatch
        try:
            yield
        except MemoryError:
            raise
        except BaseException:
            self._count(batch, part, -1)
            raise
        self._count(batch, part, -1)

    def _count(self, batch: str, part: str, number: int) -> int:
        keys = [batch_key(batch), IN_FLIGHT]
        return int(self._count_attempt(keys=keys, args=[f"attempts:{part}", number, batch]))

    def lease(self, batch: str) -> AbstractContextManager[Lease | None]:
        """Hold the lease of a batch's body; gives None while another copy writes."""
        lease = Lease(self._redis, batch_lease_key(batch), f"batch {batch}", seconds=self._lease_seconds)
        return held(lease)

    def complete(
        self, batch: str, run: str, tally: Tally, calls: Sequence[CallOutcome] = (), work: Work = NO_WORK
    ) -> None:
        """Settle a written batch: add to the sums of its run and of its calls."""
        self._settle_once(batch, run, "", calls, {**tally.as_dict(), **work.as_dict()})

    def fail(self, batch: str, run: str, reason: str, calls: Sequence[CallOutcome] = ()) -> None:
        """Settle a batch that cannot be written: its run ends incomplete, for this reason."""
        self._settle_once(batch, run, reason, calls, {})

    def _settle_once(
        self, batch: str, run: str, failure: str, calls: Sequence[CallOutcome], sums: dict[str, int]
    ) -> None:
        keys = [IN_FLIGHT, batch_key(batch), batch_lease_key(batch), run_key(run)]
        keys += [inbox_call_key(call.task) for call in calls]
        numbers = [number for call in calls for number in (call.written, call.superseded, call.refused)]
        counts = [part for item in sums.items() for part in item]
        self._settle(keys=keys, args=[batch, RUN_SECONDS, failure, CALL_SECONDS, *numbers, *counts])

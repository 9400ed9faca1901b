"""What is in flight, in Redis: an outbox, the credit and the tally in one.

A batch is stored and listed as pending *before* its messages are sent, and leaves the list in the same
atomic step that counts it and drops its blobs. So a lost message leaves its batch behind, to be sent
again; a message delivered twice finds nothing left to do; and the number of batches in flight is the
length of the list, which no lost or repeated message can change.

    graphinator:pending            sorted set: batch → the last sign of life of its messages (Redis's Unix s, 0: not sent yet)
    graphinator:batch:<batch>      hash: `meta`, `chunk:<i>`, `rows:<i>` (compressed; expires), and `begun:<part>`
    graphinator:writing:<batch>    which copy of the batch's body is writing (expires unless renewed)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script

from pipeline.model import Chunk, RecordType, Row
from workers.state.keys import PREFIX, optional_bytes, text_of_all
from workers.state.lease import CLAIM_SECONDS, Claim, claimed
from workers.state.packing import pack, unpack
from workers.state.runs import RUN_EXPIRY_SECONDS, Tally, key_of

PENDING = PREFIX + "pending"

#: What an abandoned load leaves in Redis goes after this long.
BATCH_EXPIRY_SECONDS = 7 * 24 * 3600
#: Processes that may end while they work on one part of a batch before the part is taken for the reason.
MOST_DEATHS = 4

#: Adds the rows only to a batch that still exists: a late copy of a header task must leave nothing behind.
_STORE_ROWS = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""

#: Notes a sign of life of a batch that is pending, by the one clock that all machines share.
_ALIVE = "redis.call('ZADD', KEYS[1], 'XX', redis.call('TIME')[1], ARGV[1])"

#: Adds to a number of a batch that still exists, which is a sign of life.
_COUNT = f"""
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
{_ALIVE}
return redis.call('HINCRBY', KEYS[2], ARGV[2], ARGV[3])
"""

#: Counts a batch once, however often its body runs.
_COMPLETE = """
local first = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
if first == 1 then
  for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1]) end
end
"""

#: Its reason is there as soon as the batch is off the list.
_FAIL = """
local first = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
if first == 1 then redis.call('HSET', KEYS[4], ARGV[2], ARGV[3]) end
"""


class Meta(msgspec.Struct, frozen=True):
    """What a batch is: stored beside its chunks."""

    record_type: RecordType
    #: The load that it belongs to, where its tally is kept.
    run: str
    #: The file or the caller that the records came from.
    source: str
    chunks: int


class Batches:
    """The batches in flight, in one Redis."""

    def __init__(self, redis: Redis, *, claim_seconds: int = CLAIM_SECONDS) -> None:
        self._redis = redis
        self._claim_seconds = claim_seconds
        self._store_rows = redis.register_script(_STORE_ROWS)
        self._alive = redis.register_script(_ALIVE)
        self._count = redis.register_script(_COUNT)
        self._complete = redis.register_script(_COMPLETE)
        self._fail = redis.register_script(_FAIL)

    # The side that sends

    def store(
        self,
        batch: str,
        meta: Meta,
        chunks: Sequence[bytes],
        *,
        guard: Callable[[Pipeline], None] | None = None,
        also: Callable[[Pipeline], None] | None = None,
    ) -> None:
        """List the batch as pending, with its packed chunks, in one transaction.

        `guard` watches keys before it and raises if it must not be; `also` adds commands to it.
        """
        fields: dict[Any, Any] = {f"chunk:{index}": chunk for index, chunk in enumerate(chunks)}
        fields["meta"] = msgspec.msgpack.encode(meta)

        def write(pipe: Pipeline) -> None:
            if guard is not None:
                guard(pipe)
            # A connection that broke may have cost the answer only.
            is_stored = pipe.exists(_batch(batch))
            pipe.multi()
            if is_stored:
                return
            pipe.hset(_batch(batch), mapping=fields)
            pipe.expire(_batch(batch), BATCH_EXPIRY_SECONDS)
            pipe.zadd(PENDING, {batch: 0})
            if also is not None:
                also(pipe)

        self._redis.transaction(write, _batch(batch))

    def sent(self, batch: str) -> None:
        """Note that the batch's messages have just been sent."""
        self._alive(keys=[PENDING], args=[batch])

    def in_flight(self) -> int:
        """How many batches are pending."""
        return self._redis.zcard(PENDING)

    def pending(self) -> set[str]:
        """The batches that are not done."""
        return set(text_of_all(self._redis.zrange(PENDING, 0, -1)))

    def never_sent(self) -> list[str]:
        """Pending batches whose sender ended between storing and sending them."""
        return text_of_all(self._redis.zrangebyscore(PENDING, 0, 0))

    def forget(self, batch: str) -> None:
        """Take a batch off the list whose blobs have expired: nobody can do it any more."""
        self._redis.zrem(PENDING, batch)

    def overdue(self, age_seconds: float) -> list[str]:
        """Pending batches without a sign of life for longer than `age_seconds`: their messages may be lost."""
        now, _ = self._redis.time()
        return text_of_all(self._redis.zrangebyscore(PENDING, 0, now - age_seconds))

    # The side that works

    def meta(self, batch: str) -> Meta | None:
        """What the batch is; None when it is done, or its blobs have expired."""
        stored = optional_bytes(self._redis.hget(_batch(batch), "meta"))
        return None if stored is None else msgspec.msgpack.decode(stored, type=Meta)

    def chunk(self, batch: str, index: int) -> Chunk | None:
        """One chunk of the batch; None when the batch is done, or its blobs have expired."""
        blob = optional_bytes(self._redis.hget(_batch(batch), f"chunk:{index}"))
        return None if blob is None else unpack(blob, Chunk)

    def store_rows(self, batch: str, index: int, rows: list[Row]) -> None:
        """Put the rows of one chunk beside it, unless the batch is done."""
        self._store_rows(keys=[_batch(batch)], args=[f"rows:{index}", pack(rows)])

    def rows(self, batch: str, chunks: int) -> list[Row] | None:
        """All rows of the batch; None unless those of every chunk are there."""
        blobs = self._redis.hmget(_batch(batch), [f"rows:{index}" for index in range(chunks)])
        rows: list[Row] = []
        for blob in map(optional_bytes, blobs):
            if blob is None:
                return None
            rows += unpack(blob, list[Row])
        return rows

    @contextmanager
    def attempt(self, batch: str, part: str) -> Iterator[bool]:
        """Work on a part of the batch; gives False where that has ended one process after the other.

        Only the end of the process, or a MemoryError, leaves the attempt in the count: what else is raised is another matter.
        """
        keys, field = [PENDING, _batch(batch)], f"begun:{part}"
        begun = self._count(keys=keys, args=[batch, field, 1])
        is_counted = False
        try:
            yield int(begun) <= MOST_DEATHS
        except MemoryError:
            is_counted = True
            raise
        finally:
            if not is_counted:
                self._count(keys=keys, args=[batch, field, -1])

    @contextmanager
    def writing(self, batch: str) -> Iterator[Claim | None]:
        """Be the one copy of the batch's body that writes; gives None while another copy is."""
        with claimed(self._redis, PREFIX + "writing:" + batch, self._claim_seconds) as claim:
            yield claim

    def complete(self, batch: str, run: str, tally: Tally) -> None:
        """Take the batch off the list, count it, drop its blobs, unless that was done before."""
        counts = [part for item in tally.as_dict().items() for part in item]
        self._take_off(self._complete, batch, run, counts)

    def fail(self, batch: str, run: str, reason: str) -> None:
        """Take a batch that nobody can write off the list; its load ends incomplete, with `reason`."""
        self._take_off(self._fail, batch, run, [f"failed:{batch}", reason])

    def _take_off(self, script: Script, batch: str, run: str, fields: list[Any]) -> None:
        keys = [PENDING, _batch(batch), PREFIX + "writing:" + batch, key_of(run)]
        script(keys=keys, args=[batch, *fields])
        self._redis.expire(key_of(run), RUN_EXPIRY_SECONDS)


def _batch(batch: str) -> str:
    return PREFIX + "batch:" + batch

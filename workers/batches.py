"""What is in flight, in Redis: an outbox, the credit and the tally in one.

A batch is stored and listed as pending *before* its messages are sent, and leaves the list in the same
atomic step that counts it and drops its blobs. So a lost message leaves its batch behind, to be sent
again; a message delivered twice finds nothing left to do; and the number of batches in flight is the
length of the list, which no lost or repeated message can change.

    graphinator:pending            sorted set: batch → when its messages were last sent (Unix s, 0: not yet)
    graphinator:batch:<batch>      hash: `meta`, `chunk:<i>`, `rows:<i>` (compressed; expires)
    graphinator:writing:<batch>    which copy of the batch's body is writing (expires)
    graphinator:run:<run>          hash: the tally of one load of one file, and `failed:<batch>` (expires)
    graphinator:run:<run>:ids      the ids that the dump of that load contains (packed; expires)
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import msgspec
from pyroaring import BitMap64
from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script

from pipeline.model import Chunk, RecordType, Row
from workers.blobs import pack, unpack

PREFIX = "graphinator:"
PENDING = PREFIX + "pending"

#: What an abandoned load leaves in Redis goes after this long.
BATCH_EXPIRY_SECONDS = 7 * 24 * 3600
RUN_EXPIRY_SECONDS = 30 * 24 * 3600

#: Adds the rows only to a batch that still exists: a late copy of a header task must leave nothing behind.
_STORE_ROWS = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""

#: Counts a batch once, however often its body runs.
_COMPLETE = """
local first = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
if first == 1 then
  for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1]) end
end
return first
"""

#: Its reason is there as soon as the batch is off the list.
_FAIL = """
local first = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
if first == 1 then redis.call('HSET', KEYS[4], ARGV[2], ARGV[3]) end
return first
"""

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


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

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store_rows = redis.register_script(_STORE_ROWS)
        self._complete = redis.register_script(_COMPLETE)
        self._fail = redis.register_script(_FAIL)

    # The side that sends

    def store(
        self, batch: str, meta: Meta, chunks: Sequence[bytes], also: Callable[[Pipeline], None] | None = None
    ) -> None:
        """List the batch as pending, with its packed chunks, in one transaction; `also` adds to it."""
        fields: dict[Any, Any] = {f"chunk:{index}": chunk for index, chunk in enumerate(chunks)}
        fields["meta"] = msgspec.msgpack.encode(meta)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_batch(batch), mapping=fields)
            pipe.expire(_batch(batch), BATCH_EXPIRY_SECONDS)
            pipe.zadd(PENDING, {batch: 0})
            if also is not None:
                also(pipe)
            pipe.execute()

    def sent(self, batch: str) -> None:
        """Note that the batch's messages have just been sent."""
        self._redis.zadd(PENDING, {batch: time.time()}, xx=True)

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
        """Pending batches whose messages were sent longer than `age_seconds` ago: they may be lost."""
        return text_of_all(self._redis.zrangebyscore(PENDING, 0, time.time() - age_seconds))

    # The side that works

    def meta(self, batch: str) -> Meta | None:
        """What the batch is; None when it is done, or its blobs have expired."""
        stored = _bytes(self._redis.hget(_batch(batch), "meta"))
        return None if stored is None else msgspec.msgpack.decode(stored, type=Meta)

    def chunk(self, batch: str, index: int) -> Chunk | None:
        """One chunk of the batch; None when the batch is done, or its blobs have expired."""
        blob = _bytes(self._redis.hget(_batch(batch), f"chunk:{index}"))
        return None if blob is None else unpack(blob, Chunk)

    def store_rows(self, batch: str, index: int, rows: list[Row]) -> None:
        """Put the rows of one chunk beside it, unless the batch is done."""
        self._store_rows(keys=[_batch(batch)], args=[f"rows:{index}", pack(rows)])

    def rows(self, batch: str, chunks: int) -> list[Row] | None:
        """All rows of the batch; None unless those of every chunk are there."""
        blobs = self._redis.hmget(_batch(batch), [f"rows:{index}" for index in range(chunks)])
        rows: list[Row] = []
        for blob in map(_bytes, blobs):
            if blob is None:
                return None
            rows += unpack(blob, list[Row])
        return rows

    @contextmanager
    def writing(self, batch: str, expiry_seconds: int) -> Iterator["Claim | None"]:
        """Be the one copy of the batch's body that writes; gives None while another copy is."""
        with claimed(self._redis, PREFIX + "writing:" + batch, expiry_seconds) as claim:
            yield claim

    def complete(self, batch: str, run: str, tally: Tally) -> bool:
        """Take the batch off the list, count it, drop its blobs; False if that was done before."""
        counts = [part for item in tally.as_dict().items() for part in item]
        return self._take_off(self._complete, batch, run, counts)

    def fail(self, batch: str, run: str, reason: str) -> None:
        """Take a batch that nobody can write off the list; its load ends incomplete, with `reason`."""
        self._take_off(self._fail, batch, run, [f"failed:{batch}", reason])

    def _take_off(self, script: Script, batch: str, run: str, fields: list[Any]) -> bool:
        run_key = PREFIX + "run:" + run
        keys = [PENDING, _batch(batch), PREFIX + "writing:" + batch, run_key]
        first = script(keys=keys, args=[batch, *fields])
        self._redis.expire(run_key, RUN_EXPIRY_SECONDS)
        return bool(first)

    # The load as a whole

    def tally(self, run: str) -> tuple[Tally, list[str]]:
        """What became of the run's records so far, and why batches failed."""
        fields = self._redis.hgetall(PREFIX + "run:" + run)
        stored = dict(zip(text_of_all(fields), text_of_all(fields.values()), strict=True))
        counts = {name: int(stored[name]) for name in Tally.__struct_fields__ if name in stored}
        failures = [value for name, value in stored.items() if name.startswith("failed:")]
        return Tally(**counts), failures

    def not_kept(self, run: str, records: int) -> None:
        """Note records that were set aside when the quarantine had no space left."""
        self._redis.hincrby(PREFIX + "run:" + run, "not_kept", records)

    def number_not_kept(self, run: str) -> int:
        """How many of the run's records the quarantine had no space for."""
        return int(self._redis.hget(PREFIX + "run:" + run, "not_kept") or 0)

    def store_ids(self, run: str, ids: BitMap64) -> None:
        """Keep the ids that the dump of the run contains, for `remove_vanished`."""
        self._redis.set(_ids(run), ids.serialize(), ex=RUN_EXPIRY_SECONDS)

    def ids(self, run: str) -> BitMap64 | None:
        """The ids that the dump of the run contains; None when they have been dropped."""
        stored = _bytes(self._redis.get(_ids(run)))
        return None if stored is None else BitMap64.deserialize(stored)

    def drop_ids(self, run: str) -> None:
        """Forget the ids."""
        self._redis.delete(_ids(run))


class Claim:
    """The right to write one batch, or to take one step."""

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self.key = key
        self.token = uuid.uuid4().hex.encode()

    def holds(self) -> bool:
        """Whether the claim has neither expired nor ended with its batch."""
        return self._redis.get(self.key) == self.token

    def renew(self, expiry_seconds: int) -> bool:
        """Have it expire so many seconds from now; False if it has ended."""
        return self.holds() and bool(self._redis.expire(self.key, expiry_seconds))


@contextmanager
def claimed(redis: Redis, key: str, expiry_seconds: int) -> Iterator[Claim | None]:
    """Hold the claim of this key, one process at a time; gives None while another one holds it."""
    claim = Claim(redis, key)
    if not redis.set(key, claim.token, nx=True, ex=expiry_seconds):
        yield None
        return
    try:
        yield claim
    finally:
        redis.register_script(_RELEASE)(keys=[key], args=[claim.token])


def _ids(run: str) -> str:
    return PREFIX + "run:" + run + ":ids"


def _batch(batch: str) -> str:
    return PREFIX + "batch:" + batch


def bytes_of(reply: bytes | str) -> bytes:
    """A reply of Redis; the client's types allow for text, which this client is not configured to give."""
    return reply.encode() if isinstance(reply, str) else reply


def _bytes(reply: bytes | str | None) -> bytes | None:
    return None if reply is None else bytes_of(reply)


def text_of_all(replies: Iterable[Any]) -> list[str]:
    """Replies of Redis that are names."""
    return [str(reply, "utf-8") for reply in replies]

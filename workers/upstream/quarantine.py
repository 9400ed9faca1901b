"""Records that were set aside: with their reason and raw text, until they are written or somebody purges them.

    graphinator:quarantine         hash: entry id → header and compressed entry
    graphinator:quarantine:bytes   how many bytes those are

An entry's id follows from the record's text, so a record that is delivered or loaded again is still one entry. What that
changes of it is in the header, which Redis itself counts up: 8 digits of attempts, 17 of the time of the first one, and
the hashes of the last four runs that set it aside, 16 digits each. A header is never longer than another, so there is
always room for it.
"""

import time
from collections.abc import Iterable, Iterator

import msgspec
from msgspec.structs import replace
from redis import Redis
from xxhash import xxh3_64, xxh3_64_hexdigest

from pipeline.model import RecordType, Rejected
from pipeline.records.accept import legible_id
from workers.state.keys import PREFIX
from workers.state.lease import Claim
from workers.state.packing import pack, unpack

KEY = PREFIX + "quarantine"
BYTES = KEY + ":bytes"

_ATTEMPTS = slice(0, 8)
_AT = slice(8, 25)
_HEADER_BYTES = 89

#: Adds an entry, or counts it up unless one of its last runs is this one. Where there is no space, a new one is not kept,
#: and one that is there keeps what it said before. 1: done, 0: was done before, -1: no space.
_ADD = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
local attempts, at, runs = 0, ARGV[5], string.rep('-', 64)
if old then
  attempts, at, runs = tonumber(string.sub(old, 1, 8)), string.sub(old, 9, 25), string.sub(old, 26, 89)
  if string.find(runs, ARGV[4], 1, true) then return 0 end
end
local header = string.format('%08d', attempts + 1) .. at .. ARGV[4] .. string.sub(runs, 1, 48)
local value = header .. ARGV[2]
local growth = #value - (old and #old or 0)
if growth > 0 and tonumber(redis.call('GET', KEYS[2]) or 0) + growth > tonumber(ARGV[3]) then
  if not old then return -1 end
  value, growth = header .. string.sub(old, 90), 0
end
redis.call('HSET', KEYS[1], ARGV[1], value)
redis.call('INCRBY', KEYS[2], growth)
return 1
"""

#: Takes entries off and gives how many; where a claim is named only while it is held, and where a run is named all but
#: those that it has set aside.
_TAKE = """
if ARGV[1] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
local taken = 0
for i = 3, #ARGV do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  if old and (ARGV[2] == '' or not string.find(string.sub(old, 26, 89), ARGV[2], 1, true)) then
    redis.call('HDEL', KEYS[1], ARGV[i])
    redis.call('DECRBY', KEYS[2], #old)
    taken = taken + 1
  end
end
return taken
"""


class Entry(msgspec.Struct, frozen=True):
    """One record that was set aside."""

    record_type: RecordType
    #: Its Discogs id, where that is legible.
    record_id: int | None
    #: The file or caller that it came from.
    source: str
    #: Where it starts, in bytes of XML from the start of the source; -1 where there is no such place.
    position: int
    #: Why it was set aside, the last time.
    reason: str
    raw: bytes
    #: The load, call, batch or replay that set it aside, the last time.
    run: str
    #: How many runs have set it aside.
    attempts: int
    #: When it was first set aside, in Unix seconds.
    at: float

    @property
    def entry_id(self) -> str:
        """Sixteen hexadecimal digits, the same for the same record type and text."""
        return entry_id(self.record_type, self.raw)


def entry_id(record_type: RecordType, raw: bytes) -> str:
    """The id of the entry of such a record; it is no fingerprint, which changes with the mapping."""
    digest = xxh3_64(record_type.value.encode())
    digest.update(raw)
    return digest.hexdigest()


class Quarantine:
    """The entries, in one Redis, in at most `limit_bytes` bytes."""

    def __init__(self, redis: Redis, *, limit_bytes: int) -> None:
        self._redis = redis
        self._limit_bytes = limit_bytes
        self._add = redis.register_script(_ADD)
        self._take = redis.register_script(_TAKE)

    def add(self, record_type: RecordType, source: str, rejected: Iterable[Rejected], run: str) -> int:
        """Set the records aside; how many of them there was no space for (they are still counted as rejected).

        The same record is counted once a run, however often a task of that run is delivered.
        """
        dropped = 0
        for record in rejected:
            id_ = entry_id(record_type, record.raw)
            place = source, record.position
            if record.position < 0 and (before := self.get(id_)) is not None:
                # A call or a replay says nothing of where the record came from at first.
                place = before.source, before.position
            number, now = legible_id(record_type, record.raw), time.time()
            blob = pack(Entry(record_type, number, *place, record.reason, record.raw, run, 1, now))
            added = self._add(
                keys=[KEY, BYTES], args=[id_, blob, self._limit_bytes, _digest(run), f"{now:017.6f}"]
            )
            dropped += int(added) < 0
        return dropped

    def __len__(self) -> int:
        return self._redis.hlen(KEY)

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in no order, each once, each read from Redis as it is needed."""
        seen: set[bytes] = set()
        for id_, value in self._redis.hscan_iter(KEY, count=50):
            # Redis may give an entry twice.
            if id_ not in seen:
                seen.add(id_)
                yield _entry(bytes(value))

    def get(self, id_: str) -> Entry | None:
        """One entry, or None."""
        value = self._redis.hget(KEY, id_)
        return _entry(value) if isinstance(value, bytes) else None

    def purge(self, ids: Iterable[str] | None = None) -> int:
        """Forget these entries, or every one; how many there were."""
        if ids is not None:
            return int(self._take(keys=[KEY, BYTES], args=["", "", *ids]))
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hlen(KEY)
            pipe.delete(KEY, BYTES)
            return int(pipe.execute()[0])

    def release(self, claim: Claim, run: str, ids: Iterable[str]) -> None:
        """Take off the entries of records that `run` has written: those of `ids` that it has not set aside itself.

        Does nothing once the claim on the batch has ended: what was set aside since then is none of its records.
        """
        self._take(keys=[KEY, BYTES, claim.key], args=[claim.token, _digest(run), *ids])


def _digest(run: str) -> str:
    return xxh3_64_hexdigest(run.encode())


def _entry(value: bytes) -> Entry:
    entry = unpack(value[_HEADER_BYTES:], Entry)
    return replace(entry, attempts=int(value[_ATTEMPTS]), at=float(value[_AT]))

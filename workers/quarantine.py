"""Records that were set aside: with their reason and raw text, until somebody looks at them.

    graphinator:quarantine         hash: entry id → compressed entry
    graphinator:quarantine:bytes   how many bytes those are

An entry's id follows from the record's text, so a record that is delivered or loaded again is still
one entry.
"""

import time
from collections.abc import Iterable, Iterator

import msgspec
from redis import Redis

from pipeline.fingerprint import fingerprint
from pipeline.model import RecordType, Rejected
from workers.blobs import pack, unpack
from workers.replies import PREFIX

KEY = PREFIX + "quarantine"
BYTES = KEY + ":bytes"

#: Adds an entry unless it is there or the space is used up; 1: added, 0: was there, -1: no space.
_ADD = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
if tonumber(redis.call('GET', KEYS[2]) or 0) + #ARGV[2] > tonumber(ARGV[3]) then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCRBY', KEYS[2], #ARGV[2])
return 1
"""


class Entry(msgspec.Struct, frozen=True):
    """One record that was set aside."""

    record_type: RecordType
    #: The file or caller that it came from.
    source: str
    #: Where it starts, in bytes of XML from the start of the source; -1 where there is no such place.
    position: int
    reason: str
    raw: bytes
    #: When it was first set aside, in Unix seconds.
    at: float

    @property
    def entry_id(self) -> str:
        """Sixteen hexadecimal digits, the same for the same record type and text."""
        return f"{fingerprint(self.record_type, self.raw) & 0xFFFF_FFFF_FFFF_FFFF:016x}"


class Quarantine:
    """The entries, in one Redis, in at most `limit_bytes` bytes."""

    def __init__(self, redis: Redis, *, limit_bytes: int) -> None:
        self._redis = redis
        self._limit_bytes = limit_bytes
        self._add = redis.register_script(_ADD)

    def add(self, record_type: RecordType, source: str, rejected: Iterable[Rejected]) -> int:
        """Set the records aside; how many of them there was no space for (they are still counted as rejected)."""
        dropped = 0
        for record in rejected:
            entry = Entry(record_type, source, record.position, record.reason, record.raw, time.time())
            added = self._add(keys=[KEY, BYTES], args=[entry.entry_id, pack(entry), self._limit_bytes])
            dropped += int(added) < 0
        return dropped

    def __len__(self) -> int:
        return self._redis.hlen(KEY)

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in no order, each read from Redis as it is needed."""
        for _, blob in self._redis.hscan_iter(KEY, count=50):
            yield unpack(bytes(blob), Entry)

    def get(self, entry_id: str) -> Entry | None:
        """One entry, or None."""
        blob = self._redis.hget(KEY, entry_id)
        return unpack(blob, Entry) if isinstance(blob, bytes) else None

    def clear(self) -> None:
        """Forget every entry."""
        self._redis.delete(KEY, BYTES)

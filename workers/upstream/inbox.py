"""Records that upstream tasks handed over, until there are enough of them, or they are old enough, for a batch.

    graphinator:inbox                  hash: bytes, and of each type `<type>:records`, `<type>:since` (Unix s)
    graphinator:inbox:<type>           list: one packed piece of a call each, in the order of acceptance
    graphinator:inbox:<type>:recent    sorted set: record id → when it was accepted (Unix s)
    graphinator:inbox:call:<task id>   there for a while after a call was accepted

A call is accepted in one atomic step, once, however often its message is delivered. What is taken out goes into a batch in
flight in the same transaction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from redis import Redis
from redis.client import Pipeline

from pipeline.errors import GraphinatorError
from pipeline.model import RecordType
from pipeline.records.accept import Accepted
from workers.state.keys import PREFIX, bytes_of, text_of_all
from workers.state.packing import pack, unpack

INBOX = PREFIX + "inbox"
#: Records in one piece, at most: a piece is never split again.
PIECE_RECORDS = 500
#: Pieces that are read from Redis at a time.
PAGE_PIECES = 50
#: Ids of a type whose acceptance is remembered, at most.
RECENT_RECORDS = 200_000

#: 1: accepted, 0: it was before, -1: no space; or the ids that another call has brought meanwhile.
_ADD = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local size, records, seconds = 0, tonumber(ARGV[1]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local pieces = tonumber(ARGV[5])
for i = 7, 6 + pieces do size = size + #ARGV[i] end
local held = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0)
if held > 0 and held + size > tonumber(ARGV[2]) then return -1 end
redis.call('ZREMRANGEBYSCORE', KEYS[4], 0, now - seconds)
if ARGV[4] ~= '' then
  local newer, since = {}, tonumber(ARGV[4])
  for i = 7 + pieces, #ARGV do
    local at = redis.call('ZSCORE', KEYS[4], ARGV[i])
    if at and tonumber(at) >= since then table.insert(newer, ARGV[i]) end
  end
  if #newer > 0 then return newer end
end
for i = 7, 6 + pieces do redis.call('RPUSH', KEYS[3], ARGV[i]) end
for i = 7 + pieces, #ARGV do redis.call('ZADD', KEYS[4], now, ARGV[i]) end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - tonumber(ARGV[6]))
redis.call('EXPIRE', KEYS[4], seconds)
if records > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', size)
  redis.call('HINCRBY', KEYS[2], KEYS[5], records)
  if tonumber(redis.call('HGET', KEYS[2], KEYS[5])) == records then redis.call('HSET', KEYS[2], KEYS[6], now) end
end
redis.call('SET', KEYS[1], 1, 'EX', seconds)
return 1
"""


class InboxFull(GraphinatorError):
    """There is no space for more records until some are written."""

    def is_retryable(self) -> bool:
        """When some have been written."""
        return True


class Piece(msgspec.Struct, frozen=True):
    """Some records of one call."""

    ids: list[int]
    records: list[bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits of one type: how many records, and for how many seconds the oldest one has."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Pieces at the head of the list of one type."""

    record_type: RecordType
    pieces: list[Piece]
    #: Bytes, as they are packed.
    size: int

    @property
    def records(self) -> int:
        """How many records they hold."""
        return sum(len(piece.ids) for piece in self.pieces)


class Inbox:
    """The inbox, in one Redis, of at most `limit_bytes`."""

    def __init__(self, redis: Redis, *, limit_bytes: int, memory_seconds: int) -> None:
        """`memory_seconds`: how long a message may take to be delivered once more."""
        self._redis = redis
        self._limit_bytes = limit_bytes
        self._memory_seconds = memory_seconds
        self._add = redis.register_script(_ADD)

    def now(self) -> float:
        """The time of Redis, in Unix seconds, for `since`."""
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1_000_000)

    def add(
        self,
        call: str,
        record_type: RecordType,
        records: Sequence[Accepted],
        *,
        redelivered: bool = False,
        since: float | None = None,
    ) -> set[int]:
        """Keep the records of a call, unless that was done before; raises InboxFull.

        Those that another call has brought `since` then, or of a redelivered message at any time, are older than that
        call's, and left out. Gives the ids of these.
        """
        if redelivered:
            since = 0.0
        left_out: set[int] = set()
        name = f"{INBOX}:{record_type}"
        keys = [f"{INBOX}:call:{call}", INBOX, name, name + ":recent", *_fields(record_type)]
        while True:
            pieces = [
                pack(Piece([each.id for each in part], [each.raw for each in part]))
                for part in _parts(records, PIECE_RECORDS)
            ]
            numbers = (
                len(records), self._limit_bytes, self._memory_seconds, "" if since is None else repr(since), len(pieces), RECENT_RECORDS,
            )  # fmt: skip
            answer = self._add(keys=keys, args=[*numbers, *pieces, *(each.id for each in records)])
            if answer == -1:
                raise InboxFull("too many records wait to be written: start more workers, or wait")
            if not isinstance(answer, list):
                return left_out
            newer = set(map(int, answer))
            left_out |= newer
            records = [each for each in records if each.id not in newer]

    def waiting(self) -> dict[RecordType, Waiting]:
        """What waits of each type that there are records of."""
        fields = self._redis.hgetall(INBOX)
        stored = dict(zip(text_of_all(fields), fields.values(), strict=True))
        found = {}
        for record_type in RecordType:
            records, since = (stored.get(field) for field in _fields(record_type))
            if records is not None and int(records) > 0:
                found[record_type] = Waiting(int(records), self.now() - float(since or 0))
        return found

    def head(self, record_type: RecordType, records: int, limit_bytes: int) -> Taken:
        """The first pieces of a type, of about so many records and bytes of raw text; they stay until `take`."""
        pieces: list[Piece] = []
        size = number = length = 0
        for blob in self._blobs(record_type):
            piece = unpack(blob, Piece)
            number += len(piece.ids)
            length += sum(map(len, piece.records))
            if pieces and (number > records or length > limit_bytes):
                break
            pieces.append(piece)
            size += len(blob)
        return Taken(record_type, pieces, size)

    def _blobs(self, record_type: RecordType) -> Iterator[bytes]:
        """The packed pieces of a type, read a few at a time: a piece may hold one record, or be megabytes long."""
        start = 0
        while page := self._redis.lrange(f"{INBOX}:{record_type}", start, start + PAGE_PIECES - 1):
            yield from map(bytes_of, page)
            start += len(page)

    def take(self, pipe: Pipeline, taken: Taken) -> None:
        """Take these pieces out, in the transaction that puts them elsewhere; by whoever holds the lock only."""
        records, since = _fields(taken.record_type)
        pipe.ltrim(f"{INBOX}:{taken.record_type}", len(taken.pieces), -1)
        pipe.hincrby(INBOX, "bytes", -taken.size)
        pipe.hincrby(INBOX, records, -taken.records)
        pipe.hset(INBOX, since, str(self.now()))


def _fields(record_type: RecordType) -> tuple[str, str]:
    return f"{record_type}:records", f"{record_type}:since"


def _parts(records: Sequence[Accepted], size: int) -> list[Sequence[Accepted]]:
    return [records[start : start + size] for start in range(0, len(records), size)]

"""The inbox: records of upstream calls that wait to be sent as batches.

A call has its number in the order of acceptance from the moment when a worker first sees it. It is accepted once, in one
atomic step, however often its message is delivered, and without the records that calls with a higher number have
brought. Records leave the inbox in the transaction that stores them as a batch in flight. The script that settles the
batch adds their outcomes to their calls.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import msgspec
from redis import Redis
from redis.client import Pipeline
from xxhash import xxh3_64_hexdigest

from pipeline.errors import GraphinatorError
from pipeline.model import RecordType
from pipeline.records.accept import Accepted
from workers.state.encoding import bytes_of, pack, redis_now, text_of_all, unpack
from workers.state.in_flight import CallRecords
from workers.state.keys import (
    CALL_SECONDS,
    INBOX,
    INBOX_SEEN,
    WAITING_CALL_SECONDS,
    inbox_call_key,
    inbox_key,
    inbox_numbers_key,
)
from workers.state.lua import script

#: Records in one call part, at most: a part is never split again.
PART_RECORDS = 500
#: Call parts read from Redis at a time.
PAGE_PARTS = 50
#: Record ids of a type whose newest call is remembered, at most: 80 bytes each.
NUMBERED_RECORDS = 1_000_000


class InboxFull(GraphinatorError):
    """The inbox has no space until some of its records are written."""

    def is_retryable(self) -> bool:
        """Return True: writing makes space."""
        return True


class HeadMoved(Exception):
    """Other call parts are the oldest now: Redis came back without its last second."""


class CallUnknown(GraphinatorError):
    """No call with this task id is accepted, or it is forgotten."""


class Call(NamedTuple):
    """The name of a call: a caller may use a task id again."""

    task: str
    #: Hash of its record type and records.
    content: str

    @classmethod
    def of(cls, task: str, record_type: RecordType, records: Sequence[object]) -> Self:
        """Return the name of a call with these records."""
        text = json.dumps([record_type, records], default=str)
        return cls(task, xxh3_64_hexdigest(text.encode()))


class CallPart(msgspec.Struct, frozen=True):
    """Some records of one call."""

    ids: list[int]
    records: list[bytes]
    #: The task id of the call, and its number.
    task: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Numbers of accepted records, and of those that newer calls have brought."""

    accepted: int
    superseded: int


class CallState(NamedTuple):
    """Numbers of records of the calls with one task id.

    Each record is in exactly one of them.
    """

    #: Accepted, and not written yet.
    waiting: int
    written: int
    #: A newer version of the record was accepted before this one was written.
    superseded: int
    #: In the quarantine.
    refused: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The waiting records of one type."""

    records: int
    #: Age of the oldest one.
    seconds: float


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest call parts of one type."""

    record_type: RecordType
    parts: list[CallPart]
    #: The same parts as they are stored.
    packed: list[bytes]

    @property
    def ids(self) -> list[int]:
        """The ids of the records, in the order of acceptance."""
        return [id_ for part in self.parts for id_ in part.ids]

    @property
    def records(self) -> list[bytes]:
        """The raw records, in the order of acceptance."""
        return [record for part in self.parts for record in part.records]

    @property
    def calls(self) -> list[CallRecords]:
        """The calls of the parts, in the order of acceptance."""
        return [CallRecords(part.task, len(part.ids), part.number / 1_000_000) for part in self.parts]


class Inbox:
    """The inbox in one Redis, of at most `limit_bytes`."""

    def __init__(self, redis: Redis, *, limit_bytes: int) -> None:
        self._redis = redis
        self._limit_bytes = limit_bytes
        self._see = script(redis, "inbox_see")
        self._add = script(redis, "inbox_add")

    def see(self, call: Call) -> int:
        """Return the number of a call, which it gets when it is first seen."""
        keys = [inbox_call_key(call.task), INBOX, INBOX_SEEN]
        return int(self._see(keys=keys, args=[call.content, WAITING_CALL_SECONDS]))

    def add(
        self,
        call: Call,
        number: int,
        record_type: RecordType,
        records: Sequence[Accepted],
        *,
        refused: int = 0,
    ) -> Acceptance:
        """Accept the records of a call that no call with a higher number has brought.

        `refused` is the number of its other records. Does nothing if the call was accepted before, and returns what
        was accepted then. Raises InboxFull.
        """
        keys = [inbox_call_key(call.task), INBOX]
        keys += [inbox_key(record_type), inbox_numbers_key(record_type), INBOX_SEEN]
        limits = self._limit_bytes, CALL_SECONDS, WAITING_CALL_SECONDS, NUMBERED_RECORDS
        left = records
        while True:
            ids = [each.id for each in left]
            parts = [pack(part) for part in _split(call.task, number, left)]
            counts = number, len(records) - len(left), refused, len(parts)
            args = [record_type.value, len(ids), *limits, call.content, *counts, *parts, *ids]
            answer = self._add(keys=keys, args=args)
            match answer[0]:
                case b"accepted":
                    return Acceptance(int(answer[1]), int(answer[2]))
                case b"full":
                    raise InboxFull("too many records wait to be written: start more workers, or wait")
            superseded = set(map(int, answer[1:]))
            left = [each for each in left if each.id not in superseded]

    def state(self, task: str) -> CallState:
        """Return the state of the calls with this task id. Raises CallUnknown."""
        numbers = self._redis.hmget(inbox_call_key(task), CallState._fields)
        if numbers[0] is None:
            raise CallUnknown(f"no call with the task id {task!r} is accepted, or it is forgotten")
        return CallState(*(int(number or 0) for number in numbers))

    def waiting(self) -> dict[RecordType, Waiting]:
        """Return the types that have waiting records, with their number and age."""
        stored = self._redis.hgetall(INBOX)
        fields = dict(zip(text_of_all(stored), stored.values(), strict=True))
        found = {}
        for record_type in RecordType:
            records, since = (fields.get(field) for field in _fields(record_type))
            if records is not None and int(records) > 0:
                found[record_type] = Waiting(int(records), redis_now(self._redis) - float(since or 0))
        return found

    def head(self, record_type: RecordType, max_records: int, max_bytes: int) -> Head:
        """Return the oldest call parts, up to these limits, at least one.

        `max_bytes` limits the raw text. They stay in the inbox until `remove`.
        """
        parts: list[CallPart] = []
        packed: list[bytes] = []
        number = length = 0
        for blob in self._packed_parts(record_type):
            part = unpack(blob, CallPart)
            number += len(part.ids)
            length += sum(map(len, part.records))
            if parts and (number > max_records or length > max_bytes):
                break
            parts.append(part)
            packed.append(blob)
        return Head(record_type, parts, packed)

    def remove(self, pipe: Pipeline, head: Head) -> None:
        """Remove these call parts in a transaction; the caller holds the load lock.

        Raises HeadMoved if others are the oldest. The transaction must watch a key.
        """
        key, number = inbox_key(head.record_type), len(head.parts)
        # If Redis restarts after this, the connection of the transaction breaks, and it is repeated.
        if number and [*map(bytes_of, self._redis.lrange(key, 0, number - 1))] != head.packed:
            raise HeadMoved
        records, since = _fields(head.record_type)
        pipe.ltrim(key, number, -1)
        pipe.hincrby(INBOX, "bytes", -sum(map(len, head.packed)))
        pipe.hincrby(INBOX, records, -len(head.ids))
        pipe.hset(INBOX, since, str(redis_now(self._redis)))

    def _packed_parts(self, record_type: RecordType) -> Iterator[bytes]:
        # A few at a time: one part may hold one record or be megabytes long.
        start = 0
        while page := self._redis.lrange(inbox_key(record_type), start, start + PAGE_PARTS - 1):
            yield from map(bytes_of, page)
            start += len(page)


def _fields(record_type: RecordType) -> tuple[str, str]:
    return f"{record_type}:records", f"{record_type}:since"


def _split(task: str, number: int, records: Sequence[Accepted]) -> Iterator[CallPart]:
    for start in range(0, len(records), PART_RECORDS):
        some = records[start : start + PART_RECORDS]
        yield CallPart([each.id for each in some], [each.raw for each in some], task, number)

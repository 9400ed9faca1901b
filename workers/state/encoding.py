"""Values and replies of Redis as Python values, and back."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import zstandard
from redis import Redis

Value = TypeVar("Value")

#: Negative levels are the fastest ones of Zstandard: XML still shrinks to a third or less.
LEVEL = -8


def pack(value: Any) -> bytes:
    """`value` (msgspec types) as MessagePack, compressed by Zstandard."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(value))


def unpack(blob: bytes, expected: type[Value]) -> Value:
    """Return the value that `pack` was given; raises msgspec.ValidationError for another type."""
    # A compressor or decompressor object serves one thread at a time, so each call has its own.
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(blob), type=expected)


def bytes_of(reply: bytes | str) -> bytes:
    """Return a reply as bytes; text, which redis-py types too, is not configured."""
    return reply.encode() if isinstance(reply, str) else reply


def optional_bytes(reply: bytes | str | None) -> bytes | None:
    """Return a reply as bytes, or None for an absent value."""
    return None if reply is None else bytes_of(reply)


def text_of_all(replies: Iterable[Any]) -> list[str]:
    """Return replies as text."""
    return [str(reply, "utf-8") for reply in replies]


def redis_now(redis: Redis) -> float:
    """Return the Unix time by Redis's clock, which all machines share."""
    seconds, microseconds = redis.time()
    return float(seconds + microseconds / 1_000_000)

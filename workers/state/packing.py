"""Values that are too large for a message, as compressed bytes."""

from typing import Any, TypeVar

import msgspec
import zstandard

Value = TypeVar("Value")

#: Negative levels are zstd's fastest: XML still shrinks to a third or less.
LEVEL = -8


def pack(value: Any) -> bytes:
    """`value` (msgspec types) as MessagePack, compressed by Zstandard."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(value))


def unpack(blob: bytes, expected: type[Value]) -> Value:
    """The value that `pack` was given; raises msgspec.ValidationError if it is not of the type `expected`."""
    # A compressor or decompressor object serves one thread at a time, so each call has its own.
    return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(blob), type=expected)

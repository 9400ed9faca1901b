"""Names in Redis, and its replies as what they are."""

from collections.abc import Iterable
from typing import Any

#: Every key of ours begins with it.
PREFIX = "graphinator:"


def bytes_of(reply: bytes | str) -> bytes:
    """A reply of Redis; the client's types allow for text, which this client is not configured to give."""
    return reply.encode() if isinstance(reply, str) else reply


def optional_bytes(reply: bytes | str | None) -> bytes | None:
    """A reply of Redis, or None where there is nothing."""
    return None if reply is None else bytes_of(reply)


def text_of_all(replies: Iterable[Any]) -> list[str]:
    """Replies of Redis that are names."""
    return [str(reply, "utf-8") for reply in replies]

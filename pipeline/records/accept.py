"""Records that are handed over one by one instead of in a dump."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline.chunk import MAX_RECORD_BYTES
from pipeline.elements import MAX_INTEGER
from pipeline.errors import GraphinatorError, printable
from pipeline.model import RecordType
from pipeline.records.dictionaries import encode, is_dictionary
from pipeline.records.identity import IdentityError, identity
from pipeline.records.parse import Malformed, parse
from pipeline.records.xml import MalformedError

#: Refused records that an error message names.
MOST_TOLD = 5
# No JSON, no UTF-8, or too deep.
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class RecordsRefused(GraphinatorError):
    """Some records of a call are not of its type; the others are accepted."""


class Accepted(NamedTuple):
    """A well-formed record."""

    id: int
    raw: bytes


class Refused(NamedTuple):
    """A value that is not a record of its type, with the reason."""

    reason: str
    raw: bytes


def arguments(given: Sequence[Any], named: Mapping[str, Any]) -> tuple[RecordType, list[Any]]:
    """Return `record_type` and `records` of a call, given by place or by name.

    Raises RecordsRefused.
    """
    left = [name for name in ("record_type", "records") if name not in named]
    call = {**named, **dict(zip(left, given, strict=False))}
    if len(given) != len(left) or set(call) != {"record_type", "records"}:
        raise RecordsRefused("ingest takes record_type and records")
    record_type, records = call["record_type"], call["records"]
    if record_type not in list(RecordType):
        raise RecordsRefused(f"{record_type!r} is no record type: it is one of {', '.join(RecordType)}")
    if not isinstance(records, list):
        raise RecordsRefused(f"records is a list, not {type(records).__name__}")
    return RecordType(record_type), records


def refusal(outcomes: Sequence[Accepted | Refused]) -> str:
    """Return the message for refused records: their number, and the first ones with reasons."""
    told = [
        f"records[{place}]: {each.reason}" for place, each in enumerate(outcomes) if isinstance(each, Refused)
    ]
    rest = f"; and {len(told) - MOST_TOLD:,} more" if len(told) > MOST_TOLD else ""
    named = "; ".join(told[:MOST_TOLD])
    return printable(
        f"{len(told):,} of {len(outcomes):,} records refused, the others accepted: {named}{rest}"
    )


def accept(
    record_type: RecordType, value: object, max_record_bytes: int = MAX_RECORD_BYTES
) -> Accepted | Refused:
    """Accept a record, given as raw XML in a string or as a dictionary."""
    if isinstance(value, str):
        return _accept_xml(record_type, value.strip().encode(errors="ignore"), max_record_bytes)
    if not isinstance(value, dict):
        reason = f"a record is a string of XML or a dictionary, not {type(value).__name__}"
        return Refused(reason, _json(value))
    try:
        accepted = Accepted(*encode(record_type, value))
    except MalformedError as error:
        return Refused(str(error), _json(value))
    return accepted if len(accepted.raw) <= max_record_bytes else _too_long(accepted.raw, max_record_bytes)


def accept_raw(record_type: RecordType, raw: bytes, max_record_bytes: int) -> Accepted | Refused:
    """Accept the raw text of a record that was refused before, in either form."""
    if not is_dictionary(raw):
        return _accept_xml(record_type, raw, max_record_bytes)
    try:
        return accept(record_type, msgspec.json.decode(raw), max_record_bytes)
    except _UNDECODABLE as error:
        return Refused(str(error), raw)


def legible_id(record_type: RecordType, raw: bytes) -> int | None:
    """Return the Discogs id in any raw text; None without one."""
    try:
        if not is_dictionary(raw):
            return identity(record_type, raw)
        id_ = msgspec.json.decode(raw).get("id")
    except (IdentityError, *_UNDECODABLE):
        return None
    return id_ if type(id_) is int and 0 < id_ <= MAX_INTEGER else None


def _accept_xml(record_type: RecordType, raw: bytes, max_record_bytes: int) -> Accepted | Refused:
    if len(raw) > max_record_bytes:
        return _too_long(raw, max_record_bytes)
    if not raw.startswith(b"<"):
        return Refused("line 1, column 1: a string is the XML of one record", raw)
    (record,) = parse(record_type, [raw])
    return Refused(record.reason, raw) if isinstance(record, Malformed) else Accepted(record["id"], raw)


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Half of a surrogate pair: JSON has an escape for it, UTF-8 has not.
        return json.dumps(value, default=str).encode()


def _too_long(raw: bytes, max_record_bytes: int) -> Refused:
    return Refused(f"the record is longer than {max_record_bytes:,} bytes: {len(raw):,}", raw)

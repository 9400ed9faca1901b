"""Records as plain values: the JSON form of `pipeline.records.entities`, for callers that have no XML.

Such a record is a dictionary with the fields of `Artist`, `Label`, `Master` or `Release`; only `id` must be there. What it
says becomes of it what becomes of the same words in a dump. As bytes it begins with `{`, one of a dump with `<`.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline.model import RecordType
from pipeline.records.elements import year_of_date
from pipeline.records.entities import (
    Artist,
    Credit,
    Label,
    LabelReference,
    Master,
    Record,
    Reference,
    Release,
)
from pipeline.records.roles import category
from pipeline.records.xml import MAX_INTEGER, MalformedError

_TYPES: dict[RecordType, type[Record]] = {
    RecordType.ARTISTS: Artist,
    RecordType.LABELS: Label,
    RecordType.MASTERS: Master,
    RecordType.RELEASES: Release,
}
#: Fields that refer to records of the same type.
_OWN_KIND: dict[type[Record], tuple[str, ...]] = {
    Artist: ("aliases", "groups", "members"),
    Label: ("parents", "sublabels"),
}
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LAST_YEAR = 9999


def is_plain(record: bytes) -> bool:
    """Whether the raw text of a record is of this form."""
    return record[:1] == b"{"


def encode(record_type: RecordType, value: dict[str, Any]) -> tuple[int, bytes]:
    """The id and the raw text of a record; raises MalformedError, which names the field."""
    try:
        record = _clean(msgspec.convert(value, type=_TYPES[record_type]))
    except msgspec.ValidationError as error:
        raise MalformedError(str(error)) from error
    except UnicodeEncodeError as error:
        raise MalformedError("the name of a field holds half of a surrogate pair") from error
    return record.id, msgspec.json.encode(record)


def decode(record_type: RecordType, raw: bytes) -> Record:
    """The values of a record that `encode` gave."""
    return msgspec.json.decode(raw, type=_TYPES[record_type])


def _clean(record: Record) -> Record:
    """The record as the graph model wants it: no empty text, nothing twice, no reference to itself or to nothing."""
    if not 0 < record.id <= MAX_INTEGER:
        raise MalformedError(f"an id is a number from 1 to 2^63-1: {record.id} - at `$.id`")
    fields = {name: _field(name, getattr(record, name)) for name in record.__struct_fields__}
    for name in _OWN_KIND.get(type(record), ()):
        fields[name] = tuple(each for each in fields[name] if each.id != record.id)
    if isinstance(record, Label):
        fields["parents"] = fields["parents"][:1]
    if isinstance(record, Release):
        fields["year"] = year_of_date(fields["released"]) if fields["released"] else fields["year"]
    return replace(record, **fields)


def _field(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, tuple):
        return _number(name, value)
    if not value:
        return value
    if isinstance(value[0], str):
        texts = filter(None, map(_text, value))
        return tuple(texts) if name == "formats" else tuple(dict.fromkeys(texts))
    return tuple(_references(name, value))


def _text(value: str) -> str | None:
    return _ILLEGAL.sub("", value).strip() or None


def _number(name: str, value: int | None) -> int | None:
    if value is not None and not 0 <= value <= MAX_INTEGER:
        raise MalformedError(f"a number from 0 to 2^63-1 is expected: {value} - at `$.{name}`")
    return None if name == "year" and value is not None and value > _LAST_YEAR else value or None


def _references(field: str, values: Iterable[Any]) -> Iterable[Any]:
    """Distinct references to something, each with the first name that is given; credits with their category."""
    found: dict[Any, Any] = {}
    for place, value in enumerate(values):
        name = _text(value.name or "")
        if isinstance(value, Credit):
            role = _text(value.role)
            artist_id = _number(f"{field}[{place}].artist_id", value.artist_id)
            if name and role:
                found.setdefault((name, role, artist_id), Credit(name, role, category(role), artist_id))
            continue
        number = _number(f"{field}[{place}].id", value.id)
        if number is None:
            continue
        before = found.get(number, value)
        name = _text(before.name or "") or name
        if isinstance(value, LabelReference):
            catalog_numbers = (*(before.catalog_numbers if number in found else ()), *value.catalog_numbers)
            distinct = tuple(dict.fromkeys(filter(None, map(_text, catalog_numbers))))
            found[number] = LabelReference(number, name, distinct)
        else:
            found[number] = Reference(number, name)
    return found.values()

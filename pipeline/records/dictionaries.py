"""Records as dictionaries, for upstream tasks that have no XML.

A dictionary has the properties and relationships of its record type as fields; only `id` is required. It follows the
same rules as dump XML. As JSON it begins with `{`, a record of a dump with `<`.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.elements import LAST_YEAR, MAX_INTEGER, year_of_date
from pipeline.model import NODES, RELATIONSHIPS, Kind, Property, RecordType, Relationship, Row
from pipeline.records.rows import to_row
from pipeline.records.xml import MalformedError

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_dictionary(record: bytes) -> bool:
    """Return True for the JSON of a dictionary."""
    return record[:1] == b"{"


def encode(record_type: RecordType, value: dict[str, Any]) -> tuple[int, bytes]:
    """Return id and JSON of a record, cleaned; raises MalformedError, which names the field."""
    try:
        record: Any = msgspec.convert(value, type=_TYPES[record_type])
    except msgspec.ValidationError as error:
        raise MalformedError(str(error)) from error
    except UnicodeEncodeError as error:
        raise MalformedError("the name of a field holds half of a surrogate pair") from error
    if not 0 < record.id <= MAX_INTEGER:
        raise MalformedError(f"an id is a number from 1 to 2^63-1: {record.id} - at `$.id`")
    properties = [(each.name, _property(each, record)) for each in NODES[record_type.label].properties]
    row = to_row(record_type, record.id, properties, lambda each: _values(each, getattr(record, each.field)))
    return record.id, msgspec.json.encode(_dictionary(record_type, row))


def decode(record_type: RecordType, raw: bytes) -> Row:
    """Return the row of a record that `encode` gave."""
    value = msgspec.json.decode(raw)
    row: Row = {"id": value["id"], "properties": {"id": value["id"]}}
    for each in NODES[record_type.label].properties:
        if value.get(each.name):
            row["properties"][each.name] = value[each.name]
    for field, relationship in RELATIONSHIPS[record_type].items():
        found = value.get(field) or []
        row[field] = [found] if found and relationship.scalar else found
    return row


def _dictionary(record_type: RecordType, row: Row) -> dict[str, Any]:
    fields = {
        field: row[field][0] if relationship.scalar else row[field]
        for field, relationship in RELATIONSHIPS[record_type].items()
        if row[field]
    }
    return {**row["properties"], **fields}


def _property(property_: Property, record: Any) -> Any:
    value = _clean(property_, getattr(record, property_.name), property_.name)
    if property_.kind is Kind.YEAR_OF_DATE and (date := _text(getattr(record, property_.source))):
        return year_of_date(date)
    return value


def _clean(property_: Property, value: Any, place: str) -> Any:
    match property_.kind:
        case Kind.TEXT:
            return _text(value)
        case Kind.TEXTS:
            return list(dict.fromkeys(filter(None, map(_text, value))))
        case Kind.REPEATED_TEXTS:
            return list(filter(None, map(_text, value)))
        case Kind.NUMBER:
            return _number(value, place)
    year = _number(value, place)
    return None if year is not None and year > LAST_YEAR else year


def _values(relationship: Relationship, given: Any) -> Iterable[Any]:
    field = relationship.field
    if relationship.scalar:
        return [_number(given, field)]
    if relationship.is_key_only:
        return map(_text, given)
    return [_value(relationship, value, f"{field}[{place}]") for place, value in enumerate(given)]


def _value(relationship: Relationship, value: Any, place: str) -> dict[str, Any]:
    end: dict[str, Any] = {"id": _number(value.id, f"{place}.id")} if relationship.key == "id" else {}
    end["name"] = _text(value.name)
    for each in relationship.properties:
        if not each.computed:
            end[each.name] = _clean(each, getattr(value, each.name), f"{place}.{each.name}")
    return end


def _text(value: str | None) -> str | None:
    return None if value is None else _ILLEGAL.sub("", value).strip() or None


def _number(value: int | None, place: str) -> int | None:
    if value is not None and not 0 <= value <= MAX_INTEGER:
        raise MalformedError(f"a number from 0 to 2^63-1 is expected: {value} - at `$.{place}`")
    return value or None


_Field = tuple[str, Any] | tuple[str, Any, Any]


def _property_field(property_: Property) -> _Field:
    if property_.required:
        return property_.name, str
    if property_.computed:
        return property_.name, str, ""
    if property_.is_list:
        return property_.name, tuple[str, ...], ()
    return property_.name, (str if property_.kind is Kind.TEXT else int) | None, None


def _relationship_field(relationship: Relationship) -> _Field:
    if relationship.scalar:
        return relationship.field, int | None, None
    if relationship.is_key_only:
        return relationship.field, tuple[str, ...], ()
    fields: list[_Field] = (
        [("id", int), ("name", str | None, None)] if relationship.is_named else [("name", str)]
    )
    fields += map(_property_field, relationship.properties)
    return relationship.field, tuple[_struct(relationship.type, fields), ...], ()  # type: ignore[misc]  # made here


def _struct(name: str, fields: Iterable[_Field]) -> type[Struct]:
    return msgspec.defstruct(name, fields, frozen=True, forbid_unknown_fields=True)


_TYPES = {
    record_type: _struct(
        record_type.label,
        [
            ("id", int),
            *map(_property_field, NODES[record_type.label].properties),
            *map(_relationship_field, RELATIONSHIPS[record_type].values()),
        ],
    )
    for record_type in RecordType
}

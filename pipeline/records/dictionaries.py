"""Records as dictionaries, for upstream tasks that have no XML.

A dictionary has the properties and relationships of its record type as fields; only `id` is required. It follows the
same rules as dump XML. As JSON it begins with `{`, a record of a dump with `<`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from pipeline.elements import LAST_YEAR, MAX_INTEGER, year_of_date
from pipeline.model import NODES, RELATIONSHIPS, Kind, Property, RecordType, Relationship, Row
from pipeline.records.rows import LISTS, to_row
from pipeline.records.xml import MalformedError

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_dictionary(record: bytes) -> bool:
    """Return True for the JSON of a dictionary."""
    return record[:1] == b"{"


def encode(record_type: RecordType, value: dict[str, Any]) -> tuple[int, bytes]:
    """Return id and JSON of a record, cleaned; raises MalformedError, which names the field."""
    try:
        record: Any = msgspec.convert(value, type=TYPES[record_type])
    except msgspec.ValidationError as error:
        raise MalformedError(str(error)) from error
    except UnicodeEncodeError as error:
        raise MalformedError("the name of a field holds half of a surrogate pair") from error
    table = {each.name: each for each in NODES[record_type.label].properties}
    properties = [(name, _property(each, record, table.get(each.beside))) for name, each in table.items()]
    row = to_row(record_type, record.id, properties, lambda each: _values(each, getattr(record, each.field)))
    return record.id, msgspec.json.encode(_dictionary(record_type, row))


def decode(record_type: RecordType, raw: bytes, *, tracks: bool = True) -> Row:
    """Return the row of a record that `encode` gave; see `pipeline.records.parse`."""
    value = msgspec.json.decode(raw)

    def given(name: str, of_tracks: bool) -> Any:
        return value.get(name) if tracks or not of_tracks else None

    properties = [
        (each.name, given(each.name, each.of_tracks)) for each in NODES[record_type.label].properties
    ]
    return to_row(
        record_type, value["id"], properties, lambda each: _decoded(each, given(each.field, each.of_tracks))
    )


def _dictionary(record_type: RecordType, row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for field, key, properties in row["assertions"]:
        relationship = RELATIONSHIPS[record_type][field]
        if relationship.scalar:
            fields[field] = key
            continue
        value: Any = key
        if not relationship.is_key_only:
            value = {relationship.key: key}
            if relationship.is_named:
                value["name"] = row["names"].get(field, {}).get(int(key))
            for each, given in zip(relationship.properties, properties, strict=True):
                value[each.name] = given or () if each.is_list else given
        fields.setdefault(field, []).append(value)
    return {**row["properties"], **fields}


def _decoded(relationship: Relationship, found: Any) -> Iterable[Any]:
    """Return the raw values of a field of JSON."""
    if relationship.scalar:
        return [found]
    if relationship.is_key_only or not found:
        return found or ()
    names = [each.name for each in relationship.properties if not each.computed]
    ends = ("id", "name") if relationship.is_named else ("name",)
    return [tuple([value[name] for name in (*ends, *names)]) for value in found]


def _property(property_: Property, record: Any, beside: Property | None) -> Any:
    given = getattr(record, property_.name)
    if beside is not None:
        given = _beside(property_, given, beside, getattr(record, beside.name))
    if property_.kind is Kind.YEAR_OF_DATE and (date := _text(getattr(record, str(property_.source)))):
        return year_of_date(date)
    return _clean(property_, given)


def _beside(property_: Property, given: Sequence[str], beside: Property, texts: Sequence[str]) -> list[str]:
    """Return the entries of a list beside those that another one keeps."""
    entries = given or [""] * len(texts)
    if len(entries) != len(texts):
        raise MalformedError(
            f"`{property_.name}` has as many entries as `{beside.name}`, or none: {len(entries):,} and {len(texts):,}"
        )
    listed = LISTS[beside.kind]
    return [entry for entry, text in zip(entries, texts, strict=True) if listed([_text(text)])]


def _clean(property_: Property, value: Any) -> Any:
    if property_.is_list:
        return LISTS[property_.kind](map(_text, value))
    match property_.kind:
        case Kind.TEXT:
            return _text(value)
        case Kind.NUMBER | Kind.PLACE:
            return value or None
    return value if value and value <= LAST_YEAR else None


def _values(relationship: Relationship, given: Any) -> Iterable[Any]:
    if relationship.scalar:
        return [given or None]
    if relationship.is_key_only:
        return map(_text, given)
    return [_value(relationship, value) for value in given]


def _value(relationship: Relationship, value: Any) -> tuple[Any, ...]:
    name = _text(value.name)
    end = (value.id or None, name) if relationship.is_named else (name,)
    given = [each for each in relationship.properties if not each.computed]
    return (*end, *[_clean(each, getattr(value, each.name)) for each in given])


def _text(value: str | None) -> str | None:
    return None if value is None else _ILLEGAL.sub("", value).strip() or None


_ID = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
_NUMBER = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
_Field = tuple[str, Any] | tuple[str, Any, Any]


def _described(type_: Any, description: str) -> Any:
    return Annotated[type_, Meta(description=description)]


def _property_field(property_: Property) -> _Field:
    name, description = property_.name, property_.kind.value
    if isinstance(property_.source, str) and property_.source:
        description += f", `{property_.source}` in a dump"
    if property_.beside:
        description += f", one for each of `{property_.beside}`, or none at all"
    if property_.required:
        return name, _described(str, description)
    if property_.computed:
        return name, _described(str, f"{description}, ignored: it is computed"), ""
    if property_.is_list:
        return name, _described(tuple[str, ...], description), ()
    return name, _described((str if property_.kind is Kind.TEXT else _NUMBER) | None, description), None


def _relationship_field(relationship: Relationship) -> _Field:
    field, description, label = relationship.field, relationship.description, relationship.label.lower()
    if relationship.scalar:
        return field, _described(_NUMBER | None, f"id of {description}"), None
    if relationship.is_key_only:
        return field, _described(tuple[str, ...], f"each is {description}"), ()
    name = f"name of the {label}"
    fields: list[_Field] = (
        [("id", _described(_NUMBER, f"id of the {label}")), ("name", _described(str | None, name), None)]
        if relationship.is_named
        else [("name", _described(str, name))]
    )
    fields += map(_property_field, relationship.properties)
    value = _struct(f"{relationship.record.label}.{field}", fields)
    return field, _described(tuple[value, ...], f"each is {description}"), ()  # type: ignore[valid-type]  # made here


def _struct(name: str, fields: Iterable[_Field]) -> type[Struct]:
    return msgspec.defstruct(name, fields, frozen=True, forbid_unknown_fields=True)


#: The dictionaries of a record type, for checks and for their JSON Schema.
TYPES = {
    record_type: _struct(
        record_type.label,
        [
            ("id", _described(_ID, f"id of the {record_type.element}")),
            *map(_property_field, NODES[record_type.label].properties),
            *map(_relationship_field, RELATIONSHIPS[record_type].values()),
        ],
    )
    for record_type in RecordType
}

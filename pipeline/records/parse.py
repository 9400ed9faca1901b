"""Raw records to rows, as the table in `pipeline.model` describes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lxml.etree import _Element

from pipeline.elements import RecordXml, attribute_of, integer_of, text_of, tracklist, year_of, year_of_date
from pipeline.model import NODES, Kind, Property, RecordType, Row
from pipeline.records.dictionaries import decode, is_dictionary
from pipeline.records.identity import ID_IS_ATTRIBUTE
from pipeline.records.rows import LISTS, to_row
from pipeline.records.xml import MalformedError, element_of, elements_of

# As many records as make a tree that stays in the processor's cache while it is read.
_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that cannot be read, with the reason."""

    reason: str


def parse(record_type: RecordType, records: Sequence[bytes], *, tracks: bool = True) -> list[Row | Malformed]:
    """Return the rows of records, in their order, without fingerprints.

    A record that cannot be read becomes Malformed. A row does not depend on the other records. A record is raw XML, or
    a dictionary as JSON. With `tracks` False, rows are those of a graph without tracks.
    """
    if any(map(is_dictionary, records)):
        return [
            decode(record_type, record, tracks=tracks)
            if is_dictionary(record)
            else _alone(record_type, record, tracks)
            for record in records
        ]
    results: list[Row | Malformed] = []
    for start in range(0, len(records), _TOGETHER):
        group = records[start : start + _TOGETHER]
        elements = elements_of(group)
        if elements is None:
            results.extend(_alone(record_type, record, tracks) for record in group)
        else:
            results.extend(_row(record_type, element, tracks) for element in elements)
    return results


def _alone(record_type: RecordType, record: bytes, tracks: bool) -> Row | Malformed:
    try:
        return _row(record_type, element_of(record), tracks)
    except MalformedError as error:
        return Malformed(str(error))


def _row(record_type: RecordType, element: _Element, tracks: bool) -> Row | Malformed:
    expected = record_type.element
    if element.tag != expected:
        return Malformed(f"line 1, column 1: not <{expected}> but <{element.tag}>")
    children: dict[str, list[_Element]] = {}
    for child in element:
        tag = child.tag
        if tag in children:
            children[tag].append(child)
        else:
            children[tag] = [child]
    record = RecordXml(element, children, tracklist(children.get("tracklist", [])) if tracks else [])
    number = integer_of(element.get("id") if record_type in ID_IS_ATTRIBUTE else record.text("id"))
    if number is None:
        return Malformed(f"line 1, column 1: <{expected}> without an id from 1 to 2^63-1")
    properties = [(name, read(record)) for name, read in _PROPERTIES[record_type]]
    return to_row(record_type, number, properties, lambda relationship: relationship.read(record))


def _reader(property_: Property) -> Callable[[RecordXml], Any]:
    """Return the function that reads a property from its source in the XML."""
    source = property_.source
    if callable(source):
        listed = LISTS[property_.kind]
        return lambda record: listed(source(record))
    path, _, attribute = source.partition("@")
    tag, _, child = path.partition("/")
    if property_.is_list:
        read = partial(attribute_of, name=attribute) if attribute else text_of
        listed = LISTS[property_.kind]
        return lambda record: listed(map(read, record.inside(tag, child)))
    if attribute:
        return lambda record: attribute_of(record.element, attribute)
    convert = {Kind.NUMBER: integer_of, Kind.YEAR: year_of, Kind.YEAR_OF_DATE: year_of_date}.get(
        property_.kind
    )
    return (lambda record: convert(record.text(tag))) if convert else (lambda record: record.text(tag))


_PROPERTIES = {
    record_type: [(each.name, _reader(each)) for each in NODES[record_type.label].properties]
    for record_type in RecordType
}

"""Functions that read the values of a relationship from a record's XML; `pipeline.model` names them.

A reader gives raw values: `pipeline.records.rows` drops those that refer to nothing and merges repeated ones.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lxml.etree import _Element

#: Ids and years are signed 64-bit integers in Neo4j.
MAX_INTEGER = (1 << 63) - 1

LAST_YEAR = 9999
_FOUR_DIGITS = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class RecordXml:
    """The XML of one record: its element, and its children by tag."""

    element: _Element
    children: dict[str, list[_Element]]

    def text(self, tag: str) -> str | None:
        """Return the text of the first child with this tag; None if empty."""
        found = self.children.get(tag)
        return text_of(found[0]) if found else None

    def inside(self, tag: str, *child_tags: str) -> Iterator[_Element]:
        """Iterate over the grandchildren with one of `child_tags` in all children with this tag."""
        parents = self.children.get(tag)
        if parents is None:
            return iter(())
        return (child for parent in parents for child in parent if child.tag in child_tags)


#: Reads values of one relationship: `{"id": …, "name": …}` with its properties, or plain keys.
Reader = Callable[[RecordXml], Iterable[Any]]


def text_of(element: _Element) -> str | None:
    """Return the text of an element without surrounding white space; None if empty."""
    return (element.text or "").strip() or None


def attribute_of(element: _Element, name: str) -> str | None:
    """Return the text of an attribute without surrounding white space; None if empty."""
    return (element.get(name) or "").strip() or None


def integer_of(text: str | None) -> int | None:
    """Return a number from 1 to 2^63-1; None for every other text."""
    if text is None or not (digits := text.strip()).isdecimal() or not digits.isascii():
        return None
    number = int(digits[-20:]) if not digits[:-20].strip("0") else 0
    return number if 0 < number <= MAX_INTEGER else None


def year_of(text: str | None) -> int | None:
    """Return a year from 1 to 9999; None for every other text."""
    year = integer_of(text)
    return year if year is not None and year <= LAST_YEAR else None


def year_of_date(date: str | None) -> int | None:
    """Return the year of a date such as `1999-03-00`; None without four digits in front."""
    digits = _FOUR_DIGITS.match(date or "")
    return year_of(digits[0]) if digits else None


def texts(tag: str, child_tag: str) -> Reader:
    """Read the texts of a list such as `genres`."""
    return lambda record: map(text_of, record.inside(tag, child_tag))


def number(tag: str) -> Reader:
    """Read one id, the text of a child."""
    return lambda record: [integer_of(record.text(tag))]


def references(tag: str, *child_tags: str) -> Reader:
    """Read references by attribute `id` from the children of `tag`, or from `tag` itself.

    Older dumps have an element `id` before the name of an artist instead.
    """

    def read(record: RecordXml) -> Iterator[dict[str, Any]]:
        before: int | None = None
        found = record.inside(tag, *child_tags) if child_tags else record.children.get(tag, ())
        for element in found:
            if element.tag == "id":
                before = integer_of(element.text)
                yield {"id": before, "name": None}
            else:
                printed = element.get("id")
                yield {
                    "id": before if printed is None else integer_of(printed),
                    "name": text_of(element),
                }
                before = None

    return read


def main_artists(record: RecordXml) -> Iterator[dict[str, Any]]:
    """Read the artists of a master or release."""
    for artist in record.inside("artists", "artist"):
        found = first_texts(artist, "id", "name")
        yield {"id": integer_of(found.get("id")), "name": found.get("name")}


def labels(record: RecordXml) -> Iterator[dict[str, Any]]:
    """Read the labels of a release, each with at most one catalog number."""
    for label in record.inside("labels", "label"):
        catalog_number = attribute_of(label, "catno")
        yield {
            "id": integer_of(label.get("id")),
            "name": attribute_of(label, "name"),
            "catalog_numbers": [catalog_number] if catalog_number else [],
        }


def credited(record: RecordXml) -> Iterator[dict[str, Any]]:
    """Read the credits of a release, not those of its tracks.

    `name` is the name under which Discogs files the person. The spelling of one sleeve (`anv`) would make a person of
    each spelling.
    """
    for artist in record.inside("extraartists", "artist"):
        found = first_texts(artist, "id", "name", "role")
        yield {"name": found.get("name"), "role": found.get("role"), "artist_id": integer_of(found.get("id"))}


def first_texts(element: _Element, *tags: str) -> dict[str, str | None]:
    """Return the text of the first child with each of these tags."""
    found: dict[str, str | None] = {}
    for child in element:
        tag = child.tag
        if tag in tags and tag not in found:
            found[tag] = text_of(child)
    return found

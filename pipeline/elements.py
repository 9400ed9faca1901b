"""Functions that read the values of a relationship from a record's XML; `pipeline.model` names them.

A reader gives raw values: the key of the other end alone, or a tuple of the end's id and name, or of its name alone, and
of the properties that are not computed, in the order of the table. `pipeline.records.rows` drops values that refer to
nothing and merges repeated ones.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from lxml.etree import _Element

#: Ids and years are signed 64-bit integers in Neo4j.
MAX_INTEGER = (1 << 63) - 1

LAST_YEAR = 9999
_FOUR_DIGITS = re.compile(r"[0-9]{4}")


class Track(NamedTuple):
    """A track of a release."""

    title: str
    position: str
    duration: str
    #: The position, or the number in the tracklist.
    place: str
    artists: list[_Element]
    credits: list[_Element]


@dataclass(frozen=True, slots=True)
class RecordXml:
    """The XML of one record: its element, its children by tag, its tracks."""

    element: _Element
    children: dict[str, list[_Element]]
    #: Empty for a graph without tracks.
    tracks: list[Track]

    def text(self, tag: str) -> str | None:
        """Return the text of the first child with this tag; None if empty."""
        found = self.children.get(tag)
        return text_of(found[0]) if found else None

    def inside(self, tag: str, *child_tags: str) -> list[_Element]:
        """Return the grandchildren with one of `child_tags` in all children with this tag."""
        return [child for parent in self.children.get(tag, ()) for child in parent if child.tag in child_tags]


#: Reads the raw values of one relationship.
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
    number = int(digits.lstrip("0")[:20] or 0)
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

    def read(record: RecordXml) -> Iterator[tuple[int | None, str | None]]:
        before: int | None = None
        found = record.inside(tag, *child_tags) if child_tags else record.children.get(tag, ())
        for element in found:
            if element.tag == "id":
                before = integer_of(element.text)
                yield before, None
            else:
                printed = element.get("id")
                yield before if printed is None else integer_of(printed), text_of(element)
                before = None

    return read


def tracklist(lists: list[_Element]) -> list[Track]:
    """Return the tracks of tracklists, sub-tracks after their parent, without headings.

    A heading has no position, artists, credits or sub-tracks.
    """
    tracks: list[Track] = []
    waiting = [child for found in reversed(lists) for child in reversed(found) if child.tag == "track"]
    while waiting:
        texts: dict[str, str] = {}
        artists: list[_Element] = []
        credits_: list[_Element] = []
        parts: list[_Element] = []
        for child in waiting.pop():
            tag = child.tag
            if tag == "artists":
                artists += [each for each in child if each.tag == "artist"]
            elif tag == "extraartists":
                credits_ += [each for each in child if each.tag == "artist"]
            elif tag == "sub_tracks":
                parts += [each for each in child if each.tag == "track"]
            elif tag not in texts:
                texts[tag] = (child.text or "").strip()
        position = texts.get("position", "")
        if position or artists or credits_ or parts:
            place = position or str(len(tracks) + 1)
            title, duration = texts.get("title", ""), texts.get("duration", "")
            tracks.append(Track(title, position, duration, place, artists, credits_))
            waiting += reversed(parts)
    return tracks


def track_texts(field: str) -> Callable[[RecordXml], Iterator[str | None]]:
    """Read one text of each track: `title`, `position` or `duration`."""
    read = attrgetter(field)
    return lambda record: map(read, record.tracks)


def main_artists(record: RecordXml) -> Iterator[tuple[Any, ...]]:
    """Read the artists of a master or release; their place is the position."""
    for artist in record.inside("artists", "artist"):
        id_, name, credited_as, join = first_texts(artist, "id", "name", "anv", "join")
        yield integer_of(id_), name, None, credited_as, join


def track_artists(record: RecordXml) -> Iterator[tuple[Any, ...]]:
    """Read the artists of a release's tracks."""
    for track in record.tracks:
        for artist in track.artists:
            id_, name, credited_as = first_texts(artist, "id", "name", "anv")
            yield integer_of(id_), name, (track.place,), (credited_as,)


def labels(record: RecordXml) -> Iterator[tuple[Any, ...]]:
    """Read the labels of a release, each with at most one catalog number."""
    for label in record.inside("labels", "label"):
        catalog_number = attribute_of(label, "catno")
        yield integer_of(label.get("id")), attribute_of(label, "name"), (catalog_number,)


def series(record: RecordXml) -> Iterator[tuple[Any, ...]]:
    """Read the series of a release."""
    for each in record.inside("series", "series"):
        yield integer_of(each.get("id")), attribute_of(each, "name"), attribute_of(each, "catno")


def companies(record: RecordXml) -> Iterator[tuple[Any, ...]]:
    """Read the companies of a release."""
    for company in record.inside("companies", "company"):
        id_, name, catalog_number, role = first_texts(company, "id", "name", "catno", "entity_type_name")
        yield integer_of(id_), name, role, catalog_number


def credited(record: RecordXml) -> Iterator[tuple[Any, ...]]:
    """Read the credits of a release, then those of its tracks, with roles as printed.

    `name` is the name under which Discogs files the person. The spelling of one sleeve (`anv`) would make a person of
    each spelling.
    """
    for artist in record.inside("extraartists", "artist"):
        id_, name, credited_as, role, tracks = first_texts(artist, "id", "name", "anv", "role", "tracks")
        yield name, role, None, integer_of(id_), (tracks,), (credited_as,)
    for track in record.tracks:
        for artist in track.credits:
            id_, name, credited_as, role = first_texts(artist, "id", "name", "anv", "role")
            yield name, role, None, integer_of(id_), (track.place,), (credited_as,)


def format_details(record: RecordXml) -> Iterator[str]:
    """Read quantity, descriptions and text of each format with a name."""
    for each in record.inside("formats", "format"):
        if attribute_of(each, "name"):
            quantity = integer_of(each.get("qty")) or 1
            details = [f"{quantity} \N{MULTIPLICATION SIGN}"] if quantity != 1 else []
            details += [
                text
                for child in each
                if child.tag == "descriptions"
                for description in child
                if description.tag == "description" and (text := text_of(description))
            ]
            if free := attribute_of(each, "text"):
                details.append(free)
            yield ", ".join(details)


def identifiers(record: RecordXml) -> Iterator[str]:
    """Read identifiers as `type: value` or `type (description): value`."""
    for each in record.inside("identifiers", "identifier"):
        kind, value = attribute_of(each, "type"), attribute_of(each, "value")
        if kind and value:
            description = attribute_of(each, "description")
            yield f"{kind} ({description}): {value}" if description else f"{kind}: {value}"


def barcodes(record: RecordXml) -> Iterator[str | None]:
    """Read the barcodes as printed."""
    for each in record.inside("identifiers", "identifier"):
        if attribute_of(each, "type") == "Barcode":
            yield each.get("value")


def first_texts(element: _Element, *tags: str) -> list[str | None]:
    """Return the text of the first child with each of these tags."""
    texts: dict[str, str | None] = {}
    for child in element:
        tag = child.tag
        if tag in tags and tag not in texts:
            texts[tag] = (child.text or "").strip() or None
            if len(texts) == len(tags):
                break
    return list(map(texts.get, tags))

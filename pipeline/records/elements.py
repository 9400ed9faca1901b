"""The parts of a record's XML that several record types share: texts, lists, references, credits."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from lxml.etree import _Element

from pipeline.records.entities import Credit, LabelReference, Reference
from pipeline.records.roles import category
from pipeline.records.xml import integer_of

_LAST_YEAR = 9999
_FOUR_DIGITS = re.compile(r"[0-9]{4}")
_ARTIST_TEXTS = frozenset(("id", "name", "role"))


class Parts(NamedTuple):
    """The child elements of a record: the text of the first of each name, and those that hold others."""

    texts: dict[str, str]
    nested: dict[str, list[_Element]]

    def inside(self, tag: str, *child_tags: str) -> Iterable[_Element]:
        """What stands, under one of the names given, in any child element named `tag`."""
        return (child for parent in self.nested.get(tag, ()) for child in parent if child.tag in child_tags)

    def listed(self, tag: str, child_tag: str) -> tuple[str, ...]:
        """The distinct texts of a list such as `urls`, in its order."""
        return tuple(dict.fromkeys(filter(None, map(text_of, self.inside(tag, child_tag)))))


def text_of(element: _Element) -> str:
    """The text of an element without white space around it; empty if there is none."""
    return (element.text or "").strip()


def attribute_of(element: _Element, name: str) -> str:
    """The text of an attribute without white space around it; empty if there is none."""
    return (element.get(name) or "").strip()


def year_of(text: str | None) -> int | None:
    """A year from 1 to 9999; None for every other text."""
    year = integer_of(text)
    return year if year is not None and year <= _LAST_YEAR else None


def year_of_date(date: str | None) -> int | None:
    """The year of a date that begins with four digits, such as `1999-03-00`; None for every other text."""
    digits = _FOUR_DIGITS.match(date or "")
    return year_of(digits[0]) if digits else None


def formats_of(parts: Parts) -> tuple[str, ...]:
    """The names of the formats, one for each entry."""
    return tuple(filter(None, (attribute_of(entry, "name") for entry in parts.inside("formats", "format"))))


def references_of(own: int, elements: Iterable[_Element]) -> tuple[Reference, ...]:
    """References by attribute `id`, or by an element `id` before the name as in older dumps."""
    names: dict[int, str | None] = {}
    before: int | None = None
    for element in elements:
        if element.tag == "id":
            number = before = integer_of(element.text)
            name = None
        else:
            number = before if (printed := element.get("id")) is None else integer_of(printed)
            before = None
            name = text_of(element) or None
        if number is not None and number != own:
            names[number] = names.get(number) or name
    return tuple(Reference(number, name) for number, name in names.items())


def artists_of(parts: Parts) -> tuple[Reference, ...]:
    """The artists of a master or release."""
    names: dict[int, str | None] = {}
    for artist in parts.inside("artists", "artist"):
        texts = _first_texts(artist)
        number = integer_of(texts.get("id"))
        if number is not None:
            names[number] = names.get(number) or texts.get("name") or None
    return tuple(Reference(number, name) for number, name in names.items())


def labels_of(parts: Parts) -> tuple[LabelReference, ...]:
    """The labels of a release, each with the distinct catalog numbers of its entries."""
    names: dict[int, str | None] = {}
    numbers: dict[int, dict[str, None]] = {}
    for label in parts.inside("labels", "label"):
        number = integer_of(label.get("id"))
        if number is not None:
            names[number] = names.get(number) or attribute_of(label, "name") or None
            catalog_number = attribute_of(label, "catno")
            numbers.setdefault(number, {}).update({catalog_number: None} if catalog_number else {})
    return tuple(LabelReference(number, name, tuple(numbers[number])) for number, name in names.items())


def credits_of(parts: Parts) -> tuple[Credit, ...]:
    """The distinct credits of a release that have a name and a role; not those of its tracks."""
    distinct: dict[tuple[str, str, int | None], Credit] = {}
    for artist in parts.inside("extraartists", "artist"):
        texts = _first_texts(artist)
        name, role = texts.get("name"), texts.get("role")
        if name and role:
            number = integer_of(texts.get("id"))
            distinct[name, role, number] = Credit(name, role, category(role), number)
    return tuple(distinct.values())


def _first_texts(element: _Element) -> dict[str, str]:
    texts: dict[str, str] = {}
    for child in element:
        tag = child.tag
        if tag in _ARTIST_TEXTS:
            texts.setdefault(tag, text_of(child))
    return texts

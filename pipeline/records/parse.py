"""Discogs records: XML to typed values, as the graph's contract says."""

from collections.abc import Callable, Sequence

from lxml.etree import _Element

from pipeline.model import RecordType
from pipeline.records.dictionaries import decode, is_plain
from pipeline.records.elements import (
    Parts,
    artists_of,
    attribute_of,
    credits_of,
    formats_of,
    labels_of,
    references_of,
    text_of,
    year_of,
    year_of_date,
)
from pipeline.records.entities import Artist, Label, Malformed, Master, Record, Release
from pipeline.records.rows import to_row
from pipeline.records.xml import MalformedError, element_of, elements_of, integer_of

__all__ = ["Artist", "Label", "Malformed", "Master", "Record", "Release", "parse", "to_row"]

# As many records as make a tree that stays in the processor's cache while it is read.
_TOGETHER = 32


def parse(record_type: RecordType, records: Sequence[bytes]) -> list[Record | Malformed]:
    """The values of records, in their order; Malformed with its reason in place of one that cannot be read.

    What becomes of a record does not depend on the others. A record is raw XML, or of the plain form.
    """
    if any(map(is_plain, records)):
        return [
            decode(record_type, record) if is_plain(record) else _alone(record_type, record)
            for record in records
        ]
    results: list[Record | Malformed] = []
    for start in range(0, len(records), _TOGETHER):
        group = records[start : start + _TOGETHER]
        elements = elements_of(group)
        if elements is None:
            results.extend(_alone(record_type, record) for record in group)
        else:
            results.extend(_record(record_type, element) for element in elements)
    return results


def _alone(record_type: RecordType, record: bytes) -> Record | Malformed:
    try:
        return _record(record_type, element_of(record))
    except MalformedError as error:
        return Malformed(str(error))


def _record(record_type: RecordType, element: _Element) -> Record | Malformed:
    if element.tag != record_type.element:
        return Malformed(f"line 1, column 1: not <{record_type.element}> but <{element.tag}>")
    texts, nested = _CONTENT[record_type]
    parts = Parts({}, {})
    for child in element:
        tag = child.tag
        if tag in texts:
            parts.texts.setdefault(tag, text_of(child))
        elif tag in nested:
            parts.nested.setdefault(tag, []).append(child)
    printed = element.get("id") if record_type in _ID_IS_ATTRIBUTE else parts.texts.get("id")
    number = integer_of(printed)
    if number is None:
        return Malformed(f"line 1, column 1: <{record_type.element}> without an id from 1 to 2^63-1")
    return _MAKERS[record_type](number, element, parts)


def _artist(number: int, _: _Element, parts: Parts) -> Artist:
    texts = parts.texts
    return Artist(
        id=number,
        name=texts.get("name") or None,
        real_name=texts.get("realname") or None,
        profile=texts.get("profile") or None,
        data_quality=texts.get("data_quality") or None,
        urls=parts.listed("urls", "url"),
        name_variations=parts.listed("namevariations", "name"),
        aliases=references_of(number, parts.inside("aliases", "name", "id")),
        groups=references_of(number, parts.inside("groups", "name", "id")),
        members=references_of(number, parts.inside("members", "name", "id")),
    )


def _label(number: int, _: _Element, parts: Parts) -> Label:
    texts = parts.texts
    return Label(
        id=number,
        name=texts.get("name") or None,
        contact_info=texts.get("contactinfo") or None,
        profile=texts.get("profile") or None,
        data_quality=texts.get("data_quality") or None,
        urls=parts.listed("urls", "url"),
        parents=references_of(number, parts.nested.get("parentLabel", ()))[:1],
        sublabels=references_of(number, parts.inside("sublabels", "label")),
    )


def _master(number: int, _: _Element, parts: Parts) -> Master:
    texts = parts.texts
    return Master(
        id=number,
        title=texts.get("title") or None,
        year=year_of(texts.get("year")),
        data_quality=texts.get("data_quality") or None,
        main_release=integer_of(texts.get("main_release")),
        artists=artists_of(parts),
        genres=parts.listed("genres", "genre"),
        styles=parts.listed("styles", "style"),
    )


def _release(number: int, element: _Element, parts: Parts) -> Release:
    texts = parts.texts
    return Release(
        id=number,
        title=texts.get("title") or None,
        year=year_of_date(texts.get("released")),
        released=texts.get("released") or None,
        country=texts.get("country") or None,
        formats=formats_of(parts),
        status=attribute_of(element, "status") or None,
        data_quality=texts.get("data_quality") or None,
        notes=texts.get("notes") or None,
        artists=artists_of(parts),
        labels=labels_of(parts),
        master=integer_of(texts.get("master_id")),
        genres=parts.listed("genres", "genre"),
        styles=parts.listed("styles", "style"),
        credits=credits_of(parts),
    )


_ID_IS_ATTRIBUTE = (RecordType.MASTERS, RecordType.RELEASES)
_CONTENT = {
    RecordType.ARTISTS: (
        frozenset(("id", "name", "realname", "profile", "data_quality")),
        frozenset(("urls", "namevariations", "aliases", "groups", "members")),
    ),
    RecordType.LABELS: (
        frozenset(("id", "name", "contactinfo", "profile", "data_quality")),
        frozenset(("urls", "parentLabel", "sublabels")),
    ),
    RecordType.MASTERS: (
        frozenset(("title", "year", "data_quality", "main_release")),
        frozenset(("artists", "genres", "styles")),
    ),
    RecordType.RELEASES: (
        frozenset(("title", "released", "country", "data_quality", "notes", "master_id")),
        frozenset(("formats", "artists", "labels", "genres", "styles", "extraartists")),
    ),
}
_MAKERS: dict[RecordType, Callable[[int, _Element, Parts], Record]] = {
    RecordType.ARTISTS: _artist,
    RecordType.LABELS: _label,
    RecordType.MASTERS: _master,
    RecordType.RELEASES: _release,
}

"""The graph as one table: nodes, their properties, and the relationships that records assert.

Parsing, the schema, writing, comparing, statistics and the documentation follow from it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, TypedDict

from pipeline.elements import (
    Reader,
    RecordXml,
    barcodes,
    companies,
    credited,
    format_details,
    identifiers,
    labels,
    main_artists,
    number,
    references,
    series,
    texts,
    track_artists,
    track_texts,
)
from pipeline.roles import category, each_role

#: One relationship that a record asserts: its field in `RELATIONSHIPS`, the key of the other end, and the values of its
#: properties in the table's order, a list as a tuple, nothing as None. A plain tuple: a release has twenty.
Assertion = tuple[str, int | str, tuple[int | str | tuple[str, ...] | None, ...]]


class Row(TypedDict):
    """One record as it is written."""

    id: int
    properties: dict[str, Any]
    #: Distinct.
    assertions: list[Assertion]
    #: Names that references give, by field and id.
    names: dict[str, dict[int, str]]


#: Raised once in a release in which the same record becomes other nodes, properties or relationships than before:
#: it is part of every fingerprint, so the next load rewrites every record.
MAPPING_VERSION = 3


class RecordType(StrEnum):
    """A Discogs record type; its value is the root element of its dump."""

    ARTISTS = "artists"
    LABELS = "labels"
    MASTERS = "masters"
    RELEASES = "releases"

    @property
    def element(self) -> str:
        """The XML element of one record: `artist`, `label`, `master`, `release`."""
        return self.value[:-1]

    @property
    def label(self) -> str:
        """The node label of one record: `Artist`, `Label`, `Master`, `Release`."""
        return self.value[:-1].capitalize()


class Kind(Enum):
    """The kind of a property's value."""

    TEXT = "text"
    #: Distinct texts, in their order.
    TEXTS = "list of texts"
    #: Texts in their order, repeated ones too.
    REPEATED_TEXTS = "list of texts, repeats kept"
    #: Texts in their order, repeated and empty ones too.
    ALL_TEXTS = "list of texts, repeated and empty ones kept"
    #: Distinct texts, sorted.
    SORTED_TEXTS = "list of texts, sorted"
    #: The digits of distinct texts.
    DIGITS = "list of digits"
    NUMBER = "number"
    #: The place among the values of the record's relationship, from 1; a dictionary may give another one.
    PLACE = "number, the place in the list unless it is given"
    YEAR = "year"
    #: The year of a date; in a dictionary it may be given without the date.
    YEAR_OF_DATE = "year of a date"


@dataclass(frozen=True, slots=True)
class Property:
    """A property of a node or relationship; dictionaries use its name."""

    name: str
    kind: Kind
    #: Source in XML, for nodes: `child`, `child/grandchild`, `@attribute` or `child/grandchild@attribute`; or a function
    #: that reads the texts of a list.
    source: str | Callable[[RecordXml], Iterable[str | None]] = ""
    #: A relationship without it is not asserted.
    required: bool = False
    #: Relationships of the same two nodes are one for each value. Without, they are one: lists are joined, and of other
    #: values the first counts.
    is_key: bool = False
    #: Computes a relationship's property from others, which are named.
    computed: tuple[tuple[str, ...], Callable[..., Any]] | None = None
    #: A list of the same node that this one has an entry for each entry of.
    beside: str = ""
    #: Left out of a graph without tracks.
    of_tracks: bool = False

    @property
    def is_list(self) -> bool:
        """Return True for a property that holds several texts."""
        return self.kind.value.startswith("list")


@dataclass(frozen=True, slots=True)
class Node:
    """A node label with its key and properties."""

    label: str
    #: `id`, or `name` for nodes without records of their own.
    key: str
    properties: tuple[Property, ...] = ()
    #: Properties with a range index.
    range_indexes: tuple[str, ...] = ()
    #: The properties in its full-text index.
    text_index: tuple[str, ...] = ()
    #: The relationship over which releases count in its statistics.
    counted_over: str = ""
    #: Statistics that count its relationships of one type: property and type.
    degrees: tuple[tuple[str, str], ...] = ()
    #: Properties of a stub that references set and that outlive the record.
    stub_properties: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """Properties that no record defines: a rewritten record keeps them."""
        names = [name for name, _ in self.degrees]
        return ("release_count", "first_year", *names) if self.counted_over else (*names,)


@dataclass(frozen=True, slots=True)
class Relationship:
    """A relationship that records of one type assert."""

    type: str
    #: Its field in assertions and dictionaries.
    field: str
    record: RecordType
    #: The label of its other end.
    label: str
    read: Reader
    description: str
    properties: tuple[Property, ...] = ()
    #: Leads to the record.
    incoming: bool = False
    #: The record of the other end may assert it too.
    shared: bool = False
    #: A record asserts at most one.
    single: bool = False
    #: A dictionary gives one id, not a list.
    scalar: bool = False
    #: Makes several raw values of one.
    split: Callable[[tuple[Any, ...]], Iterable[tuple[Any, ...]]] | None = None
    #: Left out of a graph without tracks.
    of_tracks: bool = False

    @property
    def key(self) -> str:
        """The key of the other end: `id` or `name`."""
        return NODES[self.label].key

    @property
    def is_key_only(self) -> bool:
        """Return True if a value is the other end's key alone."""
        return not self.properties and (self.scalar or self.key == "name")

    @property
    def is_named(self) -> bool:
        """Return True if a value holds id and name of the other end."""
        return self.key == "id" and not self.scalar

    @property
    def is_own(self) -> bool:
        """Return True if it connects two records of the same type."""
        return self.label == self.record.label

    @property
    def flag(self) -> str:
        """The property of a shared relationship that is true while this record asserts it."""
        return "asserted_by_end" if self.incoming else "asserted_by_start"

    @property
    def ends(self) -> tuple[str, str]:
        """The labels of its start and its end."""
        return (self.label, self.record.label) if self.incoming else (self.record.label, self.label)


@dataclass(frozen=True, slots=True)
class Derived:
    """A relationship that follows from others; `pipeline.graph.derived` has its rule."""

    type: str
    start: str
    end: str
    description: str
    #: The key of its start is a name for a stub at its end.
    names_end: bool = False


_DATA_QUALITY = Property("data_quality", Kind.TEXT, "data_quality")

#: By label, in the order in which transactions lock them: the records of a batch first, then their other ends.
NODES: dict[str, Node] = {
    node.label: node
    for node in (
        Node(
            "Release",
            "id",
            (
                Property("title", Kind.TEXT, "title"),
                Property("year", Kind.YEAR_OF_DATE, "released"),
                Property("released", Kind.TEXT, "released"),
                Property("country", Kind.TEXT, "country"),
                Property("formats", Kind.REPEATED_TEXTS, "formats/format@name"),
                Property("format_details", Kind.ALL_TEXTS, format_details, beside="formats"),
                Property("barcodes", Kind.DIGITS, barcodes),
                Property("identifiers", Kind.TEXTS, identifiers),
                Property("tracks", Kind.ALL_TEXTS, track_texts("title"), of_tracks=True),
                Property(
                    "track_positions",
                    Kind.ALL_TEXTS,
                    track_texts("position"),
                    beside="tracks",
                    of_tracks=True,
                ),
                Property(
                    "track_durations",
                    Kind.ALL_TEXTS,
                    track_texts("duration"),
                    beside="tracks",
                    of_tracks=True,
                ),
                Property("status", Kind.TEXT, "@status"),
                _DATA_QUALITY,
                Property("notes", Kind.TEXT, "notes"),
            ),
            range_indexes=("year",),
            text_index=("title", "tracks", "barcodes"),
        ),
        Node(
            "Master",
            "id",
            (
                Property("title", Kind.TEXT, "title"),
                Property("year", Kind.YEAR, "year"),
                _DATA_QUALITY,
                Property("main_release", Kind.NUMBER, "main_release"),
            ),
            range_indexes=("year",),
            text_index=("title",),
        ),
        Node(
            "Artist",
            "id",
            (
                Property("name", Kind.TEXT, "name"),
                Property("real_name", Kind.TEXT, "realname"),
                Property("profile", Kind.TEXT, "profile"),
                _DATA_QUALITY,
                Property("urls", Kind.TEXTS, "urls/url"),
                Property("name_variations", Kind.TEXTS, "namevariations/name"),
            ),
            range_indexes=("name",),
            text_index=("name",),
            counted_over="BY",
            degrees=(("appearance_count", "APPEARS_ON"),),
            stub_properties=("name",),
        ),
        Node(
            "Label",
            "id",
            (
                Property("name", Kind.TEXT, "name"),
                Property("contact_info", Kind.TEXT, "contactinfo"),
                Property("profile", Kind.TEXT, "profile"),
                _DATA_QUALITY,
                Property("urls", Kind.TEXTS, "urls/url"),
            ),
            range_indexes=("name",),
            text_index=("name",),
            counted_over="ON",
            stub_properties=("name",),
        ),
        Node("Genre", "name", counted_over="IS", degrees=(("style_count", "PART_OF"),)),
        Node("Style", "name", counted_over="IS", degrees=(("genre_count", "PART_OF"),)),
        Node("Person", "name", text_index=("name",)),
    )
}

_GENRES, _STYLES = texts("genres", "genre"), texts("styles", "style")
_OF_ARTIST = (
    Property("position", Kind.PLACE),
    Property("credited_as", Kind.TEXT),
    Property("join", Kind.TEXT),
)
_CREDITED_AS = Property("credited_as", Kind.SORTED_TEXTS)
_ALL = (
    Relationship(
        "BY",
        "artists",
        RecordType.RELEASES,
        "Artist",
        main_artists,
        "a main artist of the release",
        properties=_OF_ARTIST,
    ),
    Relationship(
        "APPEARS_ON",
        "appearances",
        RecordType.RELEASES,
        "Artist",
        track_artists,
        "an artist of `tracks` of the release",
        properties=(Property("tracks", Kind.TEXTS), _CREDITED_AS),
        incoming=True,
        of_tracks=True,
    ),
    Relationship(
        "ON",
        "labels",
        RecordType.RELEASES,
        "Label",
        labels,
        "a label that issued the release",
        properties=(Property("catalog_numbers", Kind.TEXTS),),
    ),
    Relationship(
        "DERIVED_FROM",
        "master",
        RecordType.RELEASES,
        "Master",
        number("master_id"),
        "the master that the release is a version of",
        single=True,
        scalar=True,
    ),
    Relationship("IS", "genres", RecordType.RELEASES, "Genre", _GENRES, "a genre of the release"),
    Relationship("IS", "styles", RecordType.RELEASES, "Style", _STYLES, "a style of the release"),
    Relationship(
        "CREDITED_ON",
        "credits",
        RecordType.RELEASES,
        "Person",
        credited,
        "a credit: one `role`, the `detail` in its brackets, its `category`, and the artist's id where Discogs knows it",
        properties=(
            Property("role", Kind.TEXT, required=True, is_key=True),
            Property("detail", Kind.TEXT, is_key=True),
            Property("category", Kind.TEXT, computed=(("role", "detail"), category)),
            Property("artist_id", Kind.NUMBER, is_key=True),
            Property("tracks", Kind.TEXTS),
            _CREDITED_AS,
        ),
        incoming=True,
        split=each_role,
    ),
    Relationship(
        "INVOLVES",
        "companies",
        RecordType.RELEASES,
        "Label",
        companies,
        "a company with a part in the release",
        properties=(
            Property("role", Kind.TEXT, is_key=True),
            Property("catalog_number", Kind.TEXT, is_key=True),
        ),
    ),
    Relationship(
        "IN_SERIES",
        "series",
        RecordType.RELEASES,
        "Label",
        series,
        "a series that the release is a part of",
        properties=(Property("number", Kind.TEXT, is_key=True),),
    ),
    Relationship(
        "BY",
        "artists",
        RecordType.MASTERS,
        "Artist",
        main_artists,
        "a main artist of the master",
        properties=_OF_ARTIST,
    ),
    Relationship("IS", "genres", RecordType.MASTERS, "Genre", _GENRES, "a genre of the master"),
    Relationship("IS", "styles", RecordType.MASTERS, "Style", _STYLES, "a style of the master"),
    Relationship(
        "MEMBER_OF",
        "groups",
        RecordType.ARTISTS,
        "Artist",
        references("groups", "name", "id"),
        "a group that the artist is a member of",
        shared=True,
    ),
    Relationship(
        "MEMBER_OF",
        "members",
        RecordType.ARTISTS,
        "Artist",
        references("members", "name", "id"),
        "a member of the group",
        incoming=True,
        shared=True,
    ),
    Relationship(
        "ALIAS_OF",
        "aliases",
        RecordType.ARTISTS,
        "Artist",
        references("aliases", "name", "id"),
        "another name of the artist",
    ),
    Relationship(
        "SUBLABEL_OF",
        "parents",
        RecordType.LABELS,
        "Label",
        references("parentLabel"),
        "the parent of the label",
        shared=True,
        single=True,
    ),
    Relationship(
        "SUBLABEL_OF",
        "sublabels",
        RecordType.LABELS,
        "Label",
        references("sublabels", "label"),
        "a sublabel of the label",
        incoming=True,
        shared=True,
    ),
)
#: By record type and field.
RELATIONSHIPS: dict[RecordType, dict[str, Relationship]] = {
    record_type: {each.field: each for each in _ALL if each.record is record_type}
    for record_type in RecordType
}
DERIVED = (
    Derived("SAME_AS", "Person", "Artist", "a credit of this name has this artist's id", names_end=True),
    Derived("PART_OF", "Style", "Genre", "a release or master has this style, and no genre but this"),
)
RELATIONSHIP_TYPES = tuple(dict.fromkeys(each.type for each in (*_ALL, *DERIVED)))

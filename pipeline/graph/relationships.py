"""The relationships that a record alone asserts, as values: what it says now is compared with what the graph holds."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neo4j import AsyncManagedTransaction

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Bulk
from pipeline.model import RecordType, Row

#: The relationship types that records of a type assert, each for itself.
OWN_TYPES = {
    RecordType.ARTISTS: "ALIAS_OF",
    # None: no label has such a relationship.
    RecordType.LABELS: "ALIAS_OF",
    RecordType.MASTERS: "BY|IS",
    RecordType.RELEASES: "BY|ON|DERIVED_FROM|IS|CREDITED_ON",
}


#: What record types share with others of their own type: the relationship type, and under which keys rows name it.
SHARED = {
    RecordType.ARTISTS: ("MEMBER_OF", "groups", "members"),
    RecordType.LABELS: ("SUBLABEL_OF", "parents", "sublabels"),
}


class Link(NamedTuple):
    """One relationship of a record, told apart from others by all that it says."""

    type: str
    #: The other end: its node label and key.
    label: str
    key: int | str
    #: Of ON the catalog numbers; of CREDITED_ON role, category and artist id.
    properties: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What the graph holds of one record's newest version so far."""

    #: Each with the `elementId` of its relationship, which is good for this transaction.
    links: dict[Link, str]


async def stored_records(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]
) -> dict[int, Stored]:
    """What the graph holds of these records, by id; lock them first."""
    if not ids:
        return {}
    text = statement("stored_records", label=record_type.label, types=OWN_TYPES[record_type])
    record = await (await tx.run(text, ids=Bulk(ids))).single(strict=True)
    return {id_: Stored(dict(map(_stored_link, links))) for id_, links in record["records"]}


def _stored_link(values: list[Any]) -> tuple[Link, str]:
    element_id, *rest = values
    return link_of(rest), element_id


def link_of(values: list[Any]) -> Link:
    """A relationship as `stored_records` and `whole_records` give it."""
    type_, label, key, catalog_numbers, *credit = values
    properties: tuple[Any, ...] = ()
    if type_ == "ON":
        properties = tuple(catalog_numbers or ())
    elif type_ == "CREDITED_ON":
        properties = tuple(credit)
    return Link(type_, label, key, properties)


def links_of(row: Row) -> set[Link]:
    """The relationships that the row alone asserts."""
    return {link for _, _, link in _assertions(row)}


def missing(row: Row, stored: Collection[Link]) -> Row:
    """The row with only those of its own relationships that are not stored."""
    kept: dict[str, list[Any]] = {key: [] for key in _KEYS if key in row}
    for key, value, link in _assertions(row):
        if link not in stored:
            kept[key].append(value)
    rest: Row = {**row, **kept}
    if "master" in row:
        rest["master"] = next(iter(kept["master"]), None)
    return rest


_KEYS = ("artists", "aliases", "labels", "master", "genres", "styles", "credits")


def _assertions(row: Row) -> Iterator[tuple[str, Any, Link]]:
    """Each value of the row that stands for a relationship of its own: under which key, and the relationship."""
    for artist in row.get("artists", ()):
        yield "artists", artist, Link("BY", "Artist", artist["id"])
    for alias in row.get("aliases", ()):
        yield "aliases", alias, Link("ALIAS_OF", "Artist", alias["id"])
    for label in row.get("labels", ()):
        yield "labels", label, Link("ON", "Label", label["id"], tuple(label["catalog_numbers"]))
    if master := row.get("master"):
        yield "master", master, Link("DERIVED_FROM", "Master", master)
    for genre in row.get("genres", ()):
        yield "genres", genre, Link("IS", "Genre", genre)
    for style in row.get("styles", ()):
        yield "styles", style, Link("IS", "Style", style)
    for credit in row.get("credits", ()):
        properties = (credit["role"], credit["category"], credit["artist_id"])
        yield "credits", credit, Link("CREDITED_ON", "Person", credit["name"], properties)

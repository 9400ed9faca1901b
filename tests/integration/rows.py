"""Rows for the writer, and the graph of a set of them, computed without history."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.model import RELATIONSHIPS, RecordType, Relationship, Row
from tests.oracle import Graph, NodeKey, OneOf, Properties, RelationshipKey, Relationships

Rows = dict[tuple[RecordType, int], Row]


def references(*ids: int, kind: str = "Artist") -> list[Row]:
    return [{"id": id_, "name": f"{kind} {id_}"} for id_ in ids]


def _row(record_type: RecordType, id_: int, version: int, **given: Any) -> Row:
    """Return a row of the values that are given: fields of relationships, the others properties."""
    fields = RELATIONSHIPS[record_type]
    properties = {name: value for name, value in given.items() if name not in fields}
    return {
        "id": id_,
        "properties": {"id": id_, "fingerprint": 1000 * id_ + version, **properties},
        **{field: list(given.get(field, ())) for field in fields},
    }


def artist(
    id_: int,
    version: int = 1,
    *,
    aliases: Sequence[int] = (),
    groups: Sequence[int] = (),
    members: Sequence[int] = (),
    **others: Any,
) -> Row:
    lists = {"aliases": references(*aliases), "groups": references(*groups), "members": references(*members)}
    return _row(RecordType.ARTISTS, id_, version, **{"name": f"Artist {id_}", **lists, **others})


def label(
    id_: int,
    version: int = 1,
    *,
    parents: Sequence[int] = (),
    sublabels: Sequence[int] = (),
    **others: Any,
) -> Row:
    lists = {
        "parents": references(*parents, kind="Label"),
        "sublabels": references(*sublabels, kind="Label"),
    }
    return _row(RecordType.LABELS, id_, version, **{"name": f"Label {id_}", **lists, **others})


def master(id_: int, version: int = 1, *, artists: Iterable[int] = (), **others: Any) -> Row:
    given = {"title": f"Master {id_}", "artists": references(*artists), **others}
    return _row(RecordType.MASTERS, id_, version, **given)


def credit(name: str, role: str = "Producer", artist_id: int | None = None) -> Row:
    return {"name": name, "role": role, "category": "production", "artist_id": artist_id}


def release(
    id_: int,
    version: int = 1,
    *,
    artists: Iterable[int] = (),
    labels: Iterable[int] = (),
    master: int | None = None,
    credits_: Iterable[Row] = (),
    **others: Any,
) -> Row:
    lists = {
        "artists": references(*artists),
        "labels": [
            {**reference, "catalog_numbers": [f"CAT {id_}"]}
            for reference in references(*labels, kind="Label")
        ],
        "master": [] if master is None else [master],
        "credits": credits_,
    }
    return _row(RecordType.RELEASES, id_, version, **{"title": f"Release {id_}", **lists, **others})


def graph_of(rows: Rows) -> Graph:
    """The graph of these rows as the newest version of each record."""
    graph = Graph()
    names: dict[NodeKey, set[str]] = {}
    asserters: dict[RelationshipKey, set[int]] = {}
    for (record_type, id_), row in rows.items():
        graph.nodes[record_type.label, id_] = dict(row["properties"])
        for key, found in asserted(record_type, row).items():
            graph.relationships[key] = found
            asserters.setdefault(key, set()).add(id_)
        graph.relationships.update(_derived(row))
        for end, name in referred(record_type, row):
            names.setdefault(end, set()).update({name} if name else ())
    for end, known in names.items():
        if end not in graph.nodes:
            graph.nodes[end] = {"id": end[1], **({"name": OneOf(frozenset(known))} if known else {})}
    for key in graph.relationships:
        kind, start, end = key
        if kind in {"MEMBER_OF", "SUBLABEL_OF"}:
            flags = {
                "asserted_by_start": start[1] in asserters[key],
                "asserted_by_end": end[1] in asserters[key],
            }
            graph.relationships[key] = [{name: True for name, set_ in flags.items() if set_}]
        for named in (start, end):
            if named[0] in {"Genre", "Style", "Person"}:
                graph.nodes[named] = {"name": named[1]}
    return graph


def asserted(record_type: RecordType, row: Row) -> Relationships:
    """Return the relationships that a row asserts, without flags."""
    found: Relationships = {}
    for each, end, value in _values(record_type, row):
        node: NodeKey = (record_type.label, row["id"])
        key = (each.type, end, node) if each.incoming else (each.type, node, end)
        properties: Properties = {
            name: value[name] for name in (each_.name for each_ in each.properties) if value[name]
        }
        found.setdefault(key, []).append(properties)
    return found


def referred(record_type: RecordType, row: Row) -> Iterator[tuple[NodeKey, str | None]]:
    """Yield the artists, labels and masters that a row refers to, with their names."""
    for each, end, value in _values(record_type, row):
        if each.key == "id":
            yield end, value["name"] if each.is_named else None
        elif each.field == "credits" and value["artist_id"]:
            yield ("Artist", value["artist_id"]), value["name"]


def _values(record_type: RecordType, row: Row) -> Iterator[tuple[Relationship, NodeKey, Any]]:
    for field, each in RELATIONSHIPS[record_type].items():
        for value in row[field]:
            yield each, (each.label, value if each.is_key_only else value[each.key]), value


def _derived(row: Row) -> Relationships:
    found: Relationships = {}
    if len(row.get("genres", ())) == 1:
        for style in row["styles"]:
            found["PART_OF", ("Style", style), ("Genre", row["genres"][0])] = [{}]
    for given in row.get("credits", ()):
        if given["artist_id"]:
            found["SAME_AS", ("Person", given["name"]), ("Artist", given["artist_id"])] = [{}]
    return found


def keyed(record_type: RecordType, rows: Iterable[Row]) -> Rows:
    return {(record_type, row["id"]): row for row in rows}

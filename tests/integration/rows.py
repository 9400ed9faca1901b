"""Rows for the writer, and the graph of a set of them, computed without history."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.model import RecordType, Row
from tests.oracle import Graph, NodeKey, OneOf

Rows = dict[tuple[RecordType, int], Row]


def references(*ids: int, kind: str = "Artist") -> list[Row]:
    return [{"id": id_, "name": f"{kind} {id_}"} for id_ in ids]


def _fingerprint(id_: int, version: int) -> int:
    return 1000 * id_ + version


def artist(
    id_: int,
    version: int = 1,
    *,
    aliases: Sequence[int] = (),
    groups: Sequence[int] = (),
    members: Sequence[int] = (),
    **properties: Any,
) -> Row:
    return {
        "id": id_,
        "properties": {
            "id": id_,
            "fingerprint": _fingerprint(id_, version),
            "name": f"Artist {id_}",
            **properties,
        },
        "aliases": references(*aliases),
        "groups": references(*groups),
        "members": references(*members),
    }


def label(
    id_: int,
    version: int = 1,
    *,
    parents: Sequence[int] = (),
    sublabels: Sequence[int] = (),
    **properties: Any,
) -> Row:
    return {
        "id": id_,
        "properties": {
            "id": id_,
            "fingerprint": _fingerprint(id_, version),
            "name": f"Label {id_}",
            **properties,
        },
        "parents": references(*parents, kind="Label"),
        "sublabels": references(*sublabels, kind="Label"),
    }


def master(
    id_: int,
    version: int = 1,
    *,
    artists: Iterable[int] = (),
    genres: Iterable[str] = (),
    styles: Iterable[str] = (),
    **properties: Any,
) -> Row:
    return {
        "id": id_,
        "properties": {
            "id": id_,
            "fingerprint": _fingerprint(id_, version),
            "title": f"Master {id_}",
            **properties,
        },
        "artists": references(*artists),
        "genres": list(genres),
        "styles": list(styles),
    }


def credit(name: str, role: str = "Producer", artist_id: int | None = None) -> Row:
    return {"name": name, "role": role, "category": "production", "artist_id": artist_id}


def release(
    id_: int,
    version: int = 1,
    *,
    artists: Iterable[int] = (),
    labels: Iterable[int] = (),
    master: int | None = None,
    genres: Iterable[str] = (),
    styles: Iterable[str] = (),
    credits_: Iterable[Row] = (),
    **properties: Any,
) -> Row:
    return {
        "id": id_,
        "properties": {
            "id": id_,
            "fingerprint": _fingerprint(id_, version),
            "title": f"Release {id_}",
            **properties,
        },
        "artists": references(*artists),
        "labels": [
            {**reference, "catalog_numbers": [f"CAT {id_}"]}
            for reference in references(*labels, kind="Label")
        ],
        "master": [] if master is None else [master],
        "genres": list(genres),
        "styles": list(styles),
        "credits": list(credits_),
    }


def graph_of(rows: Rows) -> Graph:
    """The graph of these rows as the newest version of each record."""
    graph = Graph()
    names: dict[NodeKey, set[str]] = {}
    asserters: dict[tuple[str, NodeKey, NodeKey], set[int]] = {}
    for (record_type, id_), row in rows.items():
        node: NodeKey = (record_type.label, id_)
        graph.nodes[node] = dict(row["properties"])
        _relate(graph, node, row)
        for end, name in _referred(row):
            names.setdefault(end, set()).update({name} if name else ())
        for kind, start, end in _shared(node, row):
            asserters.setdefault((kind, start, end), set()).add(id_)
    for end, known in names.items():
        if end not in graph.nodes:
            graph.nodes[end] = {"id": end[1], **({"name": OneOf(frozenset(known))} if known else {})}
    for (kind, start, end), ids in asserters.items():
        flags = {"asserted_by_start": start[1] in ids, "asserted_by_end": end[1] in ids}
        graph.relationships[kind, start, end, None, None] = {
            name: True for name, set_ in flags.items() if set_
        }
    for _, start, end, _, _ in graph.relationships:
        for named in (start, end):
            if named[0] in {"Genre", "Style", "Person"}:
                graph.nodes[named] = {"name": named[1]}
    return graph


def _referred(row: Row) -> Iterable[tuple[NodeKey, str | None]]:
    for key in ("artists", "aliases", "groups", "members"):
        for reference in row.get(key, ()):
            yield ("Artist", reference["id"]), reference["name"]
    for key in ("labels", "parents", "sublabels"):
        for reference in row.get(key, ()):
            yield ("Label", reference["id"]), reference["name"]
    for given in row.get("credits", ()):
        if given["artist_id"]:
            yield ("Artist", given["artist_id"]), given["name"]
    for master_id in row.get("master", ()):
        yield ("Master", master_id), None


def _shared(node: NodeKey, row: Row) -> Iterable[tuple[str, NodeKey, NodeKey]]:
    for kind, outgoing, incoming in (
        ("MEMBER_OF", "groups", "members"),
        ("SUBLABEL_OF", "parents", "sublabels"),
    ):
        for reference in row.get(outgoing, ()):
            yield kind, node, (node[0], reference["id"])
        for reference in row.get(incoming, ()):
            yield kind, (node[0], reference["id"]), node


def _relate(graph: Graph, node: NodeKey, row: Row) -> None:
    def relate(kind: str, start: NodeKey, end: NodeKey, **properties: object) -> None:
        graph.relationships[kind, start, end, None, None] = properties

    for reference in row.get("artists", ()):
        relate("BY", node, ("Artist", reference["id"]))
    for reference in row.get("aliases", ()):
        relate("ALIAS_OF", node, ("Artist", reference["id"]))
    for reference in row.get("labels", ()):
        numbers = reference["catalog_numbers"]
        relate("ON", node, ("Label", reference["id"]), **({"catalog_numbers": numbers} if numbers else {}))
    for master_id in row.get("master", ()):
        relate("DERIVED_FROM", node, ("Master", master_id))
    for kind in ("Genre", "Style"):
        for name in row.get(f"{kind.lower()}s", ()):
            relate("IS", node, (kind, name))
    if len(row.get("genres", ())) == 1:
        for style in row["styles"]:
            relate("PART_OF", ("Style", style), ("Genre", row["genres"][0]))
    _relate_credits(graph, node, row)


def _relate_credits(graph: Graph, node: NodeKey, row: Row) -> None:
    for given in row.get("credits", ()):
        person: NodeKey = ("Person", given["name"])
        properties = {name: value for name, value in given.items() if name != "name" and value is not None}
        graph.relationships["CREDITED_ON", person, node, given["role"], given["artist_id"]] = properties
        if given["artist_id"]:
            graph.relationships["SAME_AS", person, ("Artist", given["artist_id"]), None, None] = {}


def keyed(record_type: RecordType, rows: Iterable[Row]) -> Rows:
    return {(record_type, row["id"]): row for row in rows}

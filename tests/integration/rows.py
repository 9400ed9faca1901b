"""Rows for the writer, and the graph of a set of them, computed without history."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pipeline.model import RELATIONSHIPS, Assertion, RecordType, Relationship, Row
from tests.oracle import Graph, NodeKey, OneOf, Properties, RelationshipKey, Relationships

Rows = dict[tuple[RecordType, int], Row]

_ARTIST_ID = [each.name for each in RELATIONSHIPS[RecordType.RELEASES]["credits"].properties].index(
    "artist_id"
)


#: The other end of a relationship as a dictionary of an upstream task has it.
Value = dict[str, Any]


def references(*ids: int, kind: str = "Artist") -> list[Value]:
    return [{"id": id_, "name": f"{kind} {id_}"} for id_ in ids]


def _row(record_type: RecordType, id_: int, version: int, **given: Any) -> Row:
    """Return a row of the values that are given: fields of relationships, the others properties."""
    fields = RELATIONSHIPS[record_type]
    properties = {name: value for name, value in given.items() if name not in fields}
    row: Row = {
        "id": id_,
        "properties": {"id": id_, "fingerprint": 1000 * id_ + version, **properties},
        "assertions": [],
        "names": {},
    }
    for field, each in fields.items():
        for value in given.get(field, ()):
            if each.is_key_only:
                row["assertions"].append((field, value, ()))
                continue
            found = [value.get(property_.name) for property_ in each.properties]
            values = tuple(tuple(one) if isinstance(one, list) else one for one in found)
            row["assertions"].append((field, value[each.key], values))
            if each.is_named:
                row["names"].setdefault(field, {})[value["id"]] = value["name"]
    return row


def changed(row: Row, fingerprint: int, *assertions: Assertion) -> Row:
    """Return another version of a record, which asserts these relationships too."""
    return {
        "id": row["id"],
        "properties": {**row["properties"], "fingerprint": fingerprint},
        "assertions": [*row["assertions"], *assertions],
        "names": row["names"],
    }


def by_field(record_type: RecordType, row: Row) -> dict[str, Any]:
    """Return a row with the values of each relationship by field, as dictionaries."""
    fields: dict[str, list[Any]] = {field: [] for field in RELATIONSHIPS[record_type]}
    for each, (field, key, properties) in _assertions(record_type, row):
        value: Any = key
        if not each.is_key_only:
            value = {each.key: key, **({"name": _name(row, field, key)} if each.is_named else {})}
            for property_, given in zip(each.properties, properties, strict=True):
                value[property_.name] = list(given or ()) if property_.is_list else given  # type: ignore[arg-type]
        fields[field].append(value)
    return {"id": row["id"], "properties": row["properties"], **fields}


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


def credit(name: str, role: str = "Producer", artist_id: int | None = None) -> Value:
    return {"name": name, "role": role, "category": "production", "artist_id": artist_id}


def release(
    id_: int,
    version: int = 1,
    *,
    artists: Iterable[int] = (),
    labels: Iterable[int] = (),
    master: int | None = None,
    credits_: Iterable[Value] = (),
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
    for each, (_, key, values) in _assertions(record_type, row):
        node, end = (record_type.label, row["id"]), (each.label, key)
        properties: Properties = {
            property_.name: list(value) if isinstance(value, tuple) else value
            for property_, value in zip(each.properties, values, strict=True)
            if value
        }
        relationship: RelationshipKey = (each.type, end, node) if each.incoming else (each.type, node, end)
        found.setdefault(relationship, []).append(properties)
    return found


def referred(record_type: RecordType, row: Row) -> Iterator[tuple[NodeKey, str | None]]:
    """Yield the artists, labels and masters that a row refers to, with their names."""
    for each, (field, key, _) in _assertions(record_type, row):
        if each.key == "id":
            yield (each.label, key), _name(row, field, key)
    for name, artist_id in _known_people(row):
        yield ("Artist", artist_id), name


def _assertions(record_type: RecordType, row: Row) -> Iterator[tuple[Relationship, Assertion]]:
    for assertion in row["assertions"]:
        yield RELATIONSHIPS[record_type][assertion[0]], assertion


def _name(row: Row, field: str, key: Any) -> str | None:
    return row["names"].get(field, {}).get(key)


def _known_people(row: Row) -> Iterator[tuple[Any, Any]]:
    """Yield name and artist's id of the credits that have one."""
    for field, name, properties in row["assertions"]:
        if field == "credits" and (artist_id := properties[_ARTIST_ID]):
            yield name, artist_id


def _derived(row: Row) -> Relationships:
    found: Relationships = {}
    genres = [key for field, key, _ in row["assertions"] if field == "genres"]
    styles = [key for field, key, _ in row["assertions"] if field == "styles"]
    if len(genres) == 1:
        for style in styles:
            found["PART_OF", ("Style", style), ("Genre", genres[0])] = [{}]
    for name, artist_id in _known_people(row):
        found["SAME_AS", ("Person", name), ("Artist", artist_id)] = [{}]
    return found


def keyed(record_type: RecordType, rows: Iterable[Row]) -> Rows:
    return {(record_type, row["id"]): row for row in rows}

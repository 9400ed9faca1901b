"""The statement that writes a batch of one record type, and its parameters.

It names each node once: the nodes of each label become a list, and a relationship names its ends by their places in
these lists. The keys are distinct and sorted, so that transactions that want the same nodes queue up instead of
blocking one another. All lists are in one map, `$batch`: Neo4j plans a statement for every combination of parameters'
types and sizes.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pipeline.graph.assertions import Assertion
from pipeline.graph.cypher import statement
from pipeline.model import DERIVED, NODES, RELATIONSHIPS, Derived, RecordType, Relationship, Row

#: A derived relationship by the keys of its ends.
Pair = tuple[Any, Any]


def own_ends(record_type: RecordType, rows: Iterable[Row]) -> list[Row]:
    """Return the nodes of these records and those of their type that they refer to.

    Sorted by id, with the names that references give.
    """
    rows = list(rows)
    names: dict[int, str | None] = {row["id"]: None for row in rows}
    for relationship in RELATIONSHIPS[record_type].values():
        if relationship.is_own:
            _add_names(names, relationship, rows)
    return _ends(names)


def parameters(
    record_type: RecordType,
    rows: Sequence[Row],
    missing: Sequence[Sequence[Assertion]],
    derived: Mapping[str, Iterable[Pair]],
) -> dict[str, list[Any]]:
    """Return the parameters of `write_statement`.

    `missing` are the assertions of each row that the graph lacks, `derived` the new pairs by type. All ends with names
    are merged, also where nothing is missing: a stub keeps the newest name.
    """
    names = _names(record_type, rows, missing, derived)
    places = {label: {key: place for place, key in enumerate(sorted(keys))} for label, keys in names.items()}
    batch: dict[str, list[Any]] = {
        "records": [row["properties"] for row in rows],
        **{label: _ends(keys) if NODES[label].key == "id" else sorted(keys) for label, keys in names.items()},
        **{field: [] for field in RELATIONSHIPS[record_type]},
    }
    fields = {
        each.field: (batch[each.field], places[each.label]) for each in RELATIONSHIPS[record_type].values()
    }
    for place, assertions in enumerate(missing):
        for field, key, properties in assertions:
            found, ends = fields[field]
            found.append([place, ends[key], *properties])
    for each in derived_of(record_type):
        pairs = derived[each.type]
        batch[each.type] = sorted([places[each.start][start], places[each.end][end]] for start, end in pairs)
    return batch


def _names(
    record_type: RecordType,
    rows: Iterable[Row],
    missing: Iterable[Sequence[Assertion]],
    derived: Mapping[str, Iterable[Pair]],
) -> dict[str, dict[Any, str | None]]:
    """Return the keys of all ends by label, each with a name for a stub."""
    relationships = RELATIONSHIPS[record_type]
    names: dict[str, dict[Any, str | None]] = {label: {} for label in _labels(record_type)}
    for each in derived_of(record_type):
        for start, end in sorted(derived[each.type]):
            names[each.start].setdefault(start, None)
            names[each.end][end] = start if each.names_end else None
    for relationship in relationships.values():
        if relationship.is_named:
            _add_names(names[relationship.label], relationship, rows)
    others = {each.field: names[each.label] for each in relationships.values() if not each.is_named}
    for assertions in missing:
        for field, key, _ in assertions:
            if field in others:
                others[field].setdefault(key, None)
    return names


@cache
def write_statement(record_type: RecordType) -> str:
    """Return the statement that writes records of this type, with all relationships that they assert."""
    label = record_type.label
    kept = "".join(f", {name}: n.{name}" for name in NODES[label].kept)
    return "".join(
        (
            *(_merge(each) for each in _labels(record_type)),
            statement("write_nodes", label=label, properties=f"record {{.*{kept}}}" if kept else "record"),
            *(_relate(each) for each in RELATIONSHIPS[record_type].values()),
            *(
                statement("merge_derived", type=each.type, starts=_list(each.start), ends=_list(each.end))
                for each in derived_of(record_type)
            ),
        )
    )


def _merge(label: str) -> str:
    key = NODES[label].key
    if key == "id":
        return statement("merge_by_id", label=label, ends=_list(label))
    return statement("merge_by_key", label=label, key=key, ends=_list(label))


def _relate(relationship: Relationship) -> str:
    start, stop = ("end", "record") if relationship.incoming else ("record", "end")
    identifiers = {
        "type": relationship.type,
        "field": relationship.field,
        "ends": _list(relationship.label),
        "start": start,
        "stop": stop,
    }
    if relationship.shared:
        return statement("assert_shared", flag=relationship.flag, **identifiers)
    if relationship.properties:
        # One by one: setting them from a map takes Neo4j more processor time.
        assignments = ", ".join(
            f"relationship.{each.name} = each[{place}]"
            for place, each in enumerate(relationship.properties, 2)
        )
        return statement("create_relationships_with_properties", assignments=assignments, **identifiers)
    return statement("create_relationships", **identifiers)


def _list(label: str) -> str:
    return f"{label.lower()}s"


@cache
def _labels(record_type: RecordType) -> tuple[str, ...]:
    """Return the labels of the other ends of a record, in lock order."""
    found = {each.label for each in RELATIONSHIPS[record_type].values()}
    found |= {label for each in derived_of(record_type) for label in (each.start, each.end)}
    return tuple(label for label in NODES if label in found)


@cache
def derived_of(record_type: RecordType) -> tuple[Derived, ...]:
    """Return the derived relationships that start at an end of a record of this type."""
    labels = {each.label for each in RELATIONSHIPS[record_type].values()}
    return tuple(each for each in DERIVED if each.start in labels)


def _add_names(names: dict[Any, str | None], relationship: Relationship, rows: Iterable[Row]) -> None:
    """Add the other ends of a relationship; the last name of each counts."""
    for row in rows:
        for value in row[relationship.field]:
            names[value["id"]] = value["name"] or names.get(value["id"])


def _ends(names: Mapping[int, str | None]) -> list[Row]:
    return [{"id": id_, "name": names[id_]} for id_ in sorted(names)]

"""The statement that writes a batch of one record type, and its parameters.

It names each node once: the nodes of each label become a list, and a relationship names its ends by their places in
these lists. The keys are distinct and sorted, so that transactions that want the same nodes queue up instead of
blocking one another. All lists are in one map, `$batch`: Neo4j plans a statement for every combination of parameters'
types and sizes.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from pipeline.graph.cypher import statement
from pipeline.model import DERIVED, NODES, RELATIONSHIPS, Assertion, Derived, RecordType, Relationship, Row

#: A derived relationship by the keys of its ends.
Pair = tuple[Any, Any]


def own_ids(record_type: RecordType, rows: Sequence[Row]) -> list[int]:
    """Return the ids of the nodes that a batch locks, sorted.

    They are these records and those of their type that they refer to.
    """
    own = [each.field for each in RELATIONSHIPS[record_type].values() if each.is_own]
    ids: set[Any] = {row["id"] for row in rows}
    if own:
        ids.update(key for row in rows for field, key, _ in row["assertions"] if field in own)
    return sorted(ids)


def parameters(
    record_type: RecordType,
    rows: Sequence[Row],
    missing: Sequence[Sequence[Assertion]],
    derived: Mapping[str, Iterable[Pair]],
) -> dict[str, Any]:
    """Return the parameters of `write_statement`.

    `missing` are the assertions of each row that the graph lacks, `derived` the new pairs by type. All ends with names
    are merged, also where nothing is missing: a stub keeps the newest name.
    """
    names = _names(record_type, rows, missing, derived)
    keys = {label: sorted(found) for label, found in names.items()}
    places = {label: {key: place for place, key in enumerate(found)} for label, found in keys.items()}
    own = [places[record_type.label][row["id"]] for row in rows]
    batch: dict[str, Any] = {
        **keys,
        "names": {label: [names[label][key] for key in keys[label]] for label in _named(record_type)},
        "records": [[place, row["properties"]] for place, row in zip(own, rows, strict=True)],
        **{field: [] for field in RELATIONSHIPS[record_type]},
    }
    fields = {
        each.field: (batch[each.field], places[each.label]) for each in RELATIONSHIPS[record_type].values()
    }
    for place, assertions in zip(own, missing, strict=True):
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
    """Return the keys of all nodes by label, each with a name for a stub."""
    names: dict[str, dict[Any, str | None]] = {label: {} for label in _labels(record_type)}
    for each in derived_of(record_type):
        for start, end in sorted(derived[each.type]):
            names[each.start].setdefault(start, None)
            names[each.end][end] = start if each.names_end else None
    fields = {each.field: names[each.label] for each in RELATIONSHIPS[record_type].values()}
    for assertions in missing:
        for field, key, _ in assertions:
            fields[field].setdefault(key, None)
    for row in rows:
        for field, named in row["names"].items():
            fields[field].update(named)
    names[record_type.label].update((row["id"], None) for row in rows)
    return names


@cache
def write_statement(record_type: RecordType) -> str:
    """Return the statement that writes records of this type, with all relationships that they assert."""
    label = record_type.label
    kept = "".join(f", {name}: n.{name}" for name in NODES[label].kept)
    properties = f"record {{.*{kept}}}" if kept else "record"
    return "".join(
        (
            *(
                statement(
                    "merge_named" if each in _named(record_type) else "merge_nodes",
                    label=each,
                    key=NODES[each].key,
                    nodes=_list(each),
                )
                for each in _labels(record_type)
            ),
            statement("write_records", nodes=_list(label), properties=properties),
            *(_relate(each) for each in RELATIONSHIPS[record_type].values()),
            *(
                statement("merge_derived", type=each.type, starts=_list(each.start), ends=_list(each.end))
                for each in derived_of(record_type)
            ),
        )
    )


def _relate(relationship: Relationship) -> str:
    start, stop = ("end", "record") if relationship.incoming else ("record", "end")
    records, ends = _list(relationship.record.label), _list(relationship.label)
    identifiers = {
        "type": relationship.type,
        "field": relationship.field,
        "lists": ", ".join(dict.fromkeys((records, ends))),
        "records": records,
        "ends": ends,
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
    """Return the labels of a record and of its other ends, in lock order."""
    found = {record_type.label} | {each.label for each in RELATIONSHIPS[record_type].values()}
    found |= {label for each in derived_of(record_type) for label in (each.start, each.end)}
    return tuple(label for label in NODES if label in found)


@cache
def _named(record_type: RecordType) -> frozenset[str]:
    """Return the labels of the ends that references give names."""
    found = {each.label for each in RELATIONSHIPS[record_type].values() if each.is_named}
    return frozenset(found | {each.end for each in derived_of(record_type) if each.names_end})


@cache
def derived_of(record_type: RecordType) -> tuple[Derived, ...]:
    """Return the derived relationships that start at an end of a record of this type."""
    labels = {each.label for each in RELATIONSHIPS[record_type].values()}
    return tuple(each for each in DERIVED if each.start in labels)

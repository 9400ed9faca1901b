"""The relationships that a record asserts, as values: its row is compared with the graph."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neo4j import AsyncManagedTransaction

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Bulk
from pipeline.model import RELATIONSHIPS, RecordType, Relationship, Row


class Assertion(NamedTuple):
    """One relationship that a record asserts; two records may assert the same one."""

    #: The field of the relationship in `RELATIONSHIPS` of the record's type.
    field: str
    #: The key of the other end.
    key: int | str
    #: The values of its properties, in the table's order; a list as a tuple, nothing as None.
    properties: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as the graph has it."""

    properties: dict[str, Any]
    #: Each with the `elementId` of its relationship, which is valid in this transaction.
    assertions: dict[Assertion, str]


def assertions_of(record_type: RecordType, row: Row) -> Iterator[Assertion]:
    """Iterate over the relationships that a row asserts."""
    for field, relationship in RELATIONSHIPS[record_type].items():
        if relationship.is_key_only:
            for key in row[field]:
                yield Assertion(field, key)
        else:
            key, names = relationship.key, [each.name for each in relationship.properties]
            for value in row[field]:
                yield Assertion(field, value[key], tuple(_value(value[name]) for name in names))


def properties_of(relationship: Relationship, assertion: Assertion) -> dict[str, Any]:
    """Return the properties of the relationship that an assertion stands for; nulls are not stored."""
    values = zip(relationship.properties, assertion.properties, strict=True)
    return {each.name: list(value) if type(value) is tuple else value for each, value in values}


async def read_stored(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]
) -> dict[int, Stored]:
    """Read records by id, without stubs."""
    if not ids:
        return {}
    text = statement("stored_records", label=record_type.label, types=_TYPES[record_type])
    parameters = {"ids": Bulk(ids), "outgoing": _OUTGOING[record_type], "incoming": _INCOMING[record_type]}
    record = await (await tx.run(text, parameters)).single(strict=True)
    return {
        properties["id"]: Stored(properties, dict(_stored(record_type, *each) for each in relationships))
        for properties, relationships in record["records"]
    }


def _stored(
    record_type: RecordType,
    element_id: str,
    type_: str,
    is_outgoing: bool,
    label: str,
    key: int | str,
    properties: dict[str, Any],
) -> tuple[Assertion, str]:
    relationship = _BY_ENDS[record_type][type_, is_outgoing, label]
    values = tuple(_value(properties.get(each.name)) for each in relationship.properties)
    return Assertion(relationship.field, key, values), element_id


def _value(value: Any) -> Any:
    return (tuple(value) if isinstance(value, list) else value) or None


_BY_ENDS = {
    record_type: {(each.type, not each.incoming, each.label): each for each in relationships.values()}
    for record_type, relationships in RELATIONSHIPS.items()
}
_TYPES = {record_type: "|".join(sorted({key[0] for key in keys})) for record_type, keys in _BY_ENDS.items()}
_OUTGOING = {
    record_type: sorted({key[0] for key in keys if key[1]}) for record_type, keys in _BY_ENDS.items()
}
_INCOMING = {
    record_type: sorted({key[0] for key in keys if not key[1]}) for record_type, keys in _BY_ENDS.items()
}

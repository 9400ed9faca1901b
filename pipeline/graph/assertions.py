"""Records as the graph has them, to compare rows with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neo4j import AsyncManagedTransaction

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Bulk
from pipeline.model import RELATIONSHIPS, Assertion, RecordType


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as the graph has it."""

    properties: dict[str, Any]
    #: Each with the `elementId` of its relationship, which is valid in this transaction.
    assertions: dict[Assertion, str]


async def read_stored(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int], *, with_properties: bool = False
) -> dict[int, Stored]:
    """Read records by id, without stubs; without `with_properties`, their id is their only property."""
    if not ids:
        return {}
    node = "properties(n)" if with_properties else "n {.id}"
    text = statement("stored_records", label=record_type.label, types=_TYPES[record_type], node=node)
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
    return (relationship.field, key, values), element_id


def _value(value: Any) -> Any:
    return (tuple(value) if type(value) is list else value) or None


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

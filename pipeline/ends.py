"""The ends of relationships: which nodes a batch of rows refers to, and that they exist."""

from collections.abc import Iterable, Iterator
from typing import Any

from neo4j import AsyncManagedTransaction, SummaryCounters

from pipeline.cypher import statement
from pipeline.driver import ConflictError
from pipeline.model import RecordType, Row

_ARTIST_KEYS = ("artists", "aliases", "groups", "members")
_LABEL_KEYS = ("labels", "parents", "sublabels")


async def run(tx: AsyncManagedTransaction, text: str, **parameters: Any) -> SummaryCounters:
    """Run a statement for its effect, to its end; returns how much it did."""
    result = await tx.run(text, parameters)
    return (await result.consume()).counters


async def relate(tx: AsyncManagedTransaction, text: str, relationships: int, **parameters: Any) -> None:
    """Run a statement that must create so many relationships.

    Merging a node that exists does not keep others from deleting it (`settle` does, where it finds no
    relationship yet), and a node that is not found makes no relationship and no error: only the count tells.
    Raises ConflictError if it does not agree.
    """
    created = (await run(tx, text, **parameters)).relationships_created
    if created != relationships:
        raise ConflictError(
            f"created {created:,} relationships of {relationships:,}: their ends were deleted meanwhile"
        )


async def merge_ends(tx: AsyncManagedTransaction, record_type: RecordType, rows: list[Row]) -> None:
    """Create the nodes that rows refer to and that are missing, label by label, those of a label in sorted order.

    Every transaction takes its locks in this one order, whatever its record type. The rows' own nodes are
    among them, and locked, but for releases: nothing refers to those.
    """
    own = [{"id": row["id"], "name": None} for row in rows]
    for type_, ends in (
        (RecordType.ARTISTS, [*_references(rows, _ARTIST_KEYS), *_credited(rows)]),
        (RecordType.LABELS, [*_references(rows, _LABEL_KEYS)]),
        (RecordType.MASTERS, [{"id": row["master"], "name": None} for row in rows if row.get("master")]),
    ):
        if type_ is record_type:
            await run(tx, statement("lock_records", label=type_.label), ends=_numbered([*own, *ends]))
        elif ends:
            await run(tx, statement("merge_numbered", label=type_.label), ends=_numbered(ends))
    for label, names in (
        ("Genre", {name for row in rows for name in row.get("genres", ())}),
        ("Style", {name for row in rows for name in row.get("styles", ())}),
        ("Person", {credit["name"] for row in rows for credit in row.get("credits", ())}),
    ):
        if names:
            await run(tx, statement("merge_named", label=label), names=sorted(names))


def _references(rows: list[Row], keys: Iterable[str]) -> Iterator[Row]:
    for row in rows:
        for key in keys:
            yield from row.get(key, ())


def _credited(rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        for credit in row.get("credits", ()):
            if credit["artist_id"]:
                yield {"id": credit["artist_id"], "name": credit["name"]}


def _numbered(references: Iterable[Row]) -> list[Row]:
    """References distinct by id and sorted; of several names the last one."""
    names: dict[int, str | None] = {}
    for reference in references:
        names[reference["id"]] = reference["name"] or names.get(reference["id"])
    return [{"id": id_, "name": names[id_]} for id_ in sorted(names)]

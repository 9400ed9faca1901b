"""Rows to the graph: one batch, one transaction, the same graph however often it is delivered."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from neo4j import AsyncManagedTransaction, unit_of_work

from pipeline.cypher import statement
from pipeline.driver import Bulk, Driver, graph_errors, repeat_conflicts
from pipeline.ledger import fingerprints_in
from pipeline.model import RecordType, Row
from pipeline.parameters import own_ends, record_parameters, shared_pairs

#: The server ends a batch that takes longer: its locks must not outlive a lost client for long.
TRANSACTION_TIMEOUT_SECONDS = 120.0

#: Under which keys a row refers to records of its own type.
_OWN_KEYS = {
    RecordType.ARTISTS: ("aliases", "groups", "members"),
    RecordType.LABELS: ("parents", "sublabels"),
    RecordType.MASTERS: (),
    RecordType.RELEASES: (),
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch did: numbers of records that were new, had another fingerprint, or were there already."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0


@graph_errors()
async def write_batch(
    driver: Driver,
    record_type: RecordType,
    rows: Sequence[Row],
    *,
    before_commit: Callable[[], Awaitable[None]] | None = None,
) -> Written:
    """Make the graph say what `rows`, distinct by id, say: all of them or, when this raises, none.

    A row whose fingerprint the graph already holds writes nothing, so that batches may be delivered twice, also at once.
    `before_commit` is awaited when all is written; if it raises, the transaction rolls back and that is raised.
    Raises GraphUnavailable (the outcome may be unknown: repeat it) or GraphRejected.
    """

    async def write() -> Written:
        async with await driver.session(database="neo4j") as session:
            return await session.execute_write(_write, record_type, rows, before_commit)

    return await repeat_conflicts(write)


@unit_of_work(timeout=TRANSACTION_TIMEOUT_SECONDS)
async def _write(
    tx: AsyncManagedTransaction,
    record_type: RecordType,
    rows: Sequence[Row],
    before_commit: Callable[[], Awaitable[None]] | None,
) -> Written:
    news, _ = await _news(tx, record_type, sorted(rows, key=lambda row: int(row["id"])))
    if not news:
        return Written(unchanged=len(rows))
    await _run(
        tx, statement("lock_records", label=record_type.label), ends=own_ends(news, _OWN_KEYS[record_type])
    )
    # Asked again: a copy of this batch may have been committed while this one waited for its locks.
    news, known = await _news(tx, record_type, news)
    changed = [row["id"] for row in news if row["id"] in known]
    if news:
        await _WRITE[record_type](tx, news, changed)
    if before_commit is not None:
        await before_commit()
    return Written(len(news) - len(changed), len(changed), len(rows) - len(news))


async def _news(
    tx: AsyncManagedTransaction, record_type: RecordType, rows: list[Row]
) -> tuple[list[Row], dict[int, int]]:
    """The rows that the graph does not hold, and the fingerprints that it holds of rows."""
    known = await fingerprints_in(tx, record_type, [row["id"] for row in rows]) if rows else {}
    return [row for row in rows if known.get(row["id"]) != row["properties"]["fingerprint"]], known


async def _write_releases(tx: AsyncManagedTransaction, rows: list[Row], changed: list[int]) -> None:
    if changed:
        await _run(tx, statement("delete_releases"), ids=changed)
    await _run(tx, statement("write_records", label="Release"), **record_parameters(rows))


async def _write_masters(tx: AsyncManagedTransaction, rows: list[Row], changed: list[int]) -> None:
    if changed:
        await _run(tx, statement("delete_asserted", label="Master", types="BY|IS"), ids=changed)
    await _run(tx, statement("write_records", label="Master"), **record_parameters(rows))


async def _write_artists(tx: AsyncManagedTransaction, rows: list[Row], changed: list[int]) -> None:
    if changed:
        await _run(tx, statement("delete_asserted", label="Artist", types="ALIAS_OF"), ids=changed)
    pairs = shared_pairs(rows, outgoing="groups", incoming="members")
    await _write_shared(tx, rows, pairs, label="Artist", type_="MEMBER_OF")
    await _run(tx, statement("create_aliases"), rows=rows)


async def _write_labels(tx: AsyncManagedTransaction, rows: list[Row], _: list[int]) -> None:
    pairs = shared_pairs(rows, outgoing="parents", incoming="sublabels")
    await _write_shared(tx, rows, pairs, label="Label", type_="SUBLABEL_OF")


_WRITE: dict[RecordType, Callable[[AsyncManagedTransaction, list[Row], list[int]], Awaitable[None]]] = {
    RecordType.ARTISTS: _write_artists,
    RecordType.LABELS: _write_labels,
    RecordType.MASTERS: _write_masters,
    RecordType.RELEASES: _write_releases,
}


async def _write_shared(
    tx: AsyncManagedTransaction, rows: list[Row], pairs: list[Row], *, label: str, type_: str
) -> None:
    ids = [row["id"] for row in rows]
    await _run(tx, statement("lock_shared", label=label, type=type_), ids=ids)
    await _run(tx, statement("withdraw_shared", label=label, type=type_), ids=ids)
    await _run(tx, statement("set_properties", label=label), rows=rows)
    if pairs:
        await _run(tx, statement("assert_shared", label=label, type=type_), pairs=pairs)
    await _run(tx, statement("simplify_shared", label=label, type=type_), ids=ids)


async def _run(tx: AsyncManagedTransaction, text: str, **parameters: list[Any]) -> None:
    """Run a statement for its effect, to its end."""
    result = await tx.run(text, {name: Bulk(values) for name, values in parameters.items()})
    await result.consume()

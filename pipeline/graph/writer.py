"""Rows to the graph in one transaction, idempotent.

Only the differences of a changed record are written. The same transaction deletes derived parts that lose their last
reason.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from neo4j import AsyncManagedTransaction, unit_of_work

from pipeline.graph.assertions import Stored, read_stored
from pipeline.graph.batch import own_ids, parameters, write_statement
from pipeline.graph.cypher import statement
from pipeline.graph.derived import DerivedChanges
from pipeline.graph.driver import NO_RETRIES, Bulk, Driver, execute, graph_errors, repeat
from pipeline.graph.lookup import fingerprints_in
from pipeline.model import NODES, RELATIONSHIPS, RecordType, Row

#: The server ends a transaction that takes longer: its locks must not outlive a lost client for long.
TRANSACTION_TIMEOUT_SECONDS = 30.0

BeforeCommit = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Written:
    """Numbers of records in a transaction: new, with another fingerprint, already there."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0


@graph_errors()
async def write_records(
    driver: Driver,
    record_type: RecordType,
    rows: Sequence[Row],
    *,
    before_commit: BeforeCommit | None = None,
) -> Written:
    """Write `rows` to the graph in one transaction. Row ids must be unique.

    A row whose fingerprint the graph already has writes nothing, so a batch may be delivered twice, also at once.
    `before_commit` is awaited when all is written; if it raises, the transaction rolls back and the error is raised.
    Raises GraphUnavailable (the outcome may be unknown: repeat it), GraphOverloaded (repeat it in parts) or
    GraphRejected.
    """

    async def write() -> Written:
        async with await driver.session(database=driver.database, **NO_RETRIES) as session:
            return await session.execute_write(_write, record_type, rows, before_commit)

    return await repeat(write)


@graph_errors()
async def remove_records(
    driver: Driver,
    record_type: RecordType,
    ids: Sequence[int],
    *,
    before_commit: BeforeCommit | None = None,
) -> int:
    """Remove records by id in one transaction, and return how many the graph had.

    A node that another record refers to stays as a stub. Otherwise the same as `write_records`.
    """

    async def remove() -> int:
        async with await driver.session(database=driver.database, **NO_RETRIES) as session:
            return await session.execute_write(_remove, record_type, ids, before_commit)

    return await repeat(remove)


@unit_of_work(timeout=TRANSACTION_TIMEOUT_SECONDS)
async def _write(
    tx: AsyncManagedTransaction,
    record_type: RecordType,
    rows: Sequence[Row],
    before_commit: BeforeCommit | None,
) -> Written:
    rows = sorted(rows, key=lambda row: int(row["id"]))
    known = await _lock(tx, record_type, own_ids(record_type, rows))
    lacked = [row for row in rows if known.get(row["id"]) != row["properties"]["fingerprint"]]
    changed = [row["id"] for row in lacked if row["id"] in known]
    if lacked:
        await _lock_shared(tx, record_type, [row["id"] for row in lacked])
        await _rewrite(tx, record_type, lacked, await read_stored(tx, record_type, changed), [])
    if before_commit is not None:
        await before_commit()
    return Written(len(lacked) - len(changed), len(changed), len(rows) - len(lacked))


@unit_of_work(timeout=TRANSACTION_TIMEOUT_SECONDS)
async def _remove(
    tx: AsyncManagedTransaction,
    record_type: RecordType,
    ids: Sequence[int],
    before_commit: BeforeCommit | None,
) -> int:
    known = sorted(await fingerprints_in(tx, record_type, ids)) if ids else []
    if known:
        await _lock(tx, record_type, known)
        await _lock_shared(tx, record_type, known)
        await _rewrite(tx, record_type, [], await read_stored(tx, record_type, known), known)
    if before_commit is not None:
        await before_commit()
    return len(known)


async def _lock(tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]) -> dict[int, int]:
    """Lock the nodes of these ids, sorted; return the fingerprints of those that are records."""
    result = await tx.run(statement("lock_records", label=record_type.label), ids=Bulk(ids))
    record = await result.single(strict=True)
    return dict(zip(record["ids"], record["fingerprints"], strict=True))


async def _lock_shared(tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]) -> None:
    """Lock the nodes that these records share relationships with."""
    types = "|".join(sorted({each.type for each in RELATIONSHIPS[record_type].values() if each.shared}))
    if types:
        for name in ("lock_shared", "upgrade_shared"):
            await execute(tx, statement(name, label=record_type.label, types=types), ids=ids)


async def _rewrite(
    tx: AsyncManagedTransaction,
    record_type: RecordType,
    rows: Sequence[Row],
    stored: Mapping[int, Stored],
    removed: Sequence[int],
) -> None:
    """Write `rows` and remove the ids `removed`; `stored` has those in the graph."""
    relationships, derived = RELATIONSHIPS[record_type], DerivedChanges()
    asserted = {row["id"]: row["assertions"] for row in rows}
    surplus: dict[str, list[str]] = {field: [] for field in relationships}
    for id_ in (*asserted, *removed):
        before, after = stored[id_].assertions if id_ in stored else {}, asserted.get(id_, [])
        derived.note(record_type, before, after)
        for assertion in before.keys() - set(after) if before else ():
            surplus[assertion[0]].append(before[assertion])
    for field, ids in surplus.items():
        if relationships[field].shared:
            await execute(tx, statement("withdraw_shared", flag=relationships[field].flag), withdrawn=ids)
        else:
            await execute(tx, statement("delete_relationships"), ids=ids)
    await derived.lock(tx)
    if removed:
        node = NODES[record_type.label]
        kept = ", ".join(f".{name}" for name in (node.key, *node.stub_properties, *node.kept))
        await execute(tx, statement("reset_nodes", label=node.label, kept=kept), ids=removed)
        derived.note_nodes(node.label, removed)
    if rows:
        missing = [
            [each for each in assertions if each not in stored[id_].assertions]
            if id_ in stored
            else assertions
            for id_, assertions in asserted.items()
        ]
        batch = parameters(record_type, rows, missing, derived.new)
        await execute(tx, write_statement(record_type), batch=batch)
    await derived.withdraw(tx)

"""Rows to the graph: one batch, one transaction, the same graph however often it is delivered."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from neo4j import AsyncManagedTransaction, unit_of_work

from pipeline.cypher import statement
from pipeline.driver import ConflictError, Driver, graph_errors, repeat_conflicts
from pipeline.ends import merge_ends, relate, run
from pipeline.ledger import fingerprints_in
from pipeline.model import RecordType, Row

#: The server ends a batch that takes longer: its locks must not outlive a lost client for long.
TRANSACTION_TIMEOUT_SECONDS = 120.0

_MASTER_ENDS = ("artists", "genres", "styles")
_RELEASE_ENDS = (*_MASTER_ENDS, "labels", "credits")


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
    await merge_ends(tx, record_type, news)
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
        await run(tx, statement("delete_releases"), ids=changed)
    await relate(tx, statement("create_releases"), _count(rows, _RELEASE_ENDS), rows=rows)
    await _merge_derived(tx, rows)


async def _write_masters(tx: AsyncManagedTransaction, rows: list[Row], changed: list[int]) -> None:
    if changed:
        await run(tx, statement("delete_asserted", label="Master", types="BY|IS"), ids=changed)
    await run(tx, statement("set_properties", label="Master"), rows=rows)
    await relate(tx, statement("create_master_relationships"), _count(rows, _MASTER_ENDS), rows=rows)
    await _merge_derived(tx, rows)


async def _write_artists(tx: AsyncManagedTransaction, rows: list[Row], changed: list[int]) -> None:
    if changed:
        await run(tx, statement("delete_asserted", label="Artist", types="ALIAS_OF"), ids=changed)
    pairs = _shared(rows, outgoing="groups", incoming="members")
    await _write_shared(tx, rows, pairs, label="Artist", type_="MEMBER_OF")
    await relate(tx, statement("create_aliases"), _count(rows, ("aliases",)), rows=rows)


async def _write_labels(tx: AsyncManagedTransaction, rows: list[Row], _: list[int]) -> None:
    pairs = _shared(rows, outgoing="parents", incoming="sublabels")
    await _write_shared(tx, rows, pairs, label="Label", type_="SUBLABEL_OF")


_WRITE: dict[RecordType, Callable[[AsyncManagedTransaction, list[Row], list[int]], Awaitable[None]]] = {
    RecordType.ARTISTS: _write_artists,
    RecordType.LABELS: _write_labels,
    RecordType.MASTERS: _write_masters,
    RecordType.RELEASES: _write_releases,
}


def _count(rows: list[Row], keys: Sequence[str]) -> int:
    """How many relationships the rows assert under these keys, and with a master of theirs."""
    return sum(sum(len(row[key]) for key in keys) + (row.get("master") is not None) for row in rows)


def _shared(rows: list[Row], *, outgoing: str, incoming: str) -> list[Row]:
    """The pairs that the rows assert, sorted, with the one row that does or None where both ends do."""
    sole: dict[tuple[int, int], int | None] = {}
    for row in rows:
        for pair in [(row["id"], ref["id"]) for ref in row[outgoing]] + [
            (ref["id"], row["id"]) for ref in row[incoming]
        ]:
            sole[pair] = None if pair in sole else row["id"]
    return [{"start": start, "end": end, "sole": sole[start, end]} for start, end in sorted(sole)]


async def _write_shared(
    tx: AsyncManagedTransaction, rows: list[Row], pairs: list[Row], *, label: str, type_: str
) -> None:
    ids = [row["id"] for row in rows]
    await run(tx, statement("lock_shared", label=label, type=type_), ids=ids)
    await run(tx, statement("withdraw_shared", label=label, type=type_), ids=ids)
    await run(tx, statement("set_properties", label=label), rows=rows)
    if pairs:
        await run(tx, statement("assert_shared", label=label, type=type_), pairs=pairs)
    await run(tx, statement("simplify_shared", label=label, type=type_), ids=ids)


async def _merge_derived(tx: AsyncManagedTransaction, rows: list[Row]) -> None:
    """What follows from these records: who a credited name is, which genre a style belongs to."""
    same = {(c["name"], c["artist_id"]) for row in rows for c in row.get("credits", ()) if c["artist_id"]}
    part = {(style, row["genres"][0]) for row in rows if len(row["genres"]) == 1 for style in row["styles"]}
    if same:
        pairs = [{"name": name, "artist_id": artist_id} for name, artist_id in sorted(same)]
        result = await tx.run(statement("merge_same_as"), pairs=pairs)
        found = (await result.single(strict=True))["found"]
        if found != len(pairs):
            raise ConflictError(
                f"found {found:,} of {len(pairs):,} credited artists: the others were deleted meanwhile"
            )
    if part:
        pairs = [{"style": style, "genre": genre} for style, genre in sorted(part)]
        await run(tx, statement("merge_part_of"), pairs=pairs)

"""Rows to the graph: one batch, one transaction, the same graph however often it is delivered.

Of a record that the graph has in another version only what differs is written. What loses its support by that goes
in the same transaction.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from neo4j import AsyncManagedTransaction, unit_of_work

from pipeline.graph.cypher import statement
from pipeline.graph.derived import Support
from pipeline.graph.driver import NO_RETRIES, Bulk, Driver, execute, graph_errors, repeat
from pipeline.graph.lookup import fingerprints_in
from pipeline.graph.parameters import own_ends, record_parameters, shared_pairs
from pipeline.graph.relationships import SHARED, Stored, links_of, missing, stored_records
from pipeline.model import RecordType, Row
from pipeline.records.rows import PROPERTIES

#: The server ends a batch that takes longer: its locks must not outlive a lost client for long.
TRANSACTION_TIMEOUT_SECONDS = 30.0

BeforeCommit = Callable[[], Awaitable[None]]

#: Under which keys a row refers to records of its own type.
_OWN_KEYS = {
    RecordType.ARTISTS: ("aliases", "groups", "members"),
    RecordType.LABELS: ("parents", "sublabels"),
    RecordType.MASTERS: (),
    RecordType.RELEASES: (),
}
#: Every property that a record may have, as null.
_NOTHING = {
    record_type: dict.fromkeys(("fingerprint", *PROPERTIES[record_type.label])) for record_type in RecordType
}


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch did: numbers of records that were new, had another fingerprint, or were there already."""

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
    """Make the graph say what `rows`, distinct by id, say: all of them or, when this raises, none.

    A row whose fingerprint the graph already holds writes nothing, so that batches may be delivered twice, also at once.
    `before_commit` is awaited when all is written; if it raises, the transaction rolls back and that is raised.
    Raises GraphUnavailable (the outcome may be unknown: repeat it), GraphOverloaded (repeat it in parts) or GraphRejected.
    """

    async def write() -> Written:
        async with await driver.session(database="neo4j", **NO_RETRIES) as session:
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
    """Remove the records with these ids, and give how many there were: all of them or, when this raises, none.

    A node that something still refers to stays, as a stub. The rest as in `write_records`.
    """

    async def remove() -> int:
        async with await driver.session(database="neo4j", **NO_RETRIES) as session:
            return await session.execute_write(_remove, record_type, ids, before_commit)

    return await repeat(remove)


@unit_of_work(timeout=TRANSACTION_TIMEOUT_SECONDS)
async def _write(
    tx: AsyncManagedTransaction,
    record_type: RecordType,
    rows: Sequence[Row],
    before_commit: BeforeCommit | None,
) -> Written:
    news, _ = await _news(tx, record_type, sorted(rows, key=lambda row: int(row["id"])))
    if not news:
        return Written(unchanged=len(rows))
    ends = own_ends(news, _OWN_KEYS[record_type])
    await execute(tx, statement("lock_records", label=record_type.label), ends=ends)
    # Asked again: a copy of this batch may have been committed while this one waited for its locks.
    news, known = await _news(tx, record_type, news)
    changed = [row["id"] for row in news if row["id"] in known]
    if news:
        stored = await stored_records(tx, record_type, changed)
        await _rewrite(tx, _Changes(record_type, news, stored))
    if before_commit is not None:
        await before_commit()
    return Written(len(news) - len(changed), len(changed), len(rows) - len(news))


@unit_of_work(timeout=TRANSACTION_TIMEOUT_SECONDS)
async def _remove(
    tx: AsyncManagedTransaction,
    record_type: RecordType,
    ids: Sequence[int],
    before_commit: BeforeCommit | None,
) -> int:
    known = sorted(await fingerprints_in(tx, record_type, ids)) if ids else []
    if known:
        ends = [{"id": id_, "name": None} for id_ in known]
        await execute(tx, statement("lock_records", label=record_type.label), ends=ends)
        stored = await stored_records(tx, record_type, known)
        await _rewrite(tx, _Changes(record_type, [], stored, gone=known))
    if before_commit is not None:
        await before_commit()
    return len(known)


async def _news(
    tx: AsyncManagedTransaction, record_type: RecordType, rows: list[Row]
) -> tuple[list[Row], dict[int, int]]:
    """The rows that the graph does not hold, and the fingerprints that it holds of rows."""
    known = await fingerprints_in(tx, record_type, [row["id"] for row in rows]) if rows else {}
    return [row for row in rows if known.get(row["id"]) != row["properties"]["fingerprint"]], known


@dataclass(frozen=True, slots=True)
class _Changes:
    """What one transaction does to records of one type."""

    record_type: RecordType
    #: The new versions.
    rows: list[Row]
    #: What the graph holds of those that it has in another version, and of those that go.
    stored: Mapping[int, Stored]
    #: The ids of those that go.
    gone: Sequence[int] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        """Of all these records."""
        return [*(row["id"] for row in self.rows), *self.gone]

    def missing(self) -> list[Row]:
        """The rows with only those relationships that the graph lacks."""
        return [
            missing(row, self.stored[row["id"]].links) if row["id"] in self.stored else row
            for row in self.rows
        ]


async def _rewrite(tx: AsyncManagedTransaction, changes: _Changes) -> None:
    record_type, rows = changes.record_type, changes.rows
    support = Support()
    await _delete_surplus(tx, changes, support)
    await support.hold(tx)
    if record_type in SHARED:
        await _write_shared(tx, changes, support)
        await execute(
            tx, statement("create_aliases"), rows=[row for row in changes.missing() if row.get("aliases")]
        )
    else:
        await _remove_nodes(tx, changes, support)
        if rows:
            text = statement("write_records", label=record_type.label)
            await execute(tx, text, batch=record_parameters(rows, changes.missing()))
    await support.settle(tx)


async def _delete_surplus(tx: AsyncManagedTransaction, changes: _Changes, support: Support) -> None:
    """Delete the relationships that only an earlier version of its record asserted."""
    new = {row["id"]: links_of(row) for row in changes.rows if row["id"] in changes.stored}
    surplus: list[str] = []
    for id_, stored in changes.stored.items():
        now = new.get(id_, set())
        surplus += [element_id for link, element_id in stored.links.items() if link not in now]
        support.lose(stored.links, now)
    await execute(tx, statement("delete_links"), links=surplus)


async def _remove_nodes(tx: AsyncManagedTransaction, changes: _Changes, support: Support) -> None:
    label = changes.record_type.label
    if not changes.gone:
        return
    if changes.record_type is RecordType.RELEASES:
        await execute(tx, statement("delete_releases"), ids=changes.gone)
        return
    nothing = dict(_NOTHING[changes.record_type])
    nothing.pop("name", None)
    await execute(tx, statement("remove_records", label=label), ids=changes.gone, nothing=nothing)
    support.lose_nodes(label, changes.gone)


async def _write_shared(tx: AsyncManagedTransaction, changes: _Changes, support: Support) -> None:
    """Write the nodes of artists or labels, and what they share with one another."""
    label = changes.record_type.label
    type_, outgoing, incoming = SHARED[changes.record_type]
    pairs = shared_pairs(changes.rows, outgoing=outgoing, incoming=incoming)
    ends: dict[int, Row] = {id_: {"id": id_, "outgoing": [], "incoming": []} for id_ in changes.ids}
    for pair in pairs:
        if pair["start"] in ends:
            ends[pair["start"]]["outgoing"].append(pair["end"])
        if pair["end"] in ends:
            ends[pair["end"]]["incoming"].append(pair["start"])
    rows = list(ends.values())
    await execute(tx, statement("lock_shared", label=label, type=type_), rows=rows)
    text = statement("withdraw_shared", label=label, type=type_)
    lost = await (await tx.run(text, rows=Bulk(rows), ids=Bulk(ends))).single(strict=True)
    support.lose_nodes(label, lost["lost"])
    await _remove_nodes(tx, changes, support)
    nothing = _NOTHING[changes.record_type]
    properties = [{"id": row["id"], "properties": nothing | row["properties"]} for row in changes.rows]
    await execute(tx, statement("set_properties", label=label), rows=properties)
    await execute(tx, statement("assert_shared", label=label, type=type_), pairs=pairs)
    await execute(tx, statement("simplify_shared", label=label, type=type_), ids=list(ends))

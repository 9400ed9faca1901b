"""The graph as the ledger of what is done: which records it holds, in which version."""

from collections.abc import Sequence

from neo4j import AsyncManagedTransaction, unit_of_work

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Bulk, Driver, graph_errors
from pipeline.model import RecordType

#: Ids are read by a walk along the index where at least one in so many between the first and the last is asked for.
SPARSEST_WALK = 4


@graph_errors()
async def fingerprints(driver: Driver, record_type: RecordType, ids: Sequence[int]) -> dict[int, int]:
    """The fingerprints by id of those records among `ids` that the graph holds; stubs are not among them.

    Raises GraphUnavailable or GraphRejected.
    """
    if not ids:
        return {}
    async with await driver.session(database="neo4j") as session:
        return await session.execute_read(_read_fingerprints, record_type, ids)


@unit_of_work(timeout=60)
async def _read_fingerprints(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]
) -> dict[int, int]:
    return await fingerprints_in(tx, record_type, ids)


async def fingerprints_in(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]
) -> dict[int, int]:
    """As `fingerprints`, inside a transaction that is open already."""
    lowest, highest = min(ids), max(ids)
    dense = highest - lowest < SPARSEST_WALK * len(ids)
    if dense:
        result = await tx.run(
            statement("fingerprints_range", label=record_type.label), lowest=lowest, highest=highest
        )
    else:
        result = await tx.run(statement("fingerprints", label=record_type.label), ids=Bulk(ids))
    record = await result.single(strict=True)
    found = dict(zip(record["ids"], record["fingerprints"], strict=True))
    if not dense:
        return found
    return {id_: found[id_] for id_ in ids if id_ in found}

"""The records that the graph has: their ids and fingerprints."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from neo4j import AsyncManagedTransaction, unit_of_work
from pyroaring import BitMap64

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Bulk, Driver, graph_errors
from pipeline.model import RecordType

#: Ids are read by a walk along the index if at least one in so many between the first and the last is requested.
SPARSEST_WALK = 4
#: Ids that are read from the graph at a time.
PAGE_IDS = 20_000


@graph_errors()
async def fingerprints(driver: Driver, record_type: RecordType, ids: Sequence[int]) -> dict[int, int]:
    """Return the fingerprints by id of the records that the graph has; stubs have none.

    Raises GraphUnavailable or GraphRejected.
    """
    if not ids:
        return {}
    async with await driver.session(database=driver.database) as session:
        # As a write: in a cluster, only the leader is sure to have what was written last.
        return await session.execute_write(_read_fingerprints, record_type, ids)


@unit_of_work(timeout=60)
async def _read_fingerprints(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]
) -> dict[int, int]:
    return await fingerprints_in(tx, record_type, ids)


async def fingerprints_in(
    tx: AsyncManagedTransaction, record_type: RecordType, ids: Sequence[int]
) -> dict[int, int]:
    """Return the same as `fingerprints`, in an open transaction."""
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


@dataclass(slots=True)
class Vanished:
    """Records that a full dump of their type lacks.

    Those of upstream tasks are left out.
    """

    #: Number of records of the type in the graph whose newest version is a dump's.
    records: int = 0
    ids: BitMap64 = field(default_factory=BitMap64)


async def find_vanished(
    driver: Driver, record_type: RecordType, is_contained: Callable[[int], bool]
) -> Vanished:
    """Return the records that the dump lacks, by one walk over all ids.

    Raises GraphUnavailable or GraphRejected.
    """
    found = Vanished()
    async for ids in _record_ids(driver, record_type):
        found.records += len(ids)
        found.ids.update(id_ for id_ in ids if not is_contained(id_))
    return found


async def _record_ids(driver: Driver, record_type: RecordType) -> AsyncIterator[list[int]]:
    after = 0
    while ids := await _page(driver, record_type, after):
        yield ids
        after = ids[-1]


@graph_errors()
async def _page(driver: Driver, record_type: RecordType, after: int) -> list[int]:
    async with await driver.session(database=driver.database) as session:
        # As a write, see above.
        return await session.execute_write(_ids_after, record_type, after)


@unit_of_work(timeout=60)
async def _ids_after(tx: AsyncManagedTransaction, record_type: RecordType, after: int) -> list[int]:
    text = statement("record_ids", label=record_type.label)
    record = await (await tx.run(text, after=after, limit=PAGE_IDS)).single(strict=True)
    ids: list[int] = record["ids"]
    return ids

"""Records that a full dump of their type no longer contains."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from neo4j import AsyncManagedTransaction, unit_of_work
from pyroaring import BitMap64

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, graph_errors
from pipeline.model import RecordType

#: Ids that are read from the graph at a time.
PAGE_IDS = 20_000


@dataclass(slots=True)
class Vanished:
    """The outcome of a comparison of ids."""

    #: How many records of the type the graph has.
    records: int = 0
    #: The ids of those that the dump lacks: of a wrong file all that the graph has.
    ids: BitMap64 = field(default_factory=BitMap64)


async def find_vanished(
    driver: Driver, record_type: RecordType, is_contained: Callable[[int], bool]
) -> Vanished:
    """The records of this type whose ids the dump does not contain, by one walk over the ids that the graph has.

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
    async with await driver.session(database="neo4j") as session:
        return await session.execute_read(_ids_after, record_type, after)


@unit_of_work(timeout=60)
async def _ids_after(tx: AsyncManagedTransaction, record_type: RecordType, after: int) -> list[int]:
    text = statement("record_ids", label=record_type.label)
    record = await (await tx.run(text, after=after, limit=PAGE_IDS)).single(strict=True)
    ids: list[int] = record["ids"]
    return ids

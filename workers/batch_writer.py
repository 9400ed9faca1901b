"""Writes to the graph under a lease, in smaller transactions where one is too much."""

import logging
from collections.abc import Sequence
from typing import TypeVar

from asgiref.sync import sync_to_async

from pipeline.errors import DataRejected, GraphOverloaded, GraphRejected
from pipeline.graph.driver import Driver
from pipeline.graph.schema import check_schema
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import RecordType, Row
from workers.state.lease import Lease
from workers.state.statistics import StatisticsState

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

#: Records in a transaction, at most. Records near each other in a dump refer to the same new nodes, and of two
#: transactions that create the same node one waits for the commit of the other.
MAX_RECORDS = 500
#: A failed transaction is split into so many.
PARTS = 4
#: Fewer records in a transaction are not too much for a server that works: it needs time.
MIN_RECORDS = 20
#: More refused records in one batch have a cause outside of the records.
MAX_REFUSED = 100


class BatchWriter:
    """Writes records and removes them, while the lease is held and no longer."""

    def __init__(self, driver: Driver, lease: Lease, statistics: StatisticsState) -> None:
        self.driver = driver
        self._lease = lease
        self._statistics = statistics

    async def write(self, record_type: RecordType, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """Write rows; return those that the graph refuses, with the reason.

        Raises GraphRejected when the cause is not in the records, GraphOverloaded when few records are too much.
        """
        if not rows:
            return []
        await check_schema(self.driver)
        await sync_to_async(self._statistics.mark_stale, thread_sensitive=False)()
        refused = await self._write_parts(record_type, rows, MAX_RECORDS)
        if len(refused) > MAX_REFUSED:
            raise GraphRejected(
                f"the graph refuses {len(refused):,} of {len(rows):,} records: {refused[0][1]}"
            )
        return refused

    async def remove(self, record_type: RecordType, ids: Sequence[int]) -> int:
        """Remove records; return their number. Raises GraphOverloaded."""
        await sync_to_async(self._statistics.mark_stale, thread_sensitive=False)()
        return await self._remove(record_type, ids)

    async def before_commit(self) -> None:
        """Check the lease: another copy of this batch may be written already."""
        await sync_to_async(self._lease.check, thread_sensitive=False)()

    async def _write(self, record_type: RecordType, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        try:
            await write_records(self.driver, record_type, rows, before_commit=self.before_commit)
        except DataRejected as error:
            if len(rows) == 1:
                return [(rows[0], str(error))]
        except GraphOverloaded as error:
            _check_splits(rows, error)
        else:
            return []
        return await self._write_parts(record_type, rows, _part_size(rows))

    async def _write_parts(
        self, record_type: RecordType, rows: Sequence[Row], size: int
    ) -> list[tuple[Row, str]]:
        return [refused for part in _parts(rows, size) for refused in await self._write(record_type, part)]

    async def _remove(self, record_type: RecordType, ids: Sequence[int]) -> int:
        try:
            return await remove_records(self.driver, record_type, ids, before_commit=self.before_commit)
        except GraphOverloaded as error:
            _check_splits(ids, error)
        return sum([await self._remove(record_type, part) for part in _parts(ids, _part_size(ids))])


def _check_splits(items: Sequence[object], error: GraphOverloaded) -> None:
    if len(items) <= MIN_RECORDS:
        raise error
    logger.warning("%d records were too much for Neo4j at once: %s", len(items), error)


def _part_size(items: Sequence[object]) -> int:
    return -(-len(items) // PARTS)


def _parts(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]

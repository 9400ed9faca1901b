"""Writes to the graph by whoever holds a claim: asked for again before each commit, in parts where it is too much at once."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from asgiref.sync import sync_to_async

from pipeline.errors import DataRejected, GraphRejected
from pipeline.graph.driver import Driver
from pipeline.graph.schema import check_schema
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import RecordType, Row
from workers.batch_size import BatchSize
from workers.state.lease import Claim, ClaimLost

#: More refused records in one batch than this are not the records' fault.
MOST_REFUSED = 100


def held(claim: Claim) -> Callable[[], Coroutine[Any, Any, None]]:
    """What a transaction asks before it commits: whether this process still has the claim."""

    async def before_commit() -> None:
        # Redis is asked in the task's own thread; the loop serves other transactions meanwhile.
        if not await sync_to_async(claim.holds)():
            raise ClaimLost("the claim on this batch has ended")

    return before_commit


async def write(
    driver: Driver,
    record_type: RecordType,
    rows: list[Row],
    claim: Claim,
    size: BatchSize,
) -> list[tuple[Row, str]]:
    """Write the rows in one transaction, or in as many as it takes; where the graph refuses some, find them by halving.

    Returns the refused rows with the reason. Raises GraphRejected if the fault does not lie in the records, as there are so
    many, or as Neo4j takes no writes from us.
    """

    async def attempt(part: Sequence[Row]) -> list[tuple[Row, str]]:
        try:
            await write_records(driver, record_type, part, before_commit=held(claim))
        except DataRejected as error:
            if len(part) == 1:
                return [(part[0], str(error))]
            middle = len(part) // 2
            return await attempt(part[:middle]) + await attempt(part[middle:])
        return []

    if not rows:
        return []
    await check_schema(driver)
    refused = [each async for part in size.in_parts(rows, attempt) for each in part]
    if len(refused) > MOST_REFUSED:
        raise GraphRejected(f"the graph refuses {len(refused):,} of {len(rows):,} records: {refused[0][1]}")
    return refused


async def remove(
    driver: Driver,
    record_type: RecordType,
    ids: list[int],
    claim: Claim,
    size: BatchSize,
) -> int:
    """Remove records in one transaction, or in as many as it takes; how many there were."""

    async def attempt(part: Sequence[int]) -> int:
        return await remove_records(driver, record_type, part, before_commit=held(claim))

    return sum([removed async for removed in size.in_parts(ids, attempt)])

"""The tasks: a chord of `normalise` tasks with `write_batch` as its body, and `settle` at the end.

Arguments are names of things in Redis, never the things. Task bodies are sync functions: Celery runs
no coroutines; what is asynchronous is handed to the worker's event loop. Bad data never raises: it goes
to the quarantine. What does raise is infrastructure, and is tried again without limit, or a defect, and
then the batch is marked as failed and its load ends incomplete.
"""

import gc
import logging
from typing import Any

import redis.exceptions
from asgiref.sync import sync_to_async
from celery import Task

from pipeline.driver import Driver
from pipeline.errors import GraphRejected, GraphUnavailable
from pipeline.ledger import fingerprints
from pipeline.model import RecordType, Rejected, Row
from pipeline.normalise import normalise as normalise_chunk
from pipeline.schema import check_schema
from pipeline.settle import settle as settle_graph
from pipeline.writer import write_batch as write_rows
from workers.app import app
from workers.batches import Claim, Meta, Tally
from workers.chords import BATCH_FAILED, NORMALISE, SETTLE, WRITE_BATCH
from workers.loop import LoopStopped
from workers.process import WorkerProcess, this_process

logger = logging.getLogger(__name__)

#: What passes by itself: tried again for as long as it takes.
PASSING = (
    GraphUnavailable,
    LoopStopped,
    TimeoutError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.OutOfMemoryError,
)

#: How long a copy of `settle` keeps others from starting.
SETTLE_CLAIM_SECONDS = 900
#: More refused records in one batch than this are not the records' fault.
MOST_REFUSED = 100

Summary = dict[str, Any]


class ClaimLost(GraphUnavailable):
    """The batch was written by another copy of its body, or this copy took too long: rolled back."""


class GraphTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task that works with what its worker process holds open."""

    autoretry_for = PASSING
    max_retries: int | None = None
    retry_backoff = 1
    retry_backoff_max = 30
    retry_jitter = True


@app.task(name=NORMALISE.name, base=GraphTask, ignore_result=True)
def normalise(batch: str, index: int) -> Summary:
    """Chunk `index` of the batch → rows of what the graph lacks, put beside it; gives their tally."""
    worker = this_process()
    meta, chunk = worker.batches.meta(batch), worker.batches.chunk(batch, index)
    if meta is None or chunk is None:
        return Tally().as_dict()  # the message has outlived its batch
    known = worker.loop.run(
        fingerprints(worker.driver(), meta.record_type, chunk.ids),
        timeout_seconds=worker.settings.batch_timeout_seconds,
    )
    outcome = normalise_chunk(chunk, known)
    _quarantine(worker, meta, outcome.rejected)
    worker.batches.store_rows(batch, index, outcome.rows)
    return Tally(outcome.unchanged, outcome.created, outcome.changed, len(outcome.rejected)).as_dict()


@app.task(name=WRITE_BATCH.name, base=GraphTask, ignore_result=True)
def write_batch(summaries: list[Summary], batch: str) -> Summary:
    """Write the rows of all chunks of the batch, count the batch and take it off the list of pending ones."""
    worker = this_process()
    budget = worker.settings.batch_timeout_seconds
    with worker.batches.writing(batch, expiry_seconds=int(budget) + 30) as claim:
        meta = worker.batches.meta(batch)
        if claim is None or meta is None:
            return {"skipped": "another copy of this batch has written it, or is writing it"}
        rows = worker.batches.rows(batch, meta.chunks)
        tally = sum((Tally(**summary) for summary in summaries), Tally())
        if rows is None or len(rows) != tally.created + tally.changed:
            # The chunks are still there, and the batch is still pending: it is sent again.
            return {"skipped": "the rows do not fit the summaries"}
        if tally.changed:
            worker.batches.unsettle()
        refused = worker.loop.run(
            _write(worker.driver(), meta.record_type, rows, claim), timeout_seconds=budget
        )
        if rows:
            # The driver's results hold their parameters, all rows once more, in cycles.
            gc.collect()
        if refused:
            tally = _set_aside(worker, batch, meta, refused, tally)
        worker.batches.complete(batch, meta.run, tally)
        return tally.as_dict()


@app.task(name=BATCH_FAILED.name, ignore_result=True)
def batch_failed(_request: Any, error: Any, _traceback: Any, batch: str) -> None:
    """Called, not sent, when a task of the batch raised what no retry helps against: the load ends incomplete.

    Celery passes the failed request, the exception and its traceback only to a task that is not bound.
    """
    batches = this_process().batches
    meta = batches.meta(batch)
    if meta is not None:
        reason = " ".join(str(error).split()) or type(error).__name__
        logger.error("batch %s failed: %s", batch, reason)
        batches.fail(batch, meta.run, reason)


@app.task(name=SETTLE.name, base=GraphTask, ignore_result=True)
def settle() -> None:
    """Remove what nothing supports any more, after a load that changed records."""
    worker = this_process()
    with worker.batches.writing("settle", expiry_seconds=SETTLE_CLAIM_SECONDS) as claim:
        if claim is None:
            return
        changes = worker.batches.changes()
        try:
            worker.loop.run(settle_graph(worker.driver()))
        except GraphRejected as error:
            worker.batches.settling_failed(str(error))
            raise
        worker.batches.settled(changes)


async def _write(
    driver: Driver, record_type: RecordType, rows: list[Row], claim: Claim
) -> list[tuple[Row, str]]:
    """Write the rows in one transaction; where the graph refuses some, find them by halving.

    Returns the refused rows with the reason. Raises GraphRejected if there are so many that the fault cannot
    lie in the records.
    """

    async def before_commit() -> None:
        # Redis is asked in the task's own thread; the loop serves other transactions meanwhile.
        if not await sync_to_async(claim.holds)():
            raise ClaimLost("the claim on this batch has ended")

    async def attempt(part: list[Row]) -> list[tuple[Row, str]]:
        try:
            await write_rows(driver, record_type, part, before_commit=before_commit)
        except GraphRejected as error:
            if len(part) == 1:
                return [(part[0], str(error))]
            middle = len(part) // 2
            return await attempt(part[:middle]) + await attempt(part[middle:])
        return []

    if not rows:
        return []
    await check_schema(driver)
    refused = await attempt(rows)
    if len(refused) > MOST_REFUSED:
        raise GraphRejected(f"the graph refuses {len(refused):,} of {len(rows):,} records: {refused[0][1]}")
    return refused


def _quarantine(worker: WorkerProcess, meta: Meta, rejected: list[Rejected]) -> None:
    without_space = worker.quarantine.add(meta.record_type, meta.source, rejected)
    if without_space:
        logger.warning("the quarantine is full: %d records of %s are not kept", without_space, meta.source)
        worker.batches.not_kept(meta.run, without_space)


def _set_aside(
    worker: WorkerProcess, batch: str, meta: Meta, refused: list[tuple[Row, str]], tally: Tally
) -> Tally:
    reasons = {row["id"]: reason for row, reason in refused}
    rejected: list[Rejected] = []
    for index in range(meta.chunks):
        chunk = worker.batches.chunk(batch, index)
        if chunk is not None:
            # The last occurrence of an id is the one that was to be written.
            found = {
                record_id: Rejected(position, reasons[record_id], raw)
                for position, record_id, raw in zip(chunk.positions, chunk.ids, chunk.records, strict=True)
                if record_id in reasons
            }
            rejected += found.values()
    _quarantine(worker, meta, rejected)
    created = max(0, tally.created - len(refused))
    return Tally(
        unchanged=tally.unchanged,
        created=created,
        changed=tally.changed - (len(refused) - (tally.created - created)),
        quarantined=tally.quarantined + len(refused),
    )

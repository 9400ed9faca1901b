"""The tasks: a chord of `normalise` tasks with `write_batch` as its body, and the steps that end a load.

Arguments are names of things in Redis, never the things. Task bodies are sync functions: Celery runs
no coroutines; what is asynchronous is handed to the worker's event loop. Bad data never raises: it goes
to the quarantine. What does raise is infrastructure, and is tried again without limit, or a defect, and
then the batch is marked as failed and its load ends incomplete.
"""

import gc
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import redis.exceptions
from asgiref.sync import sync_to_async
from celery import Task

from pipeline.driver import Driver
from pipeline.errors import GraphinatorError, GraphRejected, GraphUnavailable
from pipeline.finish import finish as finish_graph
from pipeline.ingest import Accepted, RecordsRefused, Refused, accept, arguments, refusal
from pipeline.ledger import fingerprints
from pipeline.model import RecordType, Rejected, Row
from pipeline.normalise import normalise as normalise_chunk
from pipeline.schema import check_schema
from pipeline.vanished import find_vanished
from pipeline.writer import remove_records
from pipeline.writer import write_batch as write_rows
from workers.app import app
from workers.batch_size import BatchSize
from workers.batches import Meta
from workers.chords import BATCH_FAILED, FINISH, INGEST, NORMALISE, REMOVE_VANISHED, WRITE_BATCH
from workers.claims import Claim, ClaimLost, holding
from workers.inbox import InboxFull
from workers.loop import LoopStopped
from workers.process import WorkerProcess, this_process
from workers.quarantine import entry_id
from workers.runs import INGEST as INGEST_SOURCE
from workers.runs import Tally
from workers.steps import COUNTED, FINISHED, Outcome

logger = logging.getLogger(__name__)

#: What passes by itself: tried again for as long as it takes.
PASSING = (
    GraphUnavailable,
    InboxFull,
    LoopStopped,
    TimeoutError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.OutOfMemoryError,
)

#: Vanished records that are removed in one transaction.
REMOVED_TOGETHER = 1000
#: More than this share of a type's records does not vanish from one dump to the next: the dump is not whole.
MOST_VANISHING = 0.05
#: More refused records in one batch than this are not the records' fault.
MOST_REFUSED = 100

#: What is said of a batch in whose hands one process after the other has ended.
DEADLY = "a worker process ended each time it worked on this batch; its log, or the kernel's, may say why"

Summary = dict[str, Any]
Result = TypeVar("Result")


class Deadly(GraphinatorError):
    """Work that has ended one worker process after the other: it is not tried again."""


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
    with worker.batches.attempt(batch, str(index)) as is_harmless:
        meta, chunk = worker.batches.meta(batch), worker.batches.chunk(batch, index)
        if meta is None or chunk is None:
            return Tally().as_dict()  # the message has outlived its batch
        if not is_harmless:
            raise Deadly(DEADLY)
        known = worker.loop.run(
            fingerprints(worker.driver(), meta.record_type, chunk.ids),
            timeout_seconds=worker.settings.batch_timeout_seconds,
        )
        outcome = normalise_chunk(chunk, known)
        _quarantine(worker, meta, outcome.rejected, _run(batch, meta))
        worker.batches.store_rows(batch, index, outcome.rows)
        return Tally(outcome.unchanged, outcome.created, outcome.changed, len(outcome.rejected)).as_dict()


@app.task(name=WRITE_BATCH.name, base=GraphTask, ignore_result=True)
def write_batch(summaries: list[Summary], batch: str) -> Summary:
    """Write the rows of all chunks of the batch, count the batch and take it off the list of pending ones."""
    worker = this_process()
    with (
        worker.batches.attempt(batch, "body") as is_harmless,
        worker.batches.writing(batch) as claim,
    ):
        meta = worker.batches.meta(batch)
        if claim is None or meta is None:
            return {"skipped": "another copy of this batch has written it, or is writing it"}
        if not is_harmless:
            raise Deadly(DEADLY)
        rows = worker.batches.rows(batch, meta.chunks)
        tally = sum((Tally(**summary) for summary in summaries), Tally())
        if rows is None or len(rows) != tally.created + tally.changed:
            # The chunks are still there, and the batch is still pending: it is sent again.
            return {"skipped": "the rows do not fit the summaries"}
        if rows:
            worker.steps.unfinish()
        write = _write(
            worker.driver(),
            meta.record_type,
            rows,
            claim,
            worker.batch_size,
            keep_counts=worker.steps.is_counted(),
        )
        refused = worker.loop.run(
            holding(claim, write), timeout_seconds=worker.settings.batch_timeout_seconds
        )
        if rows:
            # The driver's results hold their parameters, all rows once more, in cycles.
            gc.collect()
        if refused:
            tally = _set_aside(worker, batch, meta, refused, tally)
        if meta.source == INGEST_SOURCE:
            _release(worker, batch, meta, claim)
        worker.batches.complete(batch, meta.run, tally)
        return tally.as_dict()


@app.task(name=INGEST.name, base=GraphTask, bind=True)
def ingest(self: GraphTask, *given: Any, **named: Any) -> Summary:
    """Take `records` of one `record_type` (artists, labels, masters or releases) from an upstream task.

    Each is a string of raw XML or a dictionary (`pipeline.plain`). The type comes first, unless it is given by name: in a chain,
    the result of the task before comes first. When this ends the records are stored, and will be written together with
    those of other calls. Gives how many were `accepted`. Raises RecordsRefused if some are no records of this type,
    which names them and what is wrong; the others are accepted all the same.
    """
    worker = this_process()
    type_, records = arguments(given, named)
    outcomes = [accept(type_, record, worker.settings.record_bytes) for record in records]
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    redelivered = bool((self.request.delivery_info or {}).get("redelivered"))
    call = self.request.id or secrets.token_hex(8)
    worker.inbox.add(call, type_, accepted, redelivered=redelivered)
    refused = [Rejected(-1, each.reason, each.raw) for each in outcomes if isinstance(each, Refused)]
    if refused:
        meta = Meta(type_, f"{INGEST_SOURCE}-{type_}", INGEST_SOURCE, 0)
        _quarantine(worker, meta, refused, f"{INGEST_SOURCE}-{call}")
        raise RecordsRefused(refusal(outcomes))
    return {"record_type": type_.value, "accepted": len(accepted)}


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
        if meta.source == INGEST_SOURCE:
            # Nobody will hand these records over again.
            chunk = batches.chunk(batch, 0)
            rejected = [Rejected(-1, reason, raw) for raw in chunk.records] if chunk is not None else []
            _quarantine(this_process(), meta, rejected, _run(batch, meta))
        batches.fail(batch, meta.run, reason)


@app.task(name=REMOVE_VANISHED.name, ignore_result=True)
def remove_vanished(token: str, run: str, record_type: str, allow: bool) -> Outcome:
    """Remove the records of the type that are not among the ids stored for the run.

    Gives how many were removed. Where more vanish than is likely, unless that is allowed, gives how many would
    `vanish` `of` how many, and removes none.
    """
    worker = this_process()

    def work(hold: Hold, claim: Claim) -> Outcome:
        type_ = RecordType(record_type)
        contained = worker.runs.ids(run)
        if contained is None:
            raise GraphRejected("the ids that the dump contains are no longer in Redis")
        found = hold(find_vanished(worker.driver(), type_, contained.__contains__))
        if len(found.ids) > MOST_VANISHING * found.records and not allow:
            return {"vanish": len(found.ids), "of": found.records}
        if not found.ids:
            return {"removed": 0}
        worker.steps.unfinish()
        keep_counts = worker.steps.is_counted()
        removed = 0
        for start in range(0, len(found.ids), REMOVED_TOGETHER):
            ids = found.ids[start : start + REMOVED_TOGETHER]
            work = _remove(worker.driver(), type_, ids, claim, worker.batch_size, keep_counts=keep_counts)
            removed += hold(work)
        return {"removed": removed}

    return _step(worker, token, work)


@app.task(name=FINISH.name, ignore_result=True)
def finish(token: str, full: bool) -> Outcome:
    """Settle what a load leaves to its end: the statistics; with `full` all that is derived, anew."""
    worker = this_process()

    def work(hold: Hold, _: Claim) -> Outcome:
        counts = full or not worker.steps.is_counted()
        hold(finish_graph(worker.driver(), counts=counts, derived=full))
        return {"counted anew": counts}

    return _step(worker, token, work, FINISHED, COUNTED)


class Hold(Protocol):
    """Runs a coroutine on the event loop, holding the claim of a step meanwhile."""

    def __call__(self, coroutine: Coroutine[Any, Any, Result], /) -> Result:
        """What the coroutine returns."""


def _step(worker: WorkerProcess, token: str, work: Callable[[Hold, Claim], Outcome], *flags: str) -> Outcome:
    """Take a step if it is still asked for and nobody takes it; raise the flags when it has ended well.

    What passes by itself is not tried again here: whoever asked for the step sends it again.
    """
    with worker.steps.running(token) as claim:
        if claim is None:
            return {"skipped": "it is not asked for any more, or another worker does it"}

        def hold(coroutine: Coroutine[Any, Any, Result], /) -> Result:
            return worker.loop.run(holding(claim, coroutine))

        try:
            outcome = work(hold, claim)
        except GraphRejected as error:
            worker.steps.end(token, {"failed": str(error)})
            raise
        worker.steps.end(token, outcome, *flags)
        return outcome


def _held(claim: Claim) -> Callable[[], Coroutine[Any, Any, None]]:
    """What a transaction asks before it commits: whether this process still has the claim."""

    async def before_commit() -> None:
        # Redis is asked in the task's own thread; the loop serves other transactions meanwhile.
        if not await sync_to_async(claim.holds)():
            raise ClaimLost("the claim on this batch has ended")

    return before_commit


async def _write(
    driver: Driver,
    record_type: RecordType,
    rows: list[Row],
    claim: Claim,
    size: BatchSize,
    *,
    keep_counts: bool,
) -> list[tuple[Row, str]]:
    """Write the rows in one transaction, or in as many as it takes; where the graph refuses some, find them by halving.

    Returns the refused rows with the reason. Raises GraphRejected if there are so many that the fault cannot
    lie in the records.
    """

    async def attempt(part: Sequence[Row]) -> list[tuple[Row, str]]:
        try:
            await write_rows(driver, record_type, part, keep_counts=keep_counts, before_commit=_held(claim))
        except GraphRejected as error:
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


async def _remove(
    driver: Driver,
    record_type: RecordType,
    ids: list[int],
    claim: Claim,
    size: BatchSize,
    *,
    keep_counts: bool,
) -> int:
    """Remove records in one transaction, or in as many as it takes; how many there were."""

    async def attempt(part: Sequence[int]) -> int:
        return await remove_records(
            driver, record_type, part, keep_counts=keep_counts, before_commit=_held(claim)
        )

    return sum([removed async for removed in size.in_parts(ids, attempt)])


def _run(batch: str, meta: Meta) -> str:
    """What counts as one attempt at a record: the load of a dump, or a batch from the inbox, whose run never ends."""
    return batch if meta.source == INGEST_SOURCE else meta.run


def _quarantine(worker: WorkerProcess, meta: Meta, rejected: list[Rejected], run: str) -> None:
    without_space = worker.quarantine.add(meta.record_type, meta.source, rejected, run)
    if without_space:
        logger.warning("the quarantine is full: %d records of %s are not kept", without_space, meta.source)
        worker.runs.not_kept(meta.run, without_space)


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
    _quarantine(worker, meta, rejected, _run(batch, meta))
    changed = sum(row["known"] for row, _ in refused)
    return Tally(
        unchanged=tally.unchanged,
        created=tally.created - (len(refused) - changed),
        changed=tally.changed - changed,
        quarantined=tally.quarantined + len(refused),
    )


def _release(worker: WorkerProcess, batch: str, meta: Meta, claim: Claim) -> None:
    """Take off the quarantine what was replayed and is written now; what is refused again has counted up there instead."""
    if not len(worker.quarantine):
        return
    for index in range(meta.chunks):
        chunk = worker.batches.chunk(batch, index)
        if chunk is not None:
            ids = [entry_id(meta.record_type, raw) for raw in chunk.records]
            worker.quarantine.release(claim, _run(batch, meta), ids)

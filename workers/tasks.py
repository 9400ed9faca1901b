"""The tasks: a chord of `normalise` tasks with `write_batch` as its body, and the steps that end a load.

Arguments are names of things in Redis, never the things. Task bodies are sync functions: Celery runs
no coroutines; what is asynchronous is handed to the worker's event loop. Bad data never raises: it goes
to the quarantine. What does raise is infrastructure, and is tried again without limit, or a defect, and
then the batch is marked as failed and its load ends incomplete.
"""

import gc
import logging
import secrets
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any, Protocol, TypeVar

import redis.exceptions
from celery import Task
from celery.exceptions import ChordError, Reject

from pipeline.errors import GraphinatorError, GraphRejected, GraphUnavailable
from pipeline.graph import derived, statistics
from pipeline.graph.lookup import fingerprints
from pipeline.graph.vanished import find_vanished
from pipeline.model import RecordType, Rejected
from pipeline.records.accept import Accepted, RecordsRefused, Refused, accept, arguments, refusal
from pipeline.records.normalise import normalise as normalise_chunk
from workers.app import app
from workers.chords import BATCH_FAILED, FINISH, INGEST, NORMALISE, REMOVE_VANISHED, WRITE_BATCH
from workers.loop import LoopStopped
from workers.state.exclusive import Outcome
from workers.state.in_flight import Meta
from workers.state.lease import Claim, holding
from workers.state.runs import UPSTREAM, Tally
from workers.upstream.aside import release, run_of, set_aside, set_aside_refused
from workers.upstream.inbox import InboxFull
from workers.worker import WorkerProcess, this_process
from workers.writes import remove, write

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
#: What is said of a batch in whose hands one process after the other has ended.
DEADLY = "a worker process ended, or ran out of memory, each time it worked on this; its log, or the kernel's, says more"
#: The same of a step.
DEADLY_STEP = "a worker process ended, or Neo4j had too little memory or time, each time; their logs say more"

Summary = dict[str, Any]
Result = TypeVar("Result")


class Deadly(GraphinatorError):
    """Work that has ended one worker process after the other: it is not tried again."""


class GraphTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task that works with what its worker process holds open, and is tried again."""

    autoretry_for = PASSING
    max_retries: int | None = None
    retry_backoff = 1
    retry_backoff_max = 30
    retry_jitter = True


class CallTask(GraphTask):
    """A task whose message nobody would send again."""

    def retry(self, *args: Any, **options: Any) -> Any:
        """As Celery's, which drops the message where Redis does not take the next one, being full for instance."""
        try:
            return super().retry(*args, **options)
        except Reject as error:
            raise Reject("the next attempt cannot be sent", requeue=True) from error


@app.task(name=NORMALISE.name, base=GraphTask, autoretry_for=(*PASSING, MemoryError), ignore_result=True)
def normalise(batch: str, index: int) -> Summary:
    """Chunk `index` of the batch → rows of what the graph lacks, put beside it; gives their tally."""
    worker = this_process()
    with worker.batches.attempt(batch, str(index)) as is_harmless:
        meta = worker.batches.meta(batch)
        if meta is not None and not is_harmless:
            raise Deadly(DEADLY)
        chunk = worker.batches.chunk(batch, index)
        if meta is None or chunk is None:
            return Tally().as_dict()  # the message has outlived its batch
        known = worker.loop.run(
            fingerprints(worker.driver(), meta.record_type, chunk.ids),
            timeout_seconds=worker.settings.batch_timeout_seconds,
        )
        outcome = normalise_chunk(chunk, known)
        set_aside(worker, meta, outcome.rejected, run_of(batch, meta))
        worker.batches.store_rows(batch, index, outcome.rows)
        return Tally(outcome.unchanged, outcome.created, outcome.changed, len(outcome.rejected)).as_dict()


@app.task(name=WRITE_BATCH.name, base=GraphTask, autoretry_for=(*PASSING, MemoryError), ignore_result=True)
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
        work = write(
            worker.driver(),
            meta.record_type,
            rows,
            claim,
            worker.batch_size,
        )
        refused = worker.loop.run(holding(claim, work), timeout_seconds=worker.settings.batch_timeout_seconds)
        if rows:
            # The driver's results hold their parameters, all rows once more, in cycles.
            gc.collect()
        if refused:
            tally = set_aside_refused(worker, batch, meta, refused, tally)
        if meta.source == UPSTREAM:
            release(worker, batch, meta, claim)
        worker.batches.complete(batch, meta.run, tally)
        return tally.as_dict()


@app.task(name=INGEST.name, base=CallTask, bind=True)
def ingest(self: CallTask, *given: Any, **named: Any) -> Summary:
    """Take `records` of one `record_type` (artists, labels, masters or releases) from an upstream task.

    Each is a string of raw XML or a dictionary (`pipeline.records.dictionaries`). The type comes first, unless it is given by name: in a chain,
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
        meta = Meta(type_, f"{UPSTREAM}-{type_}", UPSTREAM, 0)
        set_aside(worker, meta, refused, f"{UPSTREAM}-{call}")
        raise RecordsRefused(refusal(outcomes))
    return {"record_type": type_.value, "accepted": len(accepted)}


@app.task(name=BATCH_FAILED.name, ignore_result=True)
def batch_failed(_request: Any, error: Any, _traceback: Any, batch: str) -> None:
    """Called, not sent, when a task of the batch raised what no retry helps against: the load ends incomplete.

    Celery passes the failed request, the exception and its traceback only to a task that is not bound.
    """
    if isinstance(error, (ChordError, Reject, *PASSING)):
        # Redis failed under Celery, or a header task did, which has said why: a batch that is still pending is sent again.
        return
    batches = this_process().batches
    meta = batches.meta(batch)
    if meta is not None:
        reason = _reason(error)
        logger.error("batch %s failed: %s", batch, reason)
        if meta.source == UPSTREAM:
            # Nobody will hand these records over again.
            try:
                chunk = batches.chunk(batch, 0)
                rejected = [Rejected(-1, reason, raw) for raw in chunk.records] if chunk is not None else []
                set_aside(this_process(), meta, rejected, run_of(batch, meta))
            except MemoryError:
                logger.exception("the records of %s cannot be kept", batch)
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
            raise GraphRejected("the ids that the dump contains are no longer in Redis: load again")
        found = hold(find_vanished(worker.driver(), type_, contained.__contains__))
        if len(found.ids) > MOST_VANISHING * found.records and not allow:
            return {"vanish": len(found.ids), "of": found.records}
        if not found.ids:
            return {"removed": 0}
        removed, left = 0, iter(found.ids)
        while ids := list(islice(left, REMOVED_TOGETHER)):
            removed += hold(remove(worker.driver(), type_, ids, claim, worker.batch_size))
        return {"removed": removed}

    return _step(worker, token, work)


@app.task(name=FINISH.name, ignore_result=True)
def finish(token: str, full: bool) -> Outcome:
    """Count the statistics; with `full`, rebuild everything derived first."""
    worker = this_process()

    def work(hold: Hold, _: Claim) -> Outcome:
        if full:
            hold(derived.rebuild(worker.driver()))
        hold(statistics.count(worker.driver()))
        return {}

    return _step(worker, token, work, settles=True)


class Hold(Protocol):
    """Runs a coroutine on the event loop, holding the claim of a step meanwhile."""

    def __call__(self, coroutine: Coroutine[Any, Any, Result], /) -> Result:
        """What the coroutine returns."""


def _step(
    worker: WorkerProcess, token: str, work: Callable[[Hold, Claim], Outcome], *, settles: bool = False
) -> Outcome:
    """Run an exclusive task that is still requested; `settles`: its success leaves no statistics stale.

    What passes by itself is not tried again here: whoever asked for the step sends it again.
    """
    with worker.steps.running(token) as claim:
        if claim is None:
            return {"skipped": "it is not asked for any more, or another worker does it"}

        def hold(coroutine: Coroutine[Any, Any, Result], /) -> Result:
            return worker.loop.run(holding(claim, coroutine))

        try:
            with worker.steps.attempt(token) as is_harmless:
                if not is_harmless:
                    raise Deadly(DEADLY_STEP)
                outcome = work(hold, claim)
        except PASSING:
            raise
        except Exception as error:
            worker.steps.end(token, {"failed": _reason(error)})
            raise
        worker.steps.end(token, outcome, settled=settles)
        return outcome


def _reason(error: BaseException) -> str:
    """What is said of an error that no retry helps against, in one line."""
    name = "" if isinstance(error, GraphinatorError) else f"{type(error).__name__}: "
    return name + " ".join(str(error).split())

"""The Celery tasks: `normalise` and `write_batch` in a chord, `ingest`, `written`, and the exclusive tasks.

Arguments are names of things in Redis, never the things. Task bodies are sync functions, since Celery runs no
coroutines; they hand coroutines to the worker's event loop. Bad data never raises: it goes to the quarantine. What
does raise is infrastructure, and is retried without limit, or a defect: then the batch fails and its load ends
incomplete.
"""

import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, Concatenate, ParamSpec

import msgspec
import redis.exceptions
from asgiref.sync import sync_to_async
from celery import Task
from celery.exceptions import ChordError, Reject
from structlog.contextvars import bind_contextvars

from pipeline.chunk import Rejected
from pipeline.errors import GraphinatorError, GraphRejected, GraphUnavailable
from pipeline.graph.derived import count, rebuild
from pipeline.graph.lookup import find_vanished, fingerprints
from pipeline.graph.schema import create_text_indexes
from pipeline.model import RecordType, Row
from pipeline.records.accept import Accepted, RecordsRefused, Refused, accept, arguments, refusal
from pipeline.records.normalise import normalise as normalise_chunk
from workers.app import BATCH_FAILED, FINISH, INGEST, NORMALISE, REMOVE_VANISHED, WRITE_BATCH, WRITTEN, app
from workers.batch_writer import BatchWriter
from workers.loop import LoopStopped
from workers.metrics import BATCH_RECORDS, BATCH_SECONDS
from workers.refusals import is_not_now
from workers.state.exclusive import TaskResult
from workers.state.in_flight import BatchMeta, CallOutcome
from workers.state.lease import Lease, LeaseLost
from workers.state.runs import UPSTREAM, Runs, Tally, Work, upstream_run
from workers.state.statistics import StatisticsState
from workers.upstream.inbox import Call, CallUnknown, InboxFull
from workers.upstream.quarantine import BatchQuarantine, entry_id
from workers.worker import Worker, resident_megabytes, this_worker

logger = logging.getLogger(__name__)

P = ParamSpec("P")

#: Errors that pass by themselves: retried for as long as it takes.
PASSING = (
    GraphUnavailable,
    InboxFull,
    LeaseLost,
    LoopStopped,
    TimeoutError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)
#: Errors that `GraphTask.retry` looks at: of Redis's answers only some pass.
RETRIED = (*PASSING, redis.exceptions.ResponseError)

#: Vanished records that are removed in one transaction.
REMOVED_TOGETHER = 1000
#: A larger share of a type's records does not vanish from one dump to the next: the dump is not complete.
MAX_VANISHING = 0.05

Summary = dict[str, Any]


def passes(error: BaseException) -> bool:
    """Return True for an error that passes by itself."""
    return isinstance(error, PASSING) or is_not_now(error)


class GraphTask(Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task that is retried while its infrastructure is away."""

    autoretry_for = RETRIED
    max_retries: int | None = None
    retry_backoff = 1
    retry_backoff_max = 30
    retry_jitter = True

    def retry(self, *args: Any, **options: Any) -> Any:
        """Retry as Celery does, but raise an answer of Redis that does not pass.

        A worker holds the message during the pause: it must end well before the visibility timeout.
        """
        error = options.get("exc")
        if isinstance(error, redis.exceptions.ResponseError) and not is_not_now(error):
            raise error
        options["argsrepr"] = self.request.get("argsrepr")
        options["countdown"] = min(options["countdown"], this_worker().settings.batch_timeout_seconds)
        return super().retry(*args, **options)


class CallTask(GraphTask):
    """A task whose message nobody would send again."""

    def retry(self, *args: Any, **options: Any) -> Any:
        """Retry as Celery does, but keep the message if Redis refuses the next one."""
        try:
            return super().retry(*args, **options)
        except Reject as error:
            raise Reject("the next attempt cannot be sent", requeue=True) from error


@app.task(name=NORMALISE.name, base=GraphTask, autoretry_for=(*RETRIED, MemoryError), ignore_result=True)
def normalise(batch: str, index: int) -> Summary:
    """Store the rows of one chunk; return their number and a tally of other records."""
    worker = this_worker()
    meta = _meta(worker, batch)
    with worker.in_flight.attempt(batch, str(index)):
        chunk = worker.in_flight.chunk(batch, index)
        if meta is None or chunk is None:
            return {}  # a late redelivery: the batch is done
        rows, rejected = normalise_chunk(chunk)
        _quarantine_of(worker, batch, meta).add(rejected)
        worker.in_flight.store_rows(batch, index, rows)
        superseded = len(chunk) - len(rows) - len(rejected)
        return {"rows": len(rows), **Tally(unchanged=superseded, quarantined=len(rejected)).summary()}


@app.task(name=WRITE_BATCH.name, base=GraphTask, autoretry_for=(*RETRIED, MemoryError), ignore_result=True)
def write_batch(summaries: list[Summary], batch: str) -> Summary:
    """Write the rows of all chunks of a batch and settle it; return its tally."""
    worker, began = this_worker(), time.perf_counter()
    meta = _meta(worker, batch)
    with worker.in_flight.lease(batch) as lease:
        if lease is None or meta is None:
            return {"skipped": "another copy of this batch has written it, or is writing it"}
        with worker.in_flight.attempt(batch, "body"):
            rows = worker.in_flight.rows(batch, meta.chunks)
            counts = sum(map(Counter, summaries), Counter[str]())
            if rows is None or len(rows) != counts["rows"]:
                # The chunks are still there, and the batch is in flight: it is sent again.
                return {"skipped": "the rows do not fit the summaries"}
            known = _known(worker, lease, batch, meta.record_type, rows)
            lacked = [row for row in rows if known.get(row["id"]) != row["properties"]["fingerprint"]]
            writer = BatchWriter(worker.driver(), lease, worker.statistics)
            refused = worker.loop.run(
                lease.run(writer.write, meta.record_type, lacked),
                timeout_seconds=worker.settings.batch_timeout_seconds,
            )
            quarantine = _quarantine_of(worker, batch, meta)
            if refused:
                quarantine.add_refused(refused)
            refused_ids = {row["id"] for row, _ in refused}
            written = {row["id"] for row in lacked} - refused_ids
            changed = len(written & known.keys())
            tally = Tally(
                counts["unchanged"] + len(rows) - len(lacked),
                len(written) - changed,
                changed,
                counts["quarantined"] + len(refused),
            )
            if meta.source == UPSTREAM:
                quarantine.remove_written(lease)
            quarantine.resolve({row["id"] for row in rows} - refused_ids)
            quarantine.note_newer()
            seconds = time.perf_counter() - began
            work = Work(1, round(1000 * seconds), write_batch.request.retries, resident_megabytes())
            worker.in_flight.complete(batch, meta.run, tally, quarantine.outcomes(), work)
            BATCH_SECONDS.labels(meta.record_type.value).observe(seconds)
            BATCH_RECORDS.labels(meta.record_type.value).observe(tally.read)
            return tally.summary()


# A caller's mistake is no error of the worker: Celery logs what a task declares without a traceback.
@app.task(
    name=INGEST.name,
    base=CallTask,
    Request="workers.consumer:IngestRequest",
    bind=True,
    throws=(RecordsRefused,),
)
def ingest(self: CallTask, /, *given: Any, strict: bool = True, **named: Any) -> Summary:
    """Take `records` of one `record_type` (artists, labels, masters or releases) from an upstream task.

    Each is a string of raw XML or a dictionary (`pipeline.records.dictionaries`). The type comes first, unless it is
    given by name: in a chain, the result of the task before comes first. When this ends the records are stored, and
    will be written together with those of other calls. Gives the `task_id` of the call, how many records were
    `accepted`, how many were not since they were `superseded`: calls that were seen later have brought newer versions,
    and those that were `refused`: no records of this type, with reasons and quarantine entries. Raises RecordsRefused
    if some are, unless `strict` is False; the others are accepted in any case.
    """
    worker = this_worker()
    type_, records = arguments(given, named)
    bind_contextvars(record_type=type_.value)
    task = self.request.id or secrets.token_hex(8)
    call = Call.of(task, type_, records)
    number = worker.inbox.see(call)
    outcomes = [accept(type_, record, worker.settings.record_bytes) for record in records]
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    refused = {place: each for place, each in enumerate(outcomes) if isinstance(each, Refused)}
    acceptance = worker.inbox.add(call, number, type_, accepted, refused=len(refused))
    if refused:
        meta = BatchMeta(type_, upstream_run(type_), UPSTREAM, [])
        rejected = [Rejected(-1, each.reason, each.raw) for each in refused.values()]
        _quarantine_of(worker, f"{UPSTREAM}-{task}", meta).add(rejected)
        if strict:
            raise RecordsRefused(refusal(outcomes))
    told = [
        {"index": place, "reason": each.reason, "entry": entry_id(type_, each.raw)}
        for place, each in refused.items()
    ]
    return {"task_id": task, "record_type": type_.value, **asdict(acceptance), "refused": told}


@app.task(name=WRITTEN.name, base=CallTask, throws=(CallUnknown,))
def written(call: str | Summary) -> Summary:
    """Tell how many records of a call are `waiting`, `written`, `superseded` and `refused`.

    `call` is the task id of an accepted call of `ingest`, or a result of `ingest` or of this task, as in a chain.
    Raises CallUnknown.
    """
    task = str(call.get("task_id") if isinstance(call, dict) else call)
    return {"task_id": task, **this_worker().inbox.state(task)._asdict()}


@app.task(name=BATCH_FAILED.name, ignore_result=True)
def batch_failed(_request: Any, error: Any, _traceback: Any, batch: str) -> None:
    """Settle a batch as failed after an error that no retry helps against.

    Called, not sent, by Celery, which passes request, exception and traceback only to a task that is not bound.
    """
    if isinstance(error, ChordError | Reject) or passes(error):
        # Redis failed under Celery, or a header task, which has its own call: a batch in flight is sent again.
        return
    worker = this_worker()
    meta = worker.in_flight.meta(batch)
    if meta is None:
        return
    reason = _reason(error)
    logger.error("batch %s failed: %s", batch, reason)
    if meta.source == UPSTREAM:
        # Nobody will hand these records over again.
        try:
            _quarantine_of(worker, batch, meta).add_all(reason)
        except MemoryError:
            logger.exception("the records of %s cannot be kept", batch)
    refused = [CallOutcome(call.task, 0, 0, call.records) for call in meta.calls]
    worker.in_flight.fail(batch, meta.run, reason, refused)


@app.task(name=REMOVE_VANISHED.name, ignore_result=True)
def remove_vanished(token: str, run: str, record_type: str, allow: bool) -> Summary:
    """Exclusive: remove the records of a type that the dump of a run lacks.

    Where more are missing than is likely, unless `allow` is set, none is removed.
    """
    bind_contextvars(run=run, record_type=record_type)
    return _run_exclusive(token, _remove_vanished, this_worker().runs, run, RecordType(record_type), allow)


@app.task(name=FINISH.name, ignore_result=True)
def finish(token: str, full: bool) -> Summary:
    """Exclusive: create missing full-text indexes, and count the statistics unless they are fresh.

    With `full`, everything derived is rebuilt before.
    A rebuild that broke off is done again by the next one.
    """
    return _run_exclusive(token, _finish, this_worker().statistics, full)


def _run_exclusive(
    token: str,
    work: Callable[Concatenate[BatchWriter, P], Coroutine[Any, Any, TaskResult]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Summary:
    """Run an exclusive task under its lease, if it is still asked for.

    Errors that pass are not retried here: the process that asked sends the task again.
    """
    worker = this_worker()
    with worker.exclusive.lease(token) as lease:
        if lease is None:
            return {"skipped": "it is not asked for any more, or another worker runs it"}
        try:
            with worker.exclusive.attempt():
                writer = BatchWriter(worker.driver(), lease, worker.statistics)
                result = worker.loop.run(lease.run(work, writer, *args, **kwargs))
        except Exception as error:
            if not passes(error):
                worker.exclusive.end(lease, token, TaskResult(error=_reason(error)))
            raise
        worker.exclusive.end(lease, token, result)
        return dict(msgspec.to_builtins(result))


async def _remove_vanished(
    writer: BatchWriter, runs: Runs, run: str, record_type: RecordType, allow: bool
) -> TaskResult:
    contained = await sync_to_async(runs.ids, thread_sensitive=False)(run)
    if contained is None:
        raise GraphRejected("the ids in the dump are no longer in Redis")
    found = await find_vanished(writer.driver, record_type, contained.ids.__contains__)
    spared = contained.spare(found.ids)
    if len(found.ids) > MAX_VANISHING * found.records and not allow:
        return TaskResult(missing=len(found.ids), stored=found.records, spared=spared)
    removed, left = 0, iter(found.ids)
    while ids := list(islice(left, REMOVED_TOGETHER)):
        removed += await writer.remove(record_type, ids)
    return TaskResult(removed=removed, spared=spared)


async def _finish(writer: BatchWriter, statistics: StatisticsState, full: bool) -> TaskResult:
    if full:
        # The rebuild commits in parts: it may break off anywhere.
        await sync_to_async(statistics.mark_stale, thread_sensitive=False)(rebuild=True)
    found = await sync_to_async(statistics.get, thread_sensitive=False)()
    await create_text_indexes(writer.driver)
    if found.is_fresh:
        return TaskResult()
    if found.rebuild:
        await rebuild(writer.driver, writer.before_commit)
    await count(writer.driver, writer.before_commit)
    return TaskResult(counted=True)


def _meta(worker: Worker, batch: str) -> BatchMeta | None:
    """Return the description of a batch; log lines name it from now on."""
    bind_contextvars(batch=batch)
    meta = worker.in_flight.meta(batch)
    if meta is not None:
        bind_contextvars(run=meta.run, record_type=meta.record_type.value)
    return meta


def _known(
    worker: Worker, lease: Lease, batch: str, record_type: RecordType, rows: Sequence[Row]
) -> dict[int, int]:
    """Return the fingerprints that the graph had of a batch's records before it was written.

    They are stored: a redelivered task counts the same records as created and changed. Raises LeaseLost.
    """
    known = worker.in_flight.known(batch)
    if known is None:
        ids = [row["id"] for row in rows]
        known = worker.loop.run(
            fingerprints(worker.driver(), record_type, ids),
            timeout_seconds=worker.settings.batch_timeout_seconds,
        )
        # Without the lease, another copy may have written some before they were read.
        lease.check()
        worker.in_flight.store_known(batch, known)
    return known


def _quarantine_of(worker: Worker, batch: str, meta: BatchMeta) -> BatchQuarantine:
    return BatchQuarantine(worker.quarantine, worker.in_flight, worker.runs, batch, meta)


def _reason(error: BaseException) -> str:
    """Return an error that no retry helps against as one line."""
    name = "" if isinstance(error, GraphinatorError) else f"{type(error).__name__}: "
    return name + " ".join(str(error).split())

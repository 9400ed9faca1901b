"""The sending side: batches and exclusive tasks, by the process that holds the load lock.

A batch is stored first and sent second. When a load ends early, workers finish what it has sent, and the next holder
of the lock sends the rest before anything of its own.
"""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from celery import Celery, chord
from kombu.exceptions import OperationalError
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError, RedisError
from structlog.contextvars import bound_contextvars

from pipeline.errors import GraphinatorError
from workers.app import (
    BATCH_FAILED,
    FINISH,
    NORMALISE,
    NORMALISE_QUEUE,
    WRITE_BATCH,
    WRITE_QUEUE,
    GraphinatorApp,
    TaskName,
    connect_redis,
)
from workers.refusals import is_not_now
from workers.state.encoding import text_of_all
from workers.state.exclusive import ExclusiveTasks, TaskResult
from workers.state.in_flight import BatchMeta, InFlight
from workers.state.keys import IN_FLIGHT
from workers.state.lease import Holder, Lease, LoadLock
from workers.state.runs import UPSTREAM

#: The reason of a wait while no worker answers.
NO_WORKER = "a worker: none answers"

logger = logging.getLogger(__name__)

#: The pause between two looks at the progress of workers.
POLL_SECONDS = 0.01
#: The pause between two checks of the lock, of lost messages and of silent workers.
CHECK_SECONDS = 2.0
#: The pause before an exclusive task that broke off is sent again.
RETRY_SECONDS = 1.0
#: Time without progress after which the workers are pinged.
SILENCE_SECONDS = 10.0

OnWait = Callable[[str], None]


class LoadBroken(GraphinatorError):
    """A load broke off for a reason outside of its dump; repeat it."""


class TaskFailed(LoadBroken):
    """An exclusive task has failed, and would fail again."""


class CameBack(Exception):
    """A settled batch is in flight again: Redis came back without its last second."""


class WorkerWatch:
    """Notices that no worker answers while nothing moves."""

    def __init__(self, app: GraphinatorApp) -> None:
        self._app = app
        self._last: set[str] = set()
        self._moved_at = time.monotonic()
        self.is_silent = False

    def look(self, in_flight: set[str]) -> None:
        """Compare the batches in flight with the last ones; ping if nothing moves."""
        if in_flight != self._last:
            self._last, self._moved_at, self.is_silent = in_flight, time.monotonic(), False
        elif time.monotonic() - self._moved_at > SILENCE_SECONDS:
            self.is_silent = not self._app.control.ping(timeout=1.0)


class Sender:
    """Sends batches and exclusive tasks for the holder of the load lock.

    There are never more batches in flight than the credit, and never two versions of one record. Every wait calls
    `on_wait` again and again with its reason; "" stands for the own batches.
    """

    def __init__(self, app: GraphinatorApp, redis: Redis, lease: Lease, on_wait: OnWait) -> None:
        self._app = app
        self.settings = app.settings
        self._lease = lease
        self._exclusive = ExclusiveTasks(redis)
        self._watch = WorkerWatch(app)
        self._checked_at = 0.0
        #: The ids in the batches that may still be in flight.
        self._ids: deque[tuple[str, set[int]]] = deque()
        self.redis = redis
        self.on_wait = on_wait
        self.in_flight = InFlight(redis)
        #: The token of the lock.
        self.holder = lease.token

    def recover(self) -> None:
        """See what an earlier holder left to its end: it is older than what follows."""
        self._exclusive.withdraw()
        while self._exclusive.is_running():
            self.wait("an exclusive task of an interrupted load")
        self.drain("batches of an interrupted load")

    def send(
        self,
        batch: str,
        meta: BatchMeta,
        chunks: Sequence[bytes],
        ids: set[int],
        also: Callable[[Pipeline], None] | None = None,
    ) -> None:
        """Store packed chunks as one batch and send it, as soon as there is credit.

        `ids` are those of its records: another version of one of them that is in flight goes first. `also` adds
        commands to the transaction that stores the batch. Raises LeaseLost.
        """
        self._wait_for(self.settings.batches_in_flight - 1, "")
        in_flight = self.in_flight.batches()
        self._ids = deque(sent for sent in self._ids if sent[0] in in_flight)
        if not all(ids.isdisjoint(sent) for _, sent in self._ids):
            self.drain()
        self._store(batch, meta, chunks, also)
        self._send_batches([batch])
        self._ids.append((batch, ids))

    def drain(self, reason: str = "") -> None:
        """Wait until nothing is in flight."""
        self._wait_for(0, reason)

    def finish(self, *, full: bool = False) -> TaskResult:
        """Have a worker count the statistics; with `full`, rebuild everything derived before."""
        reason = "derived relationships and statistics" if full else "the statistics"
        return self.run_exclusive(FINISH, full, reason=reason)

    def run_exclusive(self, task: TaskName, *args: object, reason: str) -> TaskResult:
        """Have a worker run an exclusive task and wait for its end. Raises TaskFailed."""
        token, sent_at, patience = secrets.token_hex(8), time.monotonic(), 0.0
        while (result := self._exclusive.result(token)) is None:
            if self._exclusive.is_running():
                # A worker that breaks off in the middle leaves it to the next one.
                patience = RETRY_SECONDS
            elif time.monotonic() - sent_at >= patience:
                # Asks once more too: a Redis that lost its last second has forgotten the token.
                try:
                    self._exclusive.ask(token, self._guard(set()))
                except CameBack:
                    self.drain()
                    continue
                send_exclusive(self._app, task, token, *args, shown=reason)
                sent_at, patience = time.monotonic(), self.settings.resend_after_seconds
            self.wait(reason)
        while self._exclusive.is_running():
            # A worker gives its lease up a moment later; a Redis that forgot it may have let a second worker begin.
            self.wait(reason)
        if result.error:
            raise TaskFailed(f"{reason}: {result.error}")
        return result

    def wait(self, reason: str) -> None:
        """Pause, and check now and then what may hold things up. Raises LeaseLost."""
        self._check()
        self.on_wait(NO_WORKER if self._watch.is_silent else reason)
        time.sleep(POLL_SECONDS)

    def check_lock(self) -> None:
        """Raise LeaseLost unless this process holds the load lock."""
        self._lease.check()

    def _wait_for(self, in_flight: int, reason: str) -> None:
        while len(self.in_flight) > in_flight:
            self.wait(reason)
        self._check()

    def _check(self) -> None:
        if time.monotonic() - self._checked_at < CHECK_SECONDS:
            return
        self._checked_at = time.monotonic()
        self.check_lock()
        # While messages wait in a queue, a batch is late and not lost.
        is_queued = any(self.redis.llen(queue) for queue in (NORMALISE_QUEUE, WRITE_QUEUE))
        if not is_queued and not self._exclusive.is_running():
            self._send_batches(self.in_flight.overdue(self.settings.resend_after_seconds))
        self._watch.look(self.in_flight.batches())

    def _store(
        self, batch: str, meta: BatchMeta, chunks: Sequence[bytes], also: Callable[[Pipeline], None] | None
    ) -> None:
        def add(pipe: Pipeline) -> None:
            # A task that is done may have come back with a Redis older than it was.
            self._exclusive.withdraw(pipe)
            if also is not None:
                also(pipe)

        guard = self._guard({batch, *(sent for sent, _ in self._ids)})
        while True:
            try:
                self.in_flight.store(batch, meta, chunks, guard=guard, also=add)
            except CameBack:
                self.drain()
            except RedisError as error:
                # Batches make room when they are done.
                if not is_not_now(error) or not len(self.in_flight):
                    raise
                is_full = isinstance(error, OutOfMemoryError)
                self.wait(
                    "room in Redis: its maxmemory is reached" if is_full else "Redis, which refuses to write"
                )
            else:
                return

    def _guard(self, in_flight: set[str]) -> Callable[[Pipeline], None]:
        """Return a guard against other batches in flight than these.

        It raises LeaseLost or CameBack. A batch that came back may hold older versions of the records that follow.
        """

        def guard(pipe: Pipeline) -> None:
            self._lease.guard(pipe)
            if not in_flight.issuperset(text_of_all(pipe.zrange(IN_FLIGHT, 0, -1))):
                raise CameBack

        return guard

    def _send_batches(self, batches: Sequence[str]) -> None:
        for batch in batches:
            meta = self.in_flight.meta(batch)
            if meta is None:
                self.in_flight.forget(batch)
                continue
            with bound_contextvars(batch=batch, run=meta.run, record_type=meta.record_type.value):
                try:
                    send_batch(self._app, batch, meta)
                except OperationalError as error:
                    # It is stored, and stays overdue.
                    logger.warning("a batch could not be sent: %s", error)
                    return
            self.in_flight.mark_sent(batch)


def send_batch(app: Celery, batch: str, meta: BatchMeta) -> None:
    """Send the chord of a stored batch: a `normalise` task a chunk, then `write_batch`."""

    # Flower's list shows the first 45 characters or so.
    def shown(records: int, *part: str) -> str:
        source = "upstream tasks" if meta.source == UPSTREAM else Path(meta.source).name
        return ", ".join([f"{records:,} {meta.record_type.value}", *part, source, f"batch {batch}"])

    header = [
        NORMALISE.signature(app, batch, index, shown=shown(records, f"chunk {index + 1} of {meta.chunks}"))
        for index, records in enumerate(meta.records)
    ]
    body = WRITE_BATCH.signature(app, batch, shown=shown(sum(meta.records)))
    for task in (*header, body):
        task.link_error(BATCH_FAILED.signature(app, batch, shown=batch))
    chord(header, app=app)(body)


@contextmanager
def open_sender(app: GraphinatorApp, on_wait: OnWait, holder: Holder = Holder.LOAD) -> Iterator[Sender]:
    """Hold the load lock; first sees what an interrupted load left to its end.

    `on_wait` is called again and again while something is awaited. Raises BusyError while a load runs.
    """
    redis = connect_redis(app.settings)
    with LoadLock(redis, holder).held(on_wait) as lease:
        sender = Sender(app, redis, lease, on_wait)
        sender.recover()
        yield sender


def send_exclusive(app: Celery, task: TaskName, token: str, *args: object, shown: str) -> None:
    """Send an exclusive task that is asked for already."""
    task.signature(app, token, *args, shown=shown).apply_async()

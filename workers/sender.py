"""The sending side of the pipeline: the lock of a load, its credit, and what must be sent again.

One load runs at a time. A batch is stored first and sent second; whatever ends the load, the workers
finish what was sent, and the next load sends the rest before its own first batch.
"""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from kombu.exceptions import OperationalError
from redis.client import Pipeline
from redis.exceptions import OutOfMemoryError

from pipeline.errors import BusyError, GraphinatorError
from workers.app import NORMALISE_QUEUE, WRITE_QUEUE, GraphinatorApp, connect_inbox, connect_redis
from workers.chords import FINISH, TaskName, send_batch, send_step
from workers.state.exclusive import Outcome, Steps
from workers.state.in_flight import PENDING, Batches, Meta
from workers.state.keys import bytes_of, text_of_all
from workers.state.lease import release
from workers.state.runs import LOCK, Runs

#: What a load waits for while no worker answers.
NO_WORKER = "a worker: none answers"

logger = logging.getLogger(__name__)

LOCK_SECONDS = 30
#: The pause between two looks at what the workers have done.
POLL_SECONDS = 0.01
#: How often the lock is renewed and lost messages are looked for.
TEND_SECONDS = 2.0
#: The pause between two attempts at a step that failed.
STEP_AGAIN_SECONDS = 1.0
#: How long nothing may happen before the workers are asked whether they are there.
SILENCE_SECONDS = 10.0


class LoadBroken(GraphinatorError):
    """A load cannot go on, for a reason that is not in the dump; it can be repeated."""


class StepFailed(LoadBroken):
    """A step that a worker took has failed; it would fail again."""


class CameBack(Exception):
    """A batch that was done is pending again: Redis has come back older than it was."""


class Holder(StrEnum):
    """What the lock is held for."""

    LOAD = "load"
    #: A load waits for it: for seconds, unless the statistics are to be counted anew.
    CARETAKER = "caretaker"


class Sender:
    """Sends batches of chunks, never more in flight than the credit, never one record twice at a time."""

    def __init__(self, app: GraphinatorApp) -> None:
        self._settings = app.settings
        self._redis = connect_redis(app.settings)
        #: Called again and again while something is awaited, with what that is if not the own batches.
        self.on_wait: Callable[[str], None] = lambda _: None
        self._token = b""
        self._app = app
        self._tended_at = 0.0
        #: The batches that were pending at the last look, when that last changed, and whether no worker answers.
        self._pending: set[str] = set()
        self._moved_at = time.monotonic()
        self._silent = False
        #: The ids in the batches that may still be in flight.
        self._ids: deque[tuple[str, set[int]]] = deque()
        self.batches = Batches(self._redis)
        self.runs = Runs(self._redis)
        self.steps = Steps(self._redis)
        self.inbox = connect_inbox(app.settings, self._redis)

    @property
    def holder(self) -> str:
        """What the lock holds while this is the one that sends."""
        return self._token.decode()

    @contextmanager
    def locked(self, holder: Holder = Holder.LOAD) -> Iterator[None]:
        """Be the only one that sends; raises BusyError while a load runs.

        Before anything else, waits until what an interrupted load has left is done: it is older.
        """
        self._token = f"{holder}:{secrets.token_hex(8)}".encode()
        while not self._redis.set(LOCK, self._token, nx=True, ex=LOCK_SECONDS) and not self._holds():
            if holder is Holder.CARETAKER or not self._is_taken_care_of():
                raise BusyError("another load is under way")
            self.on_wait("what the workers finish by themselves")
            time.sleep(POLL_SECONDS)
        self._moved_at, self._silent = time.monotonic(), False
        try:
            self.steps.withdraw()
            while self.steps.is_running():
                self._pause("the end of what an interrupted load has begun")
            self._send_again(self.batches.never_sent())
            self.drain("the batches that an interrupted load has left")
            yield
        finally:
            release(self._redis, LOCK, self._token)

    def _holds(self) -> bool:
        return self._redis.get(LOCK) == self._token

    def _guard(self, in_flight: set[str]) -> Callable[[Pipeline], None]:
        """Lets a transaction through only if the lock is still held at its end, and no batch but these is in flight.

        Raises LoadBroken or CameBack. One that came back may hold older versions of records than those that follow.
        """

        def guard(pipe: Pipeline) -> None:
            pipe.watch(LOCK)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            if pipe.get(LOCK) != self._token:
                raise _lock_lost()
            if not in_flight.issuperset(text_of_all(pipe.zrange(PENDING, 0, -1))):
                raise CameBack

        return guard

    def keep_lock(self) -> None:
        """Renew the lock; raises LoadBroken where it is lost."""
        if not self._holds():
            raise _lock_lost()
        self._redis.expire(LOCK, LOCK_SECONDS)

    def is_abandoned(self) -> bool:
        """Whether something is in flight or unsettled, and nobody holds the lock who would see to its end."""
        return (self.batches.in_flight() > 0 or self.steps.is_unsettled()) and not self._redis.exists(LOCK)

    def _is_taken_care_of(self) -> bool:
        # Without a holder it was let go this moment, which is as good.
        holder = self._redis.get(LOCK)
        return holder is None or bytes_of(holder).startswith(f"{Holder.CARETAKER}:".encode())

    def send(
        self,
        batch: str,
        meta: Meta,
        chunks: Sequence[bytes],
        ids: set[int],
        also: Callable[[Pipeline], None] | None = None,
    ) -> None:
        """Store the packed chunks, of records with these ids, as one batch and send its chord, as soon as there is credit for it.

        If one of its records is in flight in another version, that one goes first: the later one counts. `also` adds to the
        transaction that stores the batch.
        """
        self._wait_until(self._settings.batches_in_flight - 1)
        pending = self.batches.pending()
        self._ids = deque(sent for sent in self._ids if sent[0] in pending)
        if not all(ids.isdisjoint(sent) for _, sent in self._ids):
            self.drain()
        self._store(batch, meta, chunks, also)
        self._send_again([batch])
        self._ids.append((batch, ids))

    def _store(
        self, batch: str, meta: Meta, chunks: Sequence[bytes], also: Callable[[Pipeline], None] | None
    ) -> None:
        def no_step(pipe: Pipeline) -> None:
            # One that is done may have come back with a Redis that is older than it was.
            self.steps.withdraw(pipe)
            if also is not None:
                also(pipe)

        guard = self._guard({batch, *(sent for sent, _ in self._ids)})
        while True:
            try:
                self.batches.store(batch, meta, chunks, guard=guard, also=no_step)
            except CameBack:
                self.drain()
            except OutOfMemoryError:
                # What is in flight makes room when it is done.
                if not self.batches.in_flight():
                    raise
                self._pause("room in Redis: its maxmemory is reached")
            else:
                return

    def drain(self, reason: str = "") -> None:
        """Wait until nothing is in flight."""
        self._wait_until(0, reason)

    def finish(self, *, full: bool = False) -> None:
        """Have a worker settle what a load leaves to its end; with `full`, all that is derived anew."""
        self.step(FINISH, full, reason="the statistics")

    def step(self, task: TaskName, *args: object, reason: str) -> Outcome:
        """Have a worker take a step, and wait for its end; raises StepFailed if it fails."""
        token, sent_at, has_begun = secrets.token_hex(8), -float("inf"), False
        while (outcome := self.steps.outcome(token)) is None:
            is_running = self.steps.is_running()
            has_begun = has_begun or is_running
            # A worker that failed or ended in the middle of it leaves it to the next one.
            patience = STEP_AGAIN_SECONDS if has_begun else self._settings.resend_after_seconds
            if not is_running and time.monotonic() - sent_at > patience:
                # Once more too: a Redis that lost its last second has forgotten what it was asked for.
                try:
                    self.steps.ask(token, self._guard(set()))
                except CameBack:
                    self.drain()
                    continue
                send_step(self._app, task, token, *args)
                sent_at, has_begun = time.monotonic(), False
            self._pause(reason)
        while self.steps.is_running():
            # By another worker as well: Redis has forgotten that this one was at it.
            self._pause(reason)
        if "failed" in outcome:
            raise StepFailed(f"{reason}: {outcome['failed']}")
        return outcome

    def _wait_until(self, in_flight: int, reason: str = "") -> None:
        while self.batches.in_flight() > in_flight:
            self._pause(reason)
        self._tend()

    def _pause(self, reason: str) -> None:
        self._tend()
        self.on_wait(NO_WORKER if self._silent else reason)
        time.sleep(POLL_SECONDS)

    def _tend(self) -> None:
        if time.monotonic() - self._tended_at < TEND_SECONDS:
            return
        self._tended_at = time.monotonic()
        self.keep_lock()
        if not any(self._redis.llen(queue) for queue in (NORMALISE_QUEUE, WRITE_QUEUE)):
            # While its messages wait, a batch is late and not lost.
            self._send_again(self.batches.overdue(self._settings.resend_after_seconds))
        self._look_for_workers()

    def _look_for_workers(self) -> None:
        pending = self.batches.pending()
        if pending != self._pending:
            self._pending, self._moved_at, self._silent = pending, time.monotonic(), False
        elif time.monotonic() - self._moved_at > SILENCE_SECONDS:
            self._silent = not self._app.control.ping(timeout=1.0)

    def _send_again(self, batches: Sequence[str]) -> None:
        for batch in batches:
            meta = self.batches.meta(batch)
            if meta is None:
                self.batches.forget(batch)
            else:
                try:
                    send_batch(self._app, batch, meta.chunks)
                except OperationalError as error:
                    # It is stored, and stays overdue.
                    logger.warning("a batch could not be sent: %s", error)
                    return
                self.batches.sent(batch)


def _lock_lost() -> LoadBroken:
    return LoadBroken("this load has lost its lock: it was suspended, or Redis lost its data")

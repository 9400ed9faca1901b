"""The sending side of the pipeline: the lock of a load, its credit, and what must be sent again.

One load runs at a time. A batch is stored first and sent second; whatever ends the load, the workers
finish what was sent, and the next load sends the rest before its own first batch.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pipeline.errors import BusyError, GraphinatorError
from workers.app import QUEUES, GraphinatorApp, connect_redis
from workers.batches import PREFIX, Batches, Meta
from workers.chords import send_batch, send_settle

#: Held by the one load that runs; expires soon after its process has gone.
LOCK = PREFIX + "load"
LOCK_SECONDS = 30
#: The pause between two looks at what the workers have done.
POLL_SECONDS = 0.01
#: How often the lock is renewed and lost messages are looked for.
TEND_SECONDS = 2.0
#: How long nothing may happen before the workers are asked whether they are there.
SILENCE_SECONDS = 10.0


class LoadBroken(GraphinatorError):
    """A load cannot go on, for a reason that is not in the dump; it can be repeated."""

    exit_code = 7


class Sender:
    """Sends batches of chunks, never more in flight than the credit, never one record twice at a time."""

    def __init__(self, app: GraphinatorApp) -> None:
        self._settings = app.settings
        self._redis = connect_redis(app.settings)
        #: Called again and again while something is awaited, with what that is if not the own batches.
        self.on_wait: Callable[[str], None] = lambda _: None
        self._token = secrets.token_hex(8).encode()
        self._app = app
        self._tended_at = 0.0
        #: The batches that were pending at the last look, when that last changed, and whether no worker answers.
        self._pending: set[str] = set()
        self._moved_at = time.monotonic()
        self._silent = False
        #: The ids in the batches that may still be in flight.
        self._ids: deque[tuple[str, set[int]]] = deque()
        self.batches = Batches(self._redis)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only load; raises BusyError while another one runs.

        Before anything else, waits until what an interrupted load has left is done: it is older.
        """
        if not self._redis.set(LOCK, self._token, nx=True, ex=LOCK_SECONDS):
            seconds = max(1, self._redis.ttl(LOCK))
            raise BusyError(
                f"another load is under way: wait for its end (if it was killed, its lock goes in {seconds} s)"
            )
        try:
            self._send_again(self.batches.never_sent())
            self.drain("the batches that an interrupted load has left")
            yield
        finally:
            if self._redis.get(LOCK) == self._token:
                self._redis.delete(LOCK)

    def send(self, batch: str, meta: Meta, chunks: Sequence[bytes], ids: set[int]) -> None:
        """Store the packed chunks, of records with these ids, as one batch and send its chord, as soon as there is credit for it.

        If one of its records is in flight in another version, that one goes first: the later one counts.
        """
        self._wait_until(self._settings.batches_in_flight - 1)
        pending = self.batches.pending()
        self._ids = deque(sent for sent in self._ids if sent[0] in pending)
        if not all(ids.isdisjoint(sent) for _, sent in self._ids):
            self.drain()
        self.batches.store(batch, meta, chunks)
        self._send_again([batch])
        self._ids.append((batch, ids))

    def drain(self, reason: str = "") -> None:
        """Wait until nothing is in flight."""
        self._wait_until(0, reason)

    def settle(self) -> None:
        """Have a worker remove what nothing supports any more, unless nothing has changed since."""
        sent_at = -float("inf")
        self.batches.take_settling_failure()
        while not self.batches.is_settled():
            if (reason := self.batches.take_settling_failure()) is not None:
                raise LoadBroken(f"what nothing refers to any more could not be removed: {reason}")
            if time.monotonic() - sent_at > self._settings.resend_after_seconds:
                send_settle(self._app)
                sent_at = time.monotonic()
            self._pause("the removal of what nothing refers to any more")

    def _wait_until(self, in_flight: int, reason: str = "") -> None:
        while self.batches.in_flight() > in_flight:
            self._pause(reason)
        self._tend()

    def _pause(self, reason: str) -> None:
        self._tend()
        self.on_wait("a worker: none answers, `graphinator up` starts some" if self._silent else reason)
        time.sleep(POLL_SECONDS)

    def _tend(self) -> None:
        if time.monotonic() - self._tended_at < TEND_SECONDS:
            return
        self._tended_at = time.monotonic()
        if self._redis.get(LOCK) != self._token:
            raise LoadBroken(
                "this load has lost its lock (it was suspended, or Redis lost its data): "
                "repeat it, what is in the graph stays"
            )
        self._redis.expire(LOCK, LOCK_SECONDS)
        if not any(self._redis.llen(queue) for queue in QUEUES):
            # While messages wait, batches are late and not lost.
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
                send_batch(self._app, batch, meta.chunks)
                self.batches.sent(batch)

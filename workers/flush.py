"""From the inbox to batches in flight: what upstream tasks handed over, in the order of its acceptance."""

import logging
import secrets
import threading
from functools import partial

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.errors import BusyError, GraphinatorError
from pipeline.model import Chunk
from workers.app import GraphinatorApp
from workers.batches import Meta
from workers.blobs import pack
from workers.inbox import Inbox, Waiting
from workers.sender import Holder, Sender
from workers.settings import Settings

logger = logging.getLogger(__name__)

#: The source of ingested records in the quarantine, and the beginning of their runs' names.
INGEST = "ingest"
#: How often a worker looks into the inbox.
LOOK_SECONDS = 0.5


class Stopping(Exception):
    """The worker ends; another one goes on."""


def flush(sender: Sender, settings: Settings, *, everything: bool) -> None:
    """Send what waits in the inbox as batches: all of it, or of each type if it is enough or old enough.

    The caller holds the lock. Each batch is one chunk, in which the last version of a record counts.
    """
    inbox = sender.inbox
    for record_type, waiting in inbox.waiting().items():
        if not everything and not _is_due(waiting, settings):
            continue
        run = f"{INGEST}-{record_type}"
        # What is accepted meanwhile waits for the next time.
        left = waiting.records
        while (
            left > 0
            and (taken := inbox.head(record_type, settings.ingest_records, settings.chunk_bytes)).pieces
        ):
            ids = [id_ for piece in taken.pieces for id_ in piece.ids]
            records = [record for piece in taken.pieces for record in piece.records]
            left -= len(ids)
            chunk = Chunk(record_type, [-1] * len(ids), ids, records)
            meta = Meta(record_type, run, INGEST, 1)
            sender.send(
                f"{run}-{secrets.token_hex(8)}",
                meta,
                [pack(chunk)],
                set(ids),
                also=partial(inbox.take, taken=taken),
            )


def is_due(inbox: Inbox, settings: Settings) -> bool:
    """Whether the inbox holds enough records of a type, or old ones."""
    return any(_is_due(waiting, settings) for waiting in inbox.waiting().values())


def _is_due(waiting: Waiting, settings: Settings) -> bool:
    return waiting.records >= settings.ingest_records or waiting.seconds >= settings.ingest_seconds


class Flusher:
    """A thread that flushes the inbox whenever it is due and no load runs."""

    def __init__(self, app: GraphinatorApp) -> None:
        self._app = app
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name="flusher", daemon=True)

    def start(self) -> None:
        """Begin to look into the inbox."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it has sent is finished by others."""
        self._stopping.set()
        self._thread.join()

    def _main(self) -> None:
        sender = Sender(self._app)
        sender.on_wait = self._go_on
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                if is_due(sender.inbox, self._app.settings):
                    with sender.locked(Holder.INGEST):
                        flush(sender, self._app.settings, everything=False)
                        sender.drain()
                        sender.finish()
            except (BusyError, Stopping):
                continue
            except (RedisError, OperationalError, GraphinatorError) as error:
                logger.warning("the inbox waits: %s", error)
            except Exception:
                logger.exception("the inbox waits")

    def _go_on(self, _: str) -> None:
        if self._stopping.is_set():
            raise Stopping

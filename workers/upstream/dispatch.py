"""From the inbox to batches in flight: what upstream tasks handed over, in the order of its acceptance."""

import secrets
from functools import partial

from redis.client import Pipeline

from pipeline.model import Chunk
from workers.sender import Sender
from workers.settings import Settings
from workers.state.in_flight import Meta
from workers.state.packing import pack
from workers.state.runs import UPSTREAM
from workers.upstream.inbox import Inbox, Taken, Waiting


def flush(sender: Sender, settings: Settings, *, everything: bool) -> None:
    """Send what waits in the inbox as batches: all of it, or of each type if it is enough or old enough.

    The caller holds the lock. Each batch is one chunk, in which the last version of a record counts.
    """
    inbox = sender.inbox
    for record_type, waiting in inbox.waiting().items():
        if not everything and not _is_due(waiting, settings):
            continue
        run = f"{UPSTREAM}-{record_type}"
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
            meta = Meta(record_type, run, UPSTREAM, 1)
            batch = f"{run}-{secrets.token_hex(8)}"
            sender.send(batch, meta, [pack(chunk)], set(ids), also=partial(_take, sender, taken))


def _take(sender: Sender, taken: Taken, pipe: Pipeline) -> None:
    sender.inbox.take(pipe, taken)
    sender.steps.unsettle(pipe)


def is_due(inbox: Inbox, settings: Settings) -> bool:
    """Whether the inbox holds enough records of a type, or old ones."""
    return any(_is_due(waiting, settings) for waiting in inbox.waiting().values())


def _is_due(waiting: Waiting, settings: Settings) -> bool:
    return waiting.records >= settings.ingest_records or waiting.seconds >= settings.ingest_seconds

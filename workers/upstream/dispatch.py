"""Send waiting records of the inbox as batches."""

import secrets
from collections.abc import Callable, Sequence
from functools import partial

from redis.client import Pipeline

from pipeline.chunk import Chunk
from pipeline.model import RecordType
from workers.app import connect_inbox
from workers.sender import Sender
from workers.settings import Settings
from workers.state.encoding import pack
from workers.state.in_flight import BatchMeta, CallRecords
from workers.state.runs import UPSTREAM, Runs, upstream_run
from workers.upstream.inbox import HeadMoved, Inbox, Waiting


def is_due(inbox: Inbox, settings: Settings) -> bool:
    """Return True if a type has enough waiting records, or an old one."""
    return any(_is_due(waiting, settings) for waiting in inbox.waiting().values())


def dispatch(sender: Sender, settings: Settings, *, everything: bool) -> None:
    """Send the waiting records of all types, or of those that are due.

    They go in the order of acceptance. The caller holds the load lock. Records that are accepted meanwhile stay in the
    inbox. Stalled loads were accepted before these records.
    """
    inbox, runs = connect_inbox(settings, sender.redis), Runs(sender.redis)
    stalled = runs.stalled()
    for record_type, waiting in inbox.waiting().items():
        if not everything and not _is_due(waiting, settings):
            continue
        left = waiting.records
        while left > 0:
            head = inbox.head(record_type, settings.ingest_records, settings.chunk_bytes)
            if not head.parts:
                break

            older = [run.name for run in stalled if run.record_type is record_type]
            take = partial(inbox.remove, head=head)
            try:
                send_records(
                    sender, record_type, head.ids, head.records, calls=head.calls, stalled=older, also=take
                )
            except HeadMoved:
                # Records that were sent are back.
                left = waiting.records
            else:
                left -= len(head.ids)


def send_records(
    sender: Sender,
    record_type: RecordType,
    ids: Sequence[int],
    records: Sequence[bytes],
    *,
    upstream: bool = True,
    calls: Sequence[CallRecords] = (),
    stalled: Sequence[str] = (),
    also: Callable[[Pipeline], None] | None = None,
) -> None:
    """Send raw records as one batch of the run of upstream tasks.

    `upstream` is False for those that a dump had brought. Of several versions of a record the last one counts. `calls`
    and `stalled` are those of `BatchMeta`. `also` adds commands to the transaction that stores the batch.
    """
    run = upstream_run(record_type)
    chunk = Chunk(
        record_type,
        [-1] * len(ids),
        [*ids],
        [*records],
        upstream=upstream,
        tracks=sender.settings.tracks,
    )
    batch = f"{run}-{secrets.token_hex(8)}"
    meta = BatchMeta(record_type, run, UPSTREAM, [len(ids)], [*calls], [*stalled])
    sender.send(batch, meta, [pack(chunk)], set(ids), also=also)


def _is_due(waiting: Waiting, settings: Settings) -> bool:
    return waiting.records >= settings.ingest_records or waiting.seconds >= settings.ingest_seconds

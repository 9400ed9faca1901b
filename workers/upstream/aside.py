"""Records of a batch on their way into the quarantine, or out of it."""

import logging

from pipeline.model import Rejected, Row
from workers.state.in_flight import BatchMeta
from workers.state.lease import Lease
from workers.state.runs import UPSTREAM, Tally
from workers.upstream.quarantine import entry_id
from workers.worker import Worker

logger = logging.getLogger(__name__)


def run_of(batch: str, meta: BatchMeta) -> str:
    """What counts as one attempt at a record: the load of a dump, or a batch from the inbox, whose run never ends."""
    return batch if meta.source == UPSTREAM else meta.run


def set_aside(worker: Worker, meta: BatchMeta, rejected: list[Rejected], run: str) -> None:
    """Put records into the quarantine, and count what it has no space for."""
    without_space = worker.quarantine.add(meta.record_type, meta.source, rejected, run)
    if without_space:
        logger.warning("the quarantine is full: %d records of %s are not kept", without_space, meta.source)
        worker.runs.add_not_kept(meta.run, without_space)


def set_aside_refused(
    worker: Worker, batch: str, meta: BatchMeta, refused: list[tuple[Row, str]], tally: Tally
) -> Tally:
    """Put the records of rows that the graph refuses into the quarantine; gives the tally of the batch with that."""
    reasons = {row["id"]: reason for row, reason in refused}
    rejected: list[Rejected] = []
    for index in range(meta.chunks):
        chunk = worker.in_flight.chunk(batch, index)
        if chunk is not None:
            # The last occurrence of an id is the one that was to be written.
            found = {
                record_id: Rejected(position, reasons[record_id], raw)
                for position, record_id, raw in zip(chunk.positions, chunk.ids, chunk.records, strict=True)
                if record_id in reasons
            }
            rejected += found.values()
    set_aside(worker, meta, rejected, run_of(batch, meta))
    changed = sum(row["known"] for row, _ in refused)
    return Tally(
        unchanged=tally.unchanged,
        created=tally.created - (len(refused) - changed),
        changed=tally.changed - changed,
        quarantined=tally.quarantined + len(refused),
    )


def release(worker: Worker, batch: str, meta: BatchMeta, lease: Lease) -> None:
    """Take off the quarantine what was replayed and is written now; what is refused again has counted up there instead."""
    if not len(worker.quarantine):
        return
    for index in range(meta.chunks):
        chunk = worker.in_flight.chunk(batch, index)
        if chunk is not None:
            ids = [entry_id(meta.record_type, raw) for raw in chunk.records]
            worker.quarantine.remove_written(lease, run_of(batch, meta), ids)

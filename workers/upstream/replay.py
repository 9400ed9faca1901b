"""Load quarantined records again.

The age of a quarantined record is unknown: it must not replace a newer version. So a replay holds the load lock, has
everything written that was accepted before, and asks the graph which records exist. Records that are accepted during
the replay stay in the inbox and are written after it, so they win.

An entry stays in the quarantine until `write_batch` has written its record. A record that Neo4j refuses again finds its
own entry and is counted there.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.chunk import Rejected
from pipeline.graph.driver import Driver
from pipeline.graph.lookup import fingerprints
from pipeline.model import RecordType
from pipeline.records.accept import Accepted, Refused, accept_raw
from workers.app import GraphinatorApp, connect_quarantine, connect_redis
from workers.sender import Sender, open_sender
from workers.upstream.dispatch import dispatch, send_records
from workers.upstream.quarantine import Entry
from workers.worker import open_driver

#: Records in one batch, at most.
BATCH_RECORDS = 100


class SkipReason(StrEnum):
    """The reason why a well-formed record is not replayed."""

    IN_GRAPH = "the graph has this record"
    SEVERAL_VERSIONS = "another entry is a version of the same record"


@dataclass(slots=True)
class ReplayReport:
    """The outcome of a replay."""

    replayed: int = 0
    #: Entries that are still no records, with the newest reason.
    refused: list[tuple[str, str]] = field(default_factory=list)
    #: Entries that are records and were not replayed.
    skipped: list[tuple[str, SkipReason]] = field(default_factory=list)


def replay(
    app: GraphinatorApp, ids: Sequence[str], on_wait: Callable[[str], None], *, overwrite: bool
) -> ReplayReport:
    """Send the records of these entries to the workers; no `ids` stand for all entries.

    Skips records that exist in the graph in any version, unless `overwrite` is True. Raises BusyError while a load
    runs.
    """
    with connect_redis(app.settings) as redis:
        if not connect_quarantine(app.settings, redis):
            return ReplayReport()
    with open_sender(app, on_wait) as sender, asyncio.Runner() as runner:
        driver = open_driver(app.settings)
        try:
            return _Replay(app, sender, runner, driver, overwrite=overwrite).run(ids)
        finally:
            runner.run(driver.close())


class _Replay:
    """One replay; the caller holds the load lock."""

    def __init__(
        self, app: GraphinatorApp, sender: Sender, runner: asyncio.Runner, driver: Driver, *, overwrite: bool
    ) -> None:
        self._settings = app.settings
        self._sender = sender
        self._runner = runner
        self._driver = driver
        self._overwrite = overwrite
        self._quarantine = connect_quarantine(app.settings, sender.redis)
        self._run = f"replay-{secrets.token_hex(4)}"
        self._report = ReplayReport()

    def run(self, ids: Sequence[str]) -> ReplayReport:
        dispatch(self._sender, self._settings, everything=True)
        self._sender.drain("the records of upstream tasks that are being written")
        for record_type, entries in self._well_formed(ids).items():
            single = {}
            for record_id, entry_ids in entries.items():
                if len(entry_ids) == 1:
                    single[record_id] = entry_ids[0]
                else:
                    self._skip(entry_ids, SkipReason.SEVERAL_VERSIONS)
            for part in _parts(list(single), BATCH_RECORDS):
                self._send(record_type, self._missing(record_type, {id_: single[id_] for id_ in part}))
        return self._report

    def _well_formed(self, ids: Sequence[str]) -> dict[RecordType, dict[int, list[str]]]:
        """Return the entries that are records, by type and record id; count the others up."""
        found: dict[RecordType, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for entry in self._entries(ids):
            record = accept_raw(entry.record_type, entry.raw, self._settings.record_bytes)
            if isinstance(record, Refused):
                again = Rejected(entry.position, record.reason, entry.raw)
                self._quarantine.add(entry.record_type, entry.source, [again], self._run)
                self._report.refused.append((entry.entry_id, record.reason))
            else:
                found[entry.record_type][record.id].append(entry.entry_id)
        return found

    def _entries(self, ids: Sequence[str]) -> Iterator[Entry]:
        if not ids:
            yield from self._quarantine
            return
        for id_ in dict.fromkeys(ids):
            entry = self._quarantine.get(id_)
            # It may have been written or purged meanwhile.
            if entry is not None:
                yield entry

    def _missing(self, record_type: RecordType, entries: dict[int, str]) -> list[str]:
        """Return the entries whose records the graph lacks, or all with `overwrite`."""
        if self._overwrite:
            return list(entries.values())
        known = self._runner.run(fingerprints(self._driver, record_type, list(entries)))
        self._skip((id_ for record_id, id_ in entries.items() if record_id in known), SkipReason.IN_GRAPH)
        return [id_ for record_id, id_ in entries.items() if record_id not in known]

    def _send(self, record_type: RecordType, entry_ids: Iterable[str]) -> None:
        for batch in self._batches(record_type, entry_ids):
            for upstream in (False, True):
                records = [record for entry, record in batch if entry.is_upstream is upstream]
                if records:
                    ids, raws = [each.id for each in records], [each.raw for each in records]
                    send_records(self._sender, record_type, ids, raws, upstream=upstream)
            self._report.replayed += len(batch)
            # A dictionary is written as another text, so `write_batch` does not find its entry.
            self._quarantine.purge(entry.entry_id for entry, record in batch if entry.raw != record.raw)

    def _batches(
        self, record_type: RecordType, entry_ids: Iterable[str]
    ) -> Iterator[list[tuple[Entry, Accepted]]]:
        batch: list[tuple[Entry, Accepted]] = []
        size = 0
        for id_ in entry_ids:
            entry = self._quarantine.get(id_)
            record = (
                None if entry is None else accept_raw(record_type, entry.raw, self._settings.record_bytes)
            )
            if entry is None or not isinstance(record, Accepted):
                continue  # purged meanwhile
            if batch and size + len(record.raw) > self._settings.chunk_bytes:
                yield batch
                batch, size = [], 0
            batch.append((entry, record))
            size += len(record.raw)
        if batch:
            yield batch

    def _skip(self, ids: Iterable[str], reason: SkipReason) -> None:
        self._report.skipped += [(id_, reason) for id_ in ids]


def _parts(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]

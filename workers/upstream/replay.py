"""Records of the quarantine, handed over again.

They go through the inbox, as the records of any upstream call do. An entry stays where it is until `write_batch` has written
its record: so nothing is lost whatever ends meanwhile, however full the quarantine is, and a record that Neo4j refuses once
more finds its own entry and counts it up.

How old such a record is, nobody knows: it may only fill a gap. So the lock of a load is held, and all that was accepted before
is written, when the graph is asked which records it has; and what other calls bring from then on is left to them.
"""

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.graph.driver import Driver
from pipeline.graph.lookup import fingerprints
from pipeline.model import RecordType, Rejected
from pipeline.records.accept import Accepted, Refused, accept_raw
from workers.app import GraphinatorApp, connect_quarantine, connect_redis
from workers.sender import Sender
from workers.upstream.dispatch import flush
from workers.upstream.inbox import InboxFull
from workers.upstream.quarantine import Entry
from workers.worker import open_driver

#: Records that the graph is asked for, and that are handed over, at a time.
TOGETHER = 100

IN_GRAPH = "the graph has this record"
SEVERAL = "another entry is a version of the same record: name the one to replay"
NEWER = "an upstream task has just handed this record over"


@dataclass(slots=True)
class Outcome:
    """What became of the entries; those that are neither refused nor left are replayed."""

    replayed: int = 0
    #: What is still no record, and why.
    refused: list[tuple[str, str]] = field(default_factory=list)
    #: What is a record and was not handed over, and why.
    left: list[tuple[str, str]] = field(default_factory=list)


def replay(
    app: GraphinatorApp, ids: Sequence[str], on_wait: Callable[[str], None], *, overwrite: bool
) -> Outcome:
    """Hand the records of these entries over, or of all if none is named; raises BusyError while a load runs.

    Records that the graph has in any version are left, unless `overwrite` is True.
    """
    with connect_redis(app.settings) as redis:
        if not connect_quarantine(app.settings, redis):
            return Outcome()
    sender = Sender(app)
    sender.on_wait = on_wait
    with sender.locked(), asyncio.Runner() as runner:
        driver = open_driver(app.settings)
        try:
            return _Replay(app, sender, runner, driver, overwrite=overwrite).run(ids)
        finally:
            runner.run(driver.close())


class _Replay:
    """One replay, by whoever holds the lock."""

    def __init__(
        self, app: GraphinatorApp, sender: Sender, runner: asyncio.Runner, driver: Driver, *, overwrite: bool
    ) -> None:
        self._settings = app.settings
        self._sender = sender
        self._runner = runner
        self._driver = driver
        self._overwrite = overwrite
        self._quarantine = connect_quarantine(app.settings, connect_redis(app.settings))
        self._run = f"replay-{secrets.token_hex(4)}"
        self._since = sender.inbox.now()
        self._outcome = Outcome()

    def run(self, ids: Sequence[str]) -> Outcome:
        has_waited = bool(self._sender.inbox.waiting())
        self._flush()
        for record_type, entries in self._records(ids).items():
            single = {id_: named[0] for id_, named in entries.items() if len(named) == 1}
            self._leave((each for named in entries.values() if len(named) > 1 for each in named), SEVERAL)
            for part in _parts(list(single), TOGETHER):
                self._hand_over(record_type, self._missing(record_type, {id_: single[id_] for id_ in part}))
        if has_waited:
            self._sender.finish()
        return self._outcome

    def _flush(self) -> None:
        flush(self._sender, self._settings, everything=True)
        self._sender.drain("the records of upstream tasks that are being written")

    def _records(self, ids: Sequence[str]) -> dict[RecordType, dict[int, list[str]]]:
        """The entries that are records now, by type and id; the others are refused once more."""
        found: dict[RecordType, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for entry in self._entries(ids):
            self._sender.drain()  # renews the lock
            outcome = accept_raw(entry.record_type, entry.raw, self._settings.record_bytes)
            if isinstance(outcome, Refused):
                again = Rejected(entry.position, outcome.reason, entry.raw)
                self._quarantine.add(entry.record_type, entry.source, [again], self._run)
                self._outcome.refused.append((entry.entry_id, outcome.reason))
            else:
                found[entry.record_type][outcome.id].append(entry.entry_id)
        return found

    def _entries(self, ids: Sequence[str]) -> Iterator[Entry]:
        if not ids:
            yield from self._quarantine
            return
        for id_ in dict.fromkeys(ids):
            entry = self._quarantine.get(id_)
            # It may have been written since it was named.
            if entry is not None:
                yield entry

    def _missing(self, record_type: RecordType, entries: dict[int, str]) -> list[str]:
        """Those entries whose records may be handed over."""
        if self._overwrite:
            return list(entries.values())
        known = self._runner.run(fingerprints(self._driver, record_type, list(entries)))
        self._leave((id_ for record_id, id_ in entries.items() if record_id in known), IN_GRAPH)
        return [id_ for record_id, id_ in entries.items() if record_id not in known]

    def _hand_over(self, record_type: RecordType, ids: Iterable[str]) -> None:
        for id_ in ids:
            self._sender.drain()
            entry = self._quarantine.get(id_)
            outcome = (
                None if entry is None else accept_raw(record_type, entry.raw, self._settings.record_bytes)
            )
            if entry is None or not isinstance(outcome, Accepted):
                continue  # purged meanwhile
            if self._add(record_type, outcome, f"{self._run}-{id_}"):
                self._leave([id_], NEWER)
                continue
            self._outcome.replayed += 1
            if outcome.raw != entry.raw:
                # It is written as another text, which would not be known as this entry's.
                self._quarantine.purge([id_])

    def _add(self, record_type: RecordType, record: Accepted, call: str) -> set[int]:
        while True:
            try:
                return self._sender.inbox.add(call, record_type, [record], since=self._since)
            except InboxFull:
                # Nobody else empties it while the lock is held.
                self._flush()

    def _leave(self, ids: Iterable[str], why: str) -> None:
        self._outcome.left += [(id_, why) for id_ in ids]


def _parts(ids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]

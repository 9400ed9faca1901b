"""A dump → batches in flight → a report."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyroaring import BitMap64

from pipeline.errors import DumpError, GraphinatorError
from pipeline.model import Chunk, RecordType
from pipeline.reader.dump import Dump, ids_in, open_dump
from workers.app import GraphinatorApp
from workers.chords import REMOVE_VANISHED
from workers.sender import LoadBroken, Sender, StepFailed
from workers.state.in_flight import Meta
from workers.state.packing import pack
from workers.state.runs import About, Ending, Tally
from workers.upstream.dispatch import dispatch

#: One batch may fail for what it holds; where so many of a dump do, the others would too.
MOST_FAILED = 10
#: How often the progress is told, at most.
PROGRESS_SECONDS = 0.1


class WouldVanish(GraphinatorError):
    """A full dump lacks more of the graph's records than is likely: none of them was removed."""


class QuarantineFull(LoadBroken):
    """The quarantine has no room: records of a load are neither in it nor in the graph."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the dumps of a load contain."""

    #: Whether a dump holds only some records of its type, so that nothing can be said of the others.
    partial: bool = False
    #: Whether any number of records may be gone from one dump to the next.
    allow_vanish: bool = False


FULL = Contents()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the load of one dump stands."""

    record_type: RecordType
    path: Path
    #: Records read from the dump so far.
    read: int
    #: What became of those that are done.
    tally: Tally
    batches_in_flight: int
    #: Compressed bytes read so far and in total; how many records there are shows only at the end.
    consumed_bytes: int
    size_bytes: int
    seconds: float
    #: What the load waits for, if for anything but its own batches.
    waiting_for: str


@dataclass(frozen=True, slots=True)
class Report:
    """How the load of one dump ended."""

    record_type: RecordType
    path: Path
    read: int
    tally: Tally
    #: Records that the dump no longer contains, removed from the graph.
    vanished: int
    seconds: float
    #: Why some of the dump is neither in the graph nor in the quarantine; empty for a complete load.
    problems: list[GraphinatorError]

    @property
    def complete(self) -> bool:
        """Whether all of the dump is in the graph or in the quarantine."""
        return not self.problems


def load(
    app: GraphinatorApp,
    paths: Sequence[Path],
    on_progress: Callable[[Progress], None],
    on_wait: Callable[[str], None],
    contents: Contents = FULL,
) -> Iterator[Report]:
    """Load dumps one after the other, as the only load at that time; gives a report as each one ends.

    Records that a full dump lacks are removed, if all of that dump was loaded. `on_wait` is called again and again while
    something is awaited before the first dump and after the last one.
    Raises BusyError while another load runs, DumpError for a file that is refused as a whole. A fault
    further on in a file is among its report's problems, and the records before it are loaded.
    """
    sender = Sender(app)
    sender.on_wait = on_wait
    with sender.locked():
        # What upstream tasks have handed over before is older than what is read from now on.
        dispatch(sender, app.settings, everything=True)
        for run, path in _plan(sender, paths, contents):
            with open_dump(path, **app.settings.dump_limits()) as dump:
                yield _Load(app, sender, dump, contents, on_progress, run).run()
        sender.on_wait = on_wait
        sender.finish()


def _plan(sender: Sender, paths: Sequence[Path], contents: Contents) -> list[tuple[str, Path]]:
    """A run for each dump, listed before the first one begins: what a load that is cut off has left shows."""
    record_types: list[RecordType] = []
    # Where one is no dump, none is listed: those would look as if they had stalled.
    for path in paths:
        with open_dump(path) as dump:
            record_types.append(dump.record_type)
    planned = []
    for record_type, path in zip(record_types, paths, strict=True):
        run = f"{record_type}-{secrets.token_hex(4)}"
        sender.runs.plan(
            run,
            About(
                record_type,
                str(path.absolute()),
                contents.partial,
                contents.allow_vanish,
                time.time(),
                sender.holder,
            ),
        )
        planned.append((run, path))
    return planned


class _Load:
    """The load of one dump."""

    def __init__(
        self,
        app: GraphinatorApp,
        sender: Sender,
        dump: Dump,
        contents: Contents,
        on_progress: Callable[[Progress], None],
        run: str,
    ) -> None:
        self._app = app
        self._contents = contents
        self._sender = sender
        self._dump = dump
        self._on_progress = on_progress
        self._run = run
        self._started_at = time.monotonic()
        self._told_at = 0.0
        self._read = 0
        #: The ids of all records read so far, those set aside too: a few MB for a whole dump, whose ids lie close together.
        self._all_ids = BitMap64()
        self._batches_sent = 0
        #: The batch that is being filled, and the ids of its records.
        self._chunks: list[bytes] = []
        self._ids: set[int] = set()
        self._tally = Tally()
        self._failures: list[str] = []

    def run(self) -> Report:
        problems: list[GraphinatorError] = []
        self._sender.on_wait = self._tell
        self._sender.runs.tell_read(self._run, 0)
        try:
            settings = self._app.settings
            for chunk in self._dump.chunks(settings.chunk_records, settings.chunk_bytes, self._tell):
                self._add(chunk)
                del chunk  # not while the next one is read
                if len(self._failures) >= MOST_FAILED:
                    problems.append(
                        LoadBroken(f"{MOST_FAILED} batches failed, the rest of the dump was not read")
                    )
                    break
        except DumpError as error:
            problems.append(error)
        self._send()
        self._sender.drain()
        self._look()
        problems += map(LoadBroken, dict.fromkeys(self._failures))
        if not_kept := self._sender.runs.number_not_kept(self._run):
            problems.append(
                QuarantineFull(f"the quarantine is full: {not_kept:,} records are not kept in it")
            )
        lost = self._read - self._tally.read
        if lost and not problems:
            problems.append(LoadBroken(f"Redis has lost {lost:,} records in flight"))
        vanished = 0
        if not problems and not self._contents.partial:
            try:
                vanished = self._remove_vanished()
            except (WouldVanish, StepFailed) as error:
                problems.append(error)
        self._sender.runs.end(self._run, Ending(time.time(), vanished, [str(each) for each in problems]))
        return Report(
            self._dump.record_type,
            self._dump.path,
            self._read,
            self._tally,
            vanished,
            self._seconds(),
            problems,
        )

    def _remove_vanished(self) -> int:
        """Have a worker remove the records of this type that the dump lacks; how many those were."""
        self._sender.runs.store_ids(self._run, self._all_ids)
        try:
            outcome = self._sender.step(
                REMOVE_VANISHED,
                self._run,
                self._dump.record_type.value,
                self._contents.allow_vanish,
                reason="the removal of records that the dump lacks",
            )
        finally:
            self._sender.runs.drop_ids(self._run)
        if "vanish" in outcome:
            raise WouldVanish(
                f"this dump lacks {outcome['vanish']:,} of the {outcome['of']:,} {self._dump.record_type.value} "
                "in the graph, so none was removed"
            )
        return int(outcome["removed"])

    def _add(self, chunk: Chunk) -> None:
        self._read += len(chunk.records) + len(chunk.rejected)
        # A record that comes again waits for the next batch, and so counts as the newer one.
        if len(self._chunks) == self._app.settings.chunks_per_batch or not self._ids.isdisjoint(chunk.ids):
            self._send()
        self._chunks.append(pack(chunk))
        self._ids.update(chunk.ids)
        self._all_ids.update(ids_in(chunk))
        self._tell()

    def _send(self) -> None:
        if self._chunks:
            self._batches_sent += 1
            meta = Meta(self._dump.record_type, self._run, str(self._dump.path), len(self._chunks))
            self._sender.send(f"{self._run}-{self._batches_sent}", meta, self._chunks, self._ids)
            self._chunks, self._ids = [], set()

    def _tell(self, waiting_for: str = "") -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_SECONDS:
            return
        self._told_at = now
        self._sender.keep_lock()
        self._look()
        self._on_progress(
            Progress(
                self._dump.record_type,
                self._dump.path,
                self._read,
                self._tally,
                self._sender.batches.in_flight(),
                self._dump.consumed,
                self._dump.size,
                self._seconds(),
                waiting_for,
            )
        )

    def _look(self) -> None:
        self._sender.runs.tell_read(self._run, self._read)
        self._tally, self._failures = self._sender.runs.tally(self._run)

    def _seconds(self) -> float:
        return time.monotonic() - self._started_at

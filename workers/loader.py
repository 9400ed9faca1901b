"""A load: dumps become batches in flight, and a report each."""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from structlog.contextvars import bound_contextvars

from pipeline.errors import DamagedError, DumpError, GraphinatorError
from pipeline.model import RecordType
from pipeline.reader.dump import Dump, open_dump
from workers.app import REMOVE_VANISHED, GraphinatorApp, connect_quarantine
from workers.batches import Batches
from workers.comparison import Compared, Comparison, Fingerprints
from workers.exporter import Exporter
from workers.sender import LoadBroken, Sender, TaskFailed, open_sender
from workers.state.runs import GraphSize, Reading, RunEnd, RunPlan, Runs, Sample, Tally, Work
from workers.upstream.dispatch import dispatch
from workers.worker import resident_megabytes

#: One batch may fail for its content; after so many failed batches of a dump the rest would fail too.
MAX_FAILED = 10
#: The shortest time between two calls of `on_progress`.
PROGRESS_SECONDS = 0.1
#: The first interval between two samples, and the largest number of them.
SAMPLE_SECONDS = 1.0
MAX_SAMPLES = 200
#: Reasons of quarantined records that are kept with a run.
MAX_REASONS = 20


class WouldVanish(GraphinatorError):
    """A complete dump lacks too many of the stored records; none was removed."""

    def __init__(self, record_type: RecordType, missing: int, stored: int) -> None:
        super().__init__(
            f"this dump lacks {missing:,} of the {stored:,} {record_type.value} in the graph, so none was removed"
        )
        self.missing = missing
        self.stored = stored


class QuarantineFull(LoadBroken):
    """The quarantine had no space for records of a load."""

    def __init__(self, records: int) -> None:
        super().__init__(f"the quarantine is full: {records:,} records are not kept in it")
        self.records = records


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of the dumps of a load."""

    #: The dump holds only some records of its type; records that it lacks stay.
    partial: bool = False
    #: Any number of records may vanish from one dump to the next.
    allow_vanish: bool = False


FULL = Contents()


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the load of one dump."""

    record_type: RecordType
    path: Path
    reading: Reading
    tally: Tally
    batches_in_flight: int
    #: The reason of a wait; "" while the load reads or waits for its own batches.
    waiting_for: str


@dataclass(frozen=True, slots=True)
class Report:
    """The end of the load of one dump."""

    record_type: RecordType
    path: Path
    read: int
    tally: Tally
    #: Records that the dump no longer contains, removed from the graph.
    vanished: int
    seconds: float
    #: Why some of the dump is neither in the graph nor in the quarantine; empty for a complete load.
    problems: list[GraphinatorError]
    #: Records that the dump lacks and that stay, since an illegible record of the dump may be them.
    spared: int = 0

    @property
    def complete(self) -> bool:
        """Return True if every record is in the graph or in the quarantine."""
        return not self.problems

    @property
    def is_damaged(self) -> bool:
        """Return True if the dump is damaged: the quarantine keeps none of its records."""
        return any(isinstance(each, DamagedError) for each in self.problems)


class NotResumed(GraphinatorError):
    """The dump of an interrupted load cannot be opened."""

    def __init__(self, run: str, error: DumpError) -> None:
        super().__init__(str(error))
        self.run = run


def load(
    app: GraphinatorApp,
    paths: Sequence[Path],
    on_progress: Callable[[Progress], None],
    on_wait: Callable[[str], None],
    contents: Contents = FULL,
) -> Iterator[Report]:
    """Load dumps one after the other, under the load lock.

    Yields a report as each one ends. Records that a complete dump lacks are removed once all of it is loaded. `on_wait`
    is called again and again while something is awaited before the first dump and after the last one. Raises BusyError
    while another load runs, LeaseLost, and DumpError for a file that is refused as a whole. A fault further on in a
    file is among the problems of its report: the records before it are loaded.
    """
    with (
        open_sender(app, on_wait) as sender,
        Fingerprints(app.settings) as graph,
        Exporter(app.settings, graph.loop),
    ):
        _write_inbox(sender, app)
        runs = Runs(sender.redis)
        planned = _plan(runs, sender.holder, paths, contents)
        yield from _load_all(app, sender, graph, planned, on_progress)


def resume(
    app: GraphinatorApp, on_progress: Callable[[Progress], None], on_wait: Callable[[str], None]
) -> Iterator[Report]:
    """Load the dumps of stalled runs again, as if their loads had gone on.

    Records that were accepted after a load began stay as they are. A run whose dump cannot be opened stays stalled: its
    report says NotResumed. Raises BusyError and LeaseLost.
    """
    with (
        open_sender(app, on_wait) as sender,
        Fingerprints(app.settings) as graph,
        Exporter(app.settings, graph.loop),
    ):
        # Its records are newer than the loads that are resumed.
        _write_inbox(sender, app)
        runs = Runs(sender.redis)
        planned = []
        for run in runs.stalled():
            plan = run.plan
            path = Path(plan.path)
            try:
                with open_dump(path) as dump:
                    if dump.record_type is not plan.record_type:
                        raise DumpError(path, 0, f"it holds {dump.record_type} now, not {plan.record_type}")
            except DumpError as error:
                yield Report(plan.record_type, path, 0, Tally(), 0, 0.0, [NotResumed(run.name, error)])
                continue
            again = msgspec.structs.replace(plan, holder=sender.holder, attempt=plan.attempt + 1)
            runs.plan(run.name, again)
            planned.append((run.name, again))
        yield from _load_all(app, sender, graph, planned, on_progress)


def _write_inbox(sender: Sender, app: GraphinatorApp) -> None:
    """Have the records of upstream tasks written: a dump is compared with them."""
    dispatch(sender, app.settings, everything=True)
    sender.drain("the records of upstream tasks that are being written")


def _plan(runs: Runs, holder: str, paths: Sequence[Path], contents: Contents) -> list[tuple[str, RunPlan]]:
    """List a run for each dump, so that an interrupted load shows what it left."""
    record_types: list[RecordType] = []
    # If one file is no dump, no run is listed: it would look stalled.
    for path in paths:
        with open_dump(path) as dump:
            record_types.append(dump.record_type)
    planned = []
    for record_type, path in zip(record_types, paths, strict=True):
        run = f"{record_type}-{secrets.token_hex(4)}"
        plan = RunPlan(
            record_type, str(path.absolute()), contents.partial, contents.allow_vanish, runs.now(), holder
        )
        runs.plan(run, plan)
        planned.append((run, plan))
    return planned


def _load_all(
    app: GraphinatorApp,
    sender: Sender,
    graph: Fingerprints,
    planned: Sequence[tuple[str, RunPlan]],
    on_progress: Callable[[Progress], None],
) -> Iterator[Report]:
    on_wait = sender.on_wait
    for run, plan in planned:
        with open_dump(plan.path, **app.settings.dump_options()) as dump:
            with bound_contextvars(run=run, record_type=plan.record_type.value):
                report = Load(app, sender, graph, dump, on_progress, run, plan).run()
            yield report
        sender.on_wait = on_wait
    sender.finish()


class Samples:
    """Samples of a run, evenly over its time.

    When they become too many, every second one goes.
    """

    def __init__(self) -> None:
        self.taken: list[Sample] = []
        self._interval_seconds = SAMPLE_SECONDS

    def is_due(self, seconds: float) -> bool:
        """Return True if it is time for the next sample."""
        return not self.taken or seconds - self.taken[-1].seconds >= self._interval_seconds

    def add(self, sample: Sample) -> None:
        """Add a sample.

        The last one of a load may come soon after the one before, which goes then.
        """
        if len(self.taken) > 1 and sample.seconds - self.taken[-1].seconds < self._interval_seconds / 2:
            del self.taken[-1]
        self.taken.append(sample)
        if len(self.taken) > MAX_SAMPLES:
            del self.taken[1::2]
            self._interval_seconds *= 2


class Load:
    """The load of one dump: read, drain, vanish, report."""

    def __init__(
        self,
        app: GraphinatorApp,
        sender: Sender,
        graph: Fingerprints,
        dump: Dump,
        on_progress: Callable[[Progress], None],
        run: str,
        plan: RunPlan,
    ) -> None:
        self._settings = app.settings
        self._sender = sender
        self._graph = graph
        self._runs = Runs(sender.redis)
        self._quarantine = connect_quarantine(app.settings, sender.redis)
        self._dump = dump
        self._on_progress = on_progress
        self._run = run
        self._started_on, self._started_at = time.time(), time.monotonic()
        self._plan = plan
        self._comparison = Comparison(graph, self._runs.newer(run), self._show)
        self._batches = Batches(
            sender, app.settings, dump.record_type, run, str(dump.path), f"{run}-{plan.attempt}"
        )
        self._shown_at = 0.0
        self._read = self._unchanged = self._spared = 0
        self._is_read_whole = False
        self._tally, self._work = Tally(), Work()
        self._samples = Samples()
        self._failures: list[str] = []
        self._problems: list[GraphinatorError] = []

    def run(self) -> Report:
        """Load the dump. Its report has the reasons why it is incomplete."""
        self._sender.on_wait = self._show
        self._runs.set_read(self._run, self._reading())
        before = self._graph.graph_size()
        self._read_dump()
        self._drain()
        vanished = 0 if self._problems or self._plan.partial else self._remove_vanished()
        return self._report(vanished, before)

    def _read_dump(self) -> None:
        """Send the records that the graph lacks, up to the first fault of the dump."""
        chunks = self._dump.chunks(self._settings.chunk_records, self._settings.chunk_bytes)
        try:
            for compared in self._comparison.compare(chunks):
                self._add(compared)
                del compared  # not while the next one is read
                if len(self._failures) >= MAX_FAILED:
                    self._problems.append(
                        LoadBroken(f"{MAX_FAILED} batches failed, the rest of the dump was not read")
                    )
                    break
            else:
                self._is_read_whole = True
        except DumpError as error:
            self._problems.append(error)
        self._batches.send()

    def _add(self, compared: Compared) -> None:
        lacked, unchanged, outdated = compared
        self._read += len(lacked) + len(unchanged) + outdated
        self._unchanged += len(unchanged) + outdated
        # They are in the graph: older versions in the quarantine are done with.
        for entries in self._quarantine.of_records(self._dump.record_type, unchanged).values():
            self._quarantine.remove_older(entries, self._plan.at)
        self._batches.add(lacked)
        self._show()

    def _drain(self) -> None:
        """Wait for the last batch, then collect the problems."""
        self._sender.drain()
        self._update()
        if any(isinstance(each, DamagedError) for each in self._problems):
            # Nobody can mend records that a damaged file has garbled.
            self._quarantine.purge_run(self._run)
        self._problems += map(LoadBroken, dict.fromkeys(self._failures))
        if not_kept := self._runs.not_kept(self._run):
            self._problems.append(QuarantineFull(not_kept))
        lost = self._read - self._tally.read
        if lost and not self._problems:
            self._problems.append(LoadBroken(f"Redis has lost {lost:,} records in flight"))

    def _remove_vanished(self) -> int:
        """Have a worker remove the records that the dump lacks; return their number."""
        record_type = self._dump.record_type
        self._runs.store_ids(self._run, self._comparison.ids)
        try:
            result = self._sender.run_exclusive(
                REMOVE_VANISHED,
                self._run,
                record_type.value,
                self._plan.allow_vanish,
                reason=f"the removal of {record_type.value} that {self._dump.path.name} lacks",
            )
        except TaskFailed as error:
            self._problems.append(error)
            return 0
        finally:
            self._runs.drop_ids(self._run)
        self._spared = result.spared
        if result.missing:
            self._problems.append(WouldVanish(record_type, result.missing, result.stored))
        return result.removed

    def _report(self, vanished: int, before: GraphSize | None) -> Report:
        seconds, problems = self._seconds(), [str(each) for each in self._problems]
        self._take_sample()
        reasons = self._quarantine.reasons(self._run) if self._tally.quarantined else Counter[str]()
        frequent = dict(reasons.most_common(MAX_REASONS))
        end = RunEnd(time.time(), vanished, problems, frequent, before, self._graph.graph_size())
        self._runs.end(self._run, end)
        return Report(
            self._dump.record_type,
            self._dump.path,
            self._read,
            self._tally,
            vanished,
            seconds,
            self._problems,
            self._spared,
        )

    def _show(self, waiting_for: str = "") -> None:
        now = time.monotonic()
        if now - self._shown_at < PROGRESS_SECONDS:
            return
        self._shown_at = now
        self._update()
        self._on_progress(
            Progress(
                self._dump.record_type,
                self._dump.path,
                self._reading(),
                self._tally,
                len(self._sender.in_flight),
                waiting_for,
            )
        )

    def _update(self) -> None:
        # A load that sends nothing would learn it at its end only; another one may have resumed this run.
        self._sender.check_lock()
        self._runs.set_read(self._run, self._reading())
        self._tally, self._failures, self._work = self._runs.progress(self._run)
        if self._samples.is_due(self._seconds()):
            self._take_sample()

    def _take_sample(self) -> None:
        self._samples.add(
            Sample(
                round(self._seconds(), 2),
                self._read,
                self._tally,
                self._work,
                len(self._sender.in_flight),
                resident_megabytes(),
            )
        )
        self._runs.store_samples(self._run, self._samples.taken)

    def _reading(self) -> Reading:
        return Reading(
            self._started_on,
            self._read,
            self._dump.consumed,
            self._dump.size,
            whole=self._is_read_whole,
            unchanged=self._unchanged,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._started_at

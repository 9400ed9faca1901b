"""One run of the benchmark: both ways load the same dumps on the same server."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from ops.bench import baseline
from ops.bench.month import Month
from ops.bench.stack import BenchError, BenchStack, Load
from pipeline.model import RecordType

#: Called with the name of the step that begins.
OnStep = Callable[[str], None]


@dataclass(slots=True)
class Round:
    """The measurements of one round, in records per second."""

    #: From the first record read to the last one written, as the load reports it.
    first: dict[RecordType, float] = field(default_factory=dict)
    unchanged: dict[RecordType, float] = field(default_factory=dict)
    #: The same over the whole command, including its start and `finish`.
    first_command: dict[RecordType, float] = field(default_factory=dict)
    unchanged_command: dict[RecordType, float] = field(default_factory=dict)
    #: Releases, loaded the common way.
    baseline_first: float = 0.0
    baseline_unchanged: float = 0.0
    #: Seconds to load next month's dumps of all types, over this month's graph and into an empty one.
    update_seconds: float = 0.0
    reload_seconds: float = 0.0


@dataclass(slots=True)
class Figures:
    """All measurements: rates in records per second, memory in bytes."""

    records: dict[RecordType, int] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    #: The highest resident memory of each process in all loads: `reader`, `worker 1`, …, `valkey`.
    peaks: dict[str, int] = field(default_factory=dict)
    #: Redis's own peak of memory for data.
    redis_peak: int = 0

    def median(self, figure: Callable[[Round], float]) -> float:
        """Return the median of a figure, or of a ratio, over the rounds."""
        return median(figure(each) for each in self.rounds)


@dataclass(frozen=True, slots=True)
class Dumps:
    """The dumps to load."""

    #: Small dumps, loaded before the first measurement.
    warm_up: Mapping[RecordType, Path]
    this_month: Mapping[RecordType, Path]
    next_month: Mapping[RecordType, Month]


class Bench:
    """The measuring of a stack; `figures` fill while it runs."""

    def __init__(self, stack: BenchStack, dumps: Dumps, on_step: OnStep, *, same_indexes: bool) -> None:
        self.figures = Figures()
        self._same_indexes = same_indexes
        self._stack = stack
        self._dumps = dumps.this_month
        self._dumps_of_warm_up = dumps.warm_up
        self._next_month = dumps.next_month
        self._on_step = on_step

    def run(self, rounds: int) -> Figures:
        """Measure `rounds` rounds; each way starts with an empty graph, in turns.

        Both ways use the same server, warmed up by both, and the same constraints. With `same_indexes` both keep the
        search indexes. They cost the many small transactions of the common way a lot; without it only our way has them.
        """
        self._warm_up()
        for number in range(1, rounds + 1):
            name = f"round {number} of {rounds}"
            measured = Round()
            ways = [self._measure_ours, self._measure_baseline]
            for way in ways if number % 2 else reversed(ways):
                way(measured, name)
                self._empty(name)
            self._measure_reload(measured, name)
            self._empty(name)
            self.figures.rounds.append(measured)
        self.figures.redis_peak = self._stack.redis_peak()
        return self.figures

    def _warm_up(self) -> None:
        self._on_step("warming up")
        for dump in self._dumps_of_warm_up.values():
            self._stack.load(dump)
        self._stack.wipe()
        baseline.load(self._dumps_of_warm_up[RecordType.RELEASES], *self._stack.login())
        self._stack.wipe()

    def _empty(self, name: str) -> None:
        self._on_step(f"{name}: emptying the graph")
        self._stack.wipe()

    def _measure_ours(self, measured: Round, name: str) -> None:
        for record_type in self._dumps:
            self._on_step(f"{name}: {record_type}, first load")
            measured.first[record_type], measured.first_command[record_type] = self._load(
                record_type, "created"
            )
        for record_type in self._dumps:
            self._on_step(f"{name}: {record_type}, unchanged")
            measured.unchanged[record_type], measured.unchanged_command[record_type] = self._load(
                record_type, "unchanged"
            )
        self._on_step(f"{name}: next month")
        for month in self._next_month.values():
            load = self._stack.load(month.path)
            _check(load, created=month.new, changed=month.changed, vanished=month.vanished)
            measured.update_seconds += load.seconds

    def _measure_reload(self, measured: Round, name: str) -> None:
        self._on_step(f"{name}: next month, into the empty graph")
        for month in self._next_month.values():
            load = self._stack.load(month.path)
            _check(load, created=month.records)
            measured.reload_seconds += load.seconds

    def _load(self, record_type: RecordType, expected: str) -> tuple[float, float]:
        """Load a dump, check that every record was `expected`, return rates without and with start."""
        load = self._stack.load(self._dumps[record_type])
        counts = load.report[record_type]
        records = counts["read"]
        _check(load, **{expected: records})
        for process, peak in load.peaks.items():
            self.figures.peaks[process] = max(peak, self.figures.peaks.get(process, 0))
        self.figures.records[record_type] = records
        return records / counts["seconds"], records / load.seconds

    def _measure_baseline(self, measured: Round, name: str) -> None:
        with nullcontext() if self._same_indexes else self._stack.constraints_only():
            self._on_step(f"{name}: releases the common way, first load")
            measured.baseline_first = self._load_baseline(unchanged=False)
            self._on_step(f"{name}: releases the common way, unchanged")
            measured.baseline_unchanged = self._load_baseline(unchanged=True)

    def _load_baseline(self, *, unchanged: bool) -> float:
        loaded = baseline.load(self._dumps[RecordType.RELEASES], *self._stack.login())
        if loaded.written != (0 if unchanged else loaded.read):
            raise BenchError(f"the baseline wrote an unexpected number of records: {loaded}")
        return loaded.rate


def _check(load: Load, **expected: int) -> None:
    """Raise BenchError unless the dump was loaded completely, with these counts."""
    counts = next(each for each in load.report.values() if isinstance(each, dict) and each["read"])
    if not load.report["complete"] or any(counts[name] != number for name, number in expected.items()):
        raise BenchError(f"a load has unexpected counts (expected {expected}): {load.report}")

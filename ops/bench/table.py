"""The figures of a benchmark and their goals, as a table and as JSON."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ops.bench.bench import Figures, Round
from pipeline.model import RecordType

FIRST_TIMES, UNCHANGED_TIMES = 2, 20
MEGABYTE = 1_000_000
READER_MEGABYTES, WORKER_MEGABYTES, REDIS_MEGABYTES = 100, 250, 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; missing cells are empty."""

    what: str
    measured: str
    baseline: str = ""
    ratio: str = ""
    goal: str = ""
    met: bool | None = None


def lines(figures: Figures) -> Iterator[Line]:
    """Yield every figure as a line, rates first."""
    for record_type in figures.records:
        if record_type is not RecordType.RELEASES:
            yield Line(f"{record_type}, first load", _rate(figures.median(_first(record_type))))
            yield Line(f"{record_type}, unchanged", _rate(figures.median(_unchanged(record_type))))
    yield from _releases(figures)
    yield from _memory(figures)


def _releases(figures: Figures) -> Iterator[Line]:
    releases = RecordType.RELEASES
    first, unchanged = _first(releases), _unchanged(releases)
    yield _against(figures, "releases, first load", first, _baseline_first, FIRST_TIMES)
    yield _against(figures, "releases, unchanged", unchanged, _baseline_first, UNCHANGED_TIMES)
    yield _against(figures, "releases, both unchanged", unchanged, _baseline_unchanged)
    command = figures.median(lambda each: each.first_command[releases])
    yield Line("command, first load", _rate(command))
    command = figures.median(lambda each: each.unchanged_command[releases])
    yield Line("command, unchanged", _rate(command))
    update, reload = (
        figures.median(lambda each: each.update_seconds),
        figures.median(lambda each: each.reload_seconds),
    )
    ratio = figures.median(lambda each: each.reload_seconds / each.update_seconds)
    yield Line("next month, all types", f"{update:,.1f} s")
    yield Line("the same, first load", f"{reload:,.1f} s", ratio=f"{ratio:.1f} x")


def _against(
    figures: Figures,
    what: str,
    ours: Callable[[Round], float],
    baseline: Callable[[Round], float],
    times: int | None = None,
) -> Line:
    """Compare our rate with that of the baseline; `times` is the goal."""
    ratio = figures.median(lambda each: ours(each) / baseline(each))
    return Line(
        what,
        _rate(figures.median(ours)),
        _rate(figures.median(baseline)),
        f"{ratio:.1f} x",
        f"≥ {times} x" if times else "",
        ratio >= times if times else None,
    )


def _memory(figures: Figures) -> Iterator[Line]:
    goals = {"reader": READER_MEGABYTES, "worker": WORKER_MEGABYTES}
    for process, peak in sorted(figures.peaks.items()):
        yield _size(f"{process}, resident", peak, goals.get(process.split()[0]))
    yield _size("redis, its data", figures.redis_peak, REDIS_MEGABYTES)


def _size(what: str, size: int, megabytes: int | None) -> Line:
    return Line(
        what,
        f"{size / MEGABYTE:,.0f} MB",
        goal=f"< {megabytes} MB" if megabytes else "",
        met=size < megabytes * MEGABYTE if megabytes else None,
    )


def _first(record_type: RecordType) -> Callable[[Round], float]:
    return lambda each: each.first[record_type]


def _unchanged(record_type: RecordType) -> Callable[[Round], float]:
    return lambda each: each.unchanged[record_type]


def _baseline_first(measured: Round) -> float:
    return measured.baseline_first


def _baseline_unchanged(measured: Round) -> float:
    return measured.baseline_unchanged


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s"


_VERDICTS = {None: "", True: "[green]met[/green]", False: "[red]missed[/red]"}


def as_table(figures: Figures) -> Table:
    """Return the lines as a table; rates and ratios are medians of the rounds."""
    records = ", ".join(f"{number:,} {record_type}" for record_type, number in figures.records.items())
    table = Table(
        title=f"graphinator beside the common way: {records}; median of {len(figures.rounds)} rounds, peaks of memory",
        caption="Both goals are set on the common way's first load; `both unchanged` compares like with like. A command "
        "includes its start and `finish`.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("what")
    for heading in ("measured", "common way", "ratio", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for line in lines(figures):
        table.add_row(line.what, line.measured, line.baseline, line.ratio, line.goal, _VERDICTS[line.met])
    return table


def as_json(figures: Figures) -> dict[str, Any]:
    """Return all measurements, round by round, and the lines of the table."""
    return {**asdict(figures), "lines": [asdict(line) for line in lines(figures)]}

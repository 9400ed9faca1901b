"""The report: parts of docs/benchmarks.md, docs/operations.md and the plots, from the data in docs/benchmarks."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ops.bench import svg
from pipeline.model import RecordType

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "images"

#: One measured run, or one round of a part, as in its data file.
Data = dict[str, Any]

WAYS = {
    "ours": "graphinator",
    "afterwards": "common way, text indexes after",
    "same": "common way, same indexes",
}
PROCESSES = {"neo4j": "Neo4j", "workers": "workers", "loader": "loader", "valkey": "Valkey"}
MONTHS = {"next": "over this month's graph", "empty": "into an empty graph"}
MEGABYTE = 1_000_000
READER_MEGABYTES, WORKER_MEGABYTES = 100, 250


def data_file(part: str) -> Path:
    """Return the path of the data of a part."""
    return DOCS / "benchmarks" / f"{part}.json"


@cache
def _data(part: str) -> Data:
    return dict(json.loads(data_file(part).read_text(encoding="utf-8")))


def _rounds(part: str) -> list[Data]:
    return list(_data(part)["rounds"])


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: `least` for the ratio of two figures, or `most` where that is set."""

    what: str
    baseline: str
    ratios: Sequence[float]
    least: float = 0.0
    most: float = float("inf")
    unit: str = " x"

    @property
    def goal(self) -> str:
        """The goal as text."""
        return f"≥ {self.least:g}{self.unit}" if self.least else f"≤ {self.most:g}{self.unit}"

    @property
    def reached(self) -> bool:
        """Return True if the median reaches the goal."""
        return self.least <= median(self.ratios) <= self.most


def goals() -> Iterator[Goal]:
    """Yield the goals with what was measured."""
    unchanged = list(_unchanged())
    growth = _rounds("growth")
    releases = _data("growth")["releases"]
    yield Goal("first load of releases", WAYS["same"], _faster("same", "releases"), 5)
    yield Goal("the same", WAYS["afterwards"], _faster("afterwards", "releases"), 2.5)
    yield Goal("first load, all types together", WAYS["same"], _faster("same", "all"), 4)
    decompressing = [each["ours"]["seconds"] / each["isal"] for each in unchanged]
    yield Goal(f"{releases:,} unchanged releases", "decompressing the file alone", decompressing, most=4)
    times = [_rate(each["ours"]) / _rate(each["common"]) for each in unchanged]
    yield Goal("unchanged releases", "the common way, unchanged", times, 20)
    updates = [each["empty"]["seconds"] / each["next"]["seconds"] for each in _rounds("update")]
    yield Goal("next month over this month", "the same dumps into an empty graph", updates, 6)
    rates = [[rate for _, rate in sevenths(each)] for each in growth]
    flat = [each[-1] / each[0] for each in rates]
    yield Goal(f"rate, last seventh of {releases:,} releases", "the first seventh", flat, 0.9)
    for process, most in {"loader": READER_MEGABYTES, "worker": WORKER_MEGABYTES}.items():
        peaks = [(_peak(each["large"], process), _peak(each["small"], process)) for each in growth]
        ratio = [large / small for large, small in peaks]
        yield Goal(f"peak memory of {_a(process)}", "a tenth of the releases", ratio, most=1.1)
        sizes = [large for large, _ in peaks]
        yield Goal("the same", "", sizes, most=most, unit=" MB")


def _a(process: str) -> str:
    return f"the {process}" if process == "loader" else f"a {process}"


def summary() -> str:
    """Render the sentence of the README."""
    rates = median(_rate(each["ours"]["releases"]) for each in _rounds("first"))
    times = median(_faster("afterwards", "releases"))
    unchanged = median(_rate(each["ours"]) for each in _unchanged())
    return (
        f"On {_data('first')['machine']['cores']} cores it loads {svg.figure(rates)} releases per second into an empty "
        f"graph, {svg.figure(times)} times as many as a loader\nwritten the common way, and {svg.figure(unchanged)} per "
        "second of an unchanged dump: see the [benchmarks](docs/benchmarks.md)."
    )


def goal_table() -> str:
    """Render the goals, each with the median of the rounds and their spread."""
    rows = [
        (
            each.what,
            each.baseline,
            each.goal,
            _spread(each.ratios, each.unit),
            "reached" if each.reached else "**missed**",
        )
        for each in goals()
    ]
    return _table(("what", "beside", "goal", "measured", ""), rows)


def machine() -> str:
    """Render machine, versions and dates of the parts, parts of one run together."""
    described: dict[str, list[str]] = {}
    for part in ("first", "update", "growth", "scale"):
        data = _data(part)
        at = data["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in at["versions"].items())
        text = (
            f"{data['date']}, commit {data['commit']}: {at['cores']} cores ({at['processor']}), "
            f"{at['megabytes'] / 1024:,.0f} GB of memory, {at['system']}; {versions}; Neo4j's heap "
            f"{at['heap']:,} MB, its page cache {at['pagecache']:,} MB"
        )
        size = f"{part}: {data['releases']:,} releases, {_times(len(data['rounds']))}"
        described.setdefault(text, []).append(size)
    return "\n".join(f"- {text}. {'; '.join(parts)}." for text, parts in described.items())


def _times(rounds: int) -> str:
    return "one round" if rounds == 1 else f"{rounds} rounds"


def first_table() -> str:
    """Render the rates of first loads by type and way."""
    rows = [
        (record_type.value, *(_spread(_of_type(way, record_type), "/s") for way in WAYS))
        for record_type in RecordType
    ]
    for load, name in {
        "releases": "releases alone, whole command",
        "all": "all types, whole command",
    }.items():
        rates = [[_rate(each[way][load]) for each in _rounds("first")] for way in WAYS]
        rows.append((name, *(_spread(each, "/s") for each in rates)))
    return _table(("records per second", *WAYS.values()), rows)


def _faster(way: str, load: str) -> list[float]:
    """Return how many times as long the other way took, by round."""
    return [each[way][load]["seconds"] / each["ours"][load]["seconds"] for each in _rounds("first")]


def _of_type(way: str, record_type: RecordType) -> list[float]:
    found = [each[way]["all"]["types"][record_type] for each in _rounds("first")]
    return [each["read"] / max(each["seconds"], 1e-3) for each in found]


def processor_table() -> str:
    """Render milliseconds of processor time per record, by process and stage."""
    rows = []
    for stage, runs in _stages().items():
        times = [_milliseconds(run) for run in runs]
        rows.append((stage, *(_median_ms(times, process) for process in PROCESSES), _total_ms(times)))
    return _table(("ms per record", *PROCESSES.values(), "in all"), rows)


def _stages() -> dict[str, list[Data]]:
    unchanged, updates = list(_unchanged()), _rounds("update")
    return {
        **{
            f"first load, {name}": [each[way]["releases"] for each in _rounds("first")]
            for way, name in WAYS.items()
        },
        "unchanged, graphinator": [each["ours"] for each in unchanged],
        "unchanged, common way": [each["common"] for each in unchanged],
        "next month, graphinator": [each["next"] for each in updates],
    }


def _milliseconds(run: Data) -> dict[str, float]:
    return {name: 1000 * run["processor"].get(name, 0.0) / _records(run) for name in PROCESSES}


def _median_ms(times: Sequence[dict[str, float]], process: str) -> str:
    return f"{median(each[process] for each in times):.3f}"


def _total_ms(times: Sequence[dict[str, float]]) -> str:
    return _spread([sum(each.values()) for each in times], "")


def unchanged_table() -> str:
    """Render unchanged loads beside decompressing and reading the file."""
    unchanged, releases = list(_unchanged()), _data("growth")["releases"]
    rates = {
        "decompressing the file alone (isal)": [releases / each["isal"] for each in unchanged],
        "reading it: decompressing and cutting into records": [
            releases / each["reader"] for each in unchanged
        ],
        "graphinator, whole command": [_rate(each["ours"]) for each in unchanged],
        "the common way, the first seventh of it": [_rate(each["common"]) for each in unchanged],
    }
    return _table(
        ("unchanged releases", "per second"), [(name, _spread(each, "/s")) for name, each in rates.items()]
    )


def update_table() -> str:
    """Render the seconds of next month's dumps."""
    seconds = {name: [each[name]["seconds"] for each in _rounds("update")] for name in MONTHS}
    records = _records(_rounds("update")[0]["next"])
    rows = [(MONTHS[name], _spread(each, " s")) for name, each in seconds.items()]
    return _table((f"next month, {records:,} records", "whole command"), rows)


def growth_table() -> str:
    """Render the rate in each seventh of a long load."""
    rates = [sevenths(each) for each in _rounds("growth")]
    rows = [
        (f"{each[0][0]:,.0f}", _spread([rate for _, rate in each], "/s")) for each in zip(*rates, strict=True)
    ]
    return _table(("up to release", "releases per second since the line before"), rows)


def scale_table() -> str:
    """Render rates and busy cores by number of workers."""
    rows = []
    for workers in _rounds("scale")[0]:
        runs = [each[workers] for each in _rounds("scale")]
        busy = [sum(run["processor"].values()) / run["seconds"] for run in runs]
        rows.append((workers, _spread([_rate(run) for run in runs], "/s"), _spread(busy, "")))
    return _table(("workers", "releases, first load", "busy cores"), rows)


def memory_table() -> str:
    """Render peaks of resident memory for a short and a long load."""
    releases = _data("growth")["releases"]
    names = {"loader": "loader", "worker": "a worker", "valkey": "Valkey", "neo4j": "Neo4j"}
    rows = [
        (
            name,
            *(
                _spread([_peak(each[size], process) for each in _rounds("growth")], " MB")
                for size in ("small", "large")
            ),
        )
        for process, name in names.items()
    ]
    return _table(("peak of resident memory", f"{releases // 10:,} releases", f"{releases:,} releases"), rows)


#: Records of the dumps of August 2020, and how many times as many today's have: an assumption.
COUNTED = {
    RecordType.ARTISTS: 7_046_615,
    RecordType.LABELS: 1_571_873,
    RecordType.MASTERS: 1_734_371,
    RecordType.RELEASES: 12_867_980,
}
SINCE = 1.5
FULL_DUMPS = {record_type: round(number * SINCE, -4) for record_type, number in COUNTED.items()}
#: Share of the records of a month that are new or changed, as `update` generates them.
WRITTEN = 0.03
CORES = (2, 4, 8)


def full_table() -> str:
    """Render the minutes of a first load of the newest dumps, by type."""
    rates = _full_rates()
    rows = [
        (
            name.value,
            f"{FULL_DUMPS[name]:,.0f}",
            f"{svg.figure(rate)}/s",
            f"{FULL_DUMPS[name] / rate / 60:.0f} min",
        )
        for name, rate in rates.items()
    ]
    seconds = sum(FULL_DUMPS[name] / rate for name, rate in rates.items())
    rows.append(("all", f"{sum(FULL_DUMPS.values()):,.0f}", "", f"{seconds / 60:.0f} min"))
    return _table(("records", "of a full month", "measured rate", "first load"), rows)


def _full_rates() -> dict[RecordType, float]:
    """Return the rates of long first loads: of releases the last seventh of the growth."""
    rates = {record_type: median(_of_type("ours", record_type)) for record_type in RecordType}
    return rates | {RecordType.RELEASES: median(sevenths(each)[-1][1] for each in _rounds("growth"))}


def sizing_table() -> str:
    """Render the hours of full dumps by number of cores, the measured one first."""
    measured = int(_data("growth")["machine"]["cores"])
    loader = median(1000 / _milliseconds(each["large"])["loader"] for each in _rounds("growth"))
    unchanged = median(_rate(each["ours"]) for each in _unchanged())
    records = sum(FULL_DUMPS.values())
    rows = []
    for cores in CORES:
        rates = {name: min(rate * cores / measured, loader) for name, rate in _full_rates().items()}
        first = sum(FULL_DUMPS[name] / rate for name, rate in rates.items())
        month = records / unchanged + WRITTEN * first
        what = "rates measured, size extrapolated" if cores == measured else "extrapolated"
        rows.append(
            (str(cores), f"{svg.figure(rates[RecordType.RELEASES])}/s", _hours(first), _hours(month), what)
        )
    return _table(("cores", "releases, first load", "first load, all types", "next month", ""), rows)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


#: The generated parts of the pages, by name.
PARTS: dict[str, Callable[[], str]] = {
    "benchmark summary": summary,
    "benchmark goals": goal_table,
    "benchmark machine": machine,
    "benchmark first loads": first_table,
    "benchmark processor time": processor_table,
    "benchmark unchanged": unchanged_table,
    "benchmark update": update_table,
    "benchmark growth": growth_table,
    "benchmark workers": scale_table,
    "benchmark memory": memory_table,
    "full dumps": full_table,
    "sizing": sizing_table,
}


def images() -> dict[Path, str]:
    """Return the plots by path."""
    rates = [
        (f"{record_type}, {name}", {name: median(_of_type(way, record_type))})
        for record_type in RecordType
        for way, name in WAYS.items()
    ]
    processor = []
    for stage, runs in _stages().items():
        times = [_milliseconds(run) for run in runs]
        parts = {name: median(each[key] for each in times) for key, name in PROCESSES.items()}
        processor.append((stage, parts))
    updates = [
        (name, {"": median(each[key]["seconds"] for each in _rounds("update"))})
        for key, name in MONTHS.items()
    ]
    scale = [
        (f"workers: {workers}", {"": median(_rate(each[workers]) for each in _rounds("scale"))})
        for workers in _rounds("scale")[0]
    ]
    memory = [
        (
            f"{process}, {sizes[size]} releases",
            {process: median(_peak(each[size], process) for each in _rounds("growth"))},
        )
        for sizes in [_sizes()]
        for process in ("loader", "worker")
        for size in sizes
    ]
    growth = {f"round {number}": sevenths(each) for number, each in enumerate(_rounds("growth"), 1)}
    plots = {
        "first": svg.bars("First load, records per second", rates, "/s"),
        "processor": svg.bars("Processor time per record", processor, " ms"),
        "update": svg.bars("Next month's dumps", updates, " s"),
        "growth": svg.lines("Growth: rate while the graph grows", growth, "releases in the graph", "per s"),
        "scale": svg.bars("First load of releases, by number of workers", scale, "/s"),
        "memory": svg.bars("Peak of resident memory", memory, " MB"),
    }
    return {IMAGES / f"bench-{name}.svg": text for name, text in plots.items()}


def _sizes() -> dict[str, str]:
    """Return the sizes of the two loads of `growth`."""
    releases = _data("growth")["releases"]
    return {"small": f"{releases // 10:,}", "large": f"{releases:,}"}


def _unchanged() -> Iterator[Data]:
    for each in _rounds("growth"):
        yield from each["unchanged"]


def _records(run: Data) -> int:
    return sum(int(each["read"]) for each in run["types"].values())


def _rate(run: Data) -> float:
    """Return records per second of the whole command."""
    return _records(run) / float(run["seconds"])


def _peak(run: Data, process: str) -> float:
    return max(int(peak) for name, peak in run["peaks"].items() if name.startswith(process)) / MEGABYTE


def sevenths(measured: Data) -> list[tuple[float, float]]:
    """Return the last release of each seventh of the long load, and its rate."""
    curve: list[tuple[float, int]] = measured["large"]["curve"]
    ends = [curve[-1][1] * number / 7 for number in range(8)]
    times = [_time_of(curve, end) for end in ends]
    return [
        (end, (end - start) / (to - since))
        for (start, end), (since, to) in zip(pairwise(ends), pairwise(times), strict=True)
    ]


def _time_of(curve: Sequence[tuple[float, int]], number: float) -> float:
    """Return the time at which the graph had so many releases, interpolated."""
    for (since, fewer), (to, more) in pairwise(curve):
        if fewer <= number <= more and more > fewer:
            return float(since + (to - since) * (number - fewer) / (more - fewer))
    raise ValueError(f"the curve does not reach {number:,.0f}")


def _spread(values: Iterable[float], unit: str) -> str:
    """Return the median, with the lowest and the highest value."""
    found = sorted(values)
    middle = f"{svg.figure(median(found))}{unit}"
    return middle if len(found) == 1 else f"{middle} ({svg.figure(found[0])} to {svg.figure(found[-1])})"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

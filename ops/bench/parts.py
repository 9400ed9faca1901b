"""The parts of the benchmark, each on a stack of its own."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from isal import isal_zlib

from ops.bench.baseline import BATCH_RECORDS, parse, statement
from ops.bench.generator import GZIP, generate
from ops.bench.month import NEW, Month, next_month
from ops.bench.stack import BenchError, BenchStack, Run
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump

#: Records of a sample dump, which the generator repeats as a whole.
SAMPLE_RECORDS = 1000
#: Records of each type that both ways load before the first measurement: the server compiles its code.
WARM_UP_RECORDS = 10_000
SEED = 1
#: Workers of the stacks of `scale`.
WORKERS = (1, 2, 4)

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A part: its size, its rounds and the function that measures."""

    measure: Callable[["Measurement"], Iterator[Data]]
    releases: int
    rounds: int
    warm_up: int = WARM_UP_RECORDS


@dataclass(frozen=True, slots=True)
class Measurement:
    """A running part; `step` is called with the name of each step."""

    part: Part
    folder: Path
    on_step: Callable[[str], None]

    def step(self, number: int, name: str) -> None:
        """Show a step of round `number`."""
        self.on_step(f"round {number + 1} of {self.part.rounds}: {name}")

    def dumps(self, **copies: int) -> dict[RecordType, Path]:
        """Generate dumps with so many records of each type."""
        multiply = {RecordType(name): ceil(records / SAMPLE_RECORDS) for name, records in copies.items()}
        self.on_step("generating dumps")
        return generate(Path(tempfile.mkdtemp(dir=self.folder)), multiply, SEED)

    def all_types(self, releases: int) -> dict[RecordType, Path]:
        """Generate dumps of all types: so many releases, half as many of each other type."""
        return self.dumps(
            artists=releases // 2, labels=releases // 2, masters=releases // 2, releases=releases
        )

    @contextmanager
    def stack(self) -> Iterator[BenchStack]:
        """Start a stack and let both ways warm it up."""
        dumps = self.all_types(self.part.warm_up).values()
        self.on_step("starting the stack")
        with BenchStack() as stack:
            self.on_step("warming up")
            for load in (stack.load, stack.load_common):
                load(*dumps)
                stack.empty()
            yield stack


def measure(part: Part, on_step: Callable[[str], None]) -> Data:
    """Run a part and return its data, with machine and date."""
    with tempfile.TemporaryDirectory(prefix="graphinator-bench-") as folder:
        running = Measurement(part, Path(folder), on_step)
        rounds = running.part.measure(running)
        head = next(rounds)
        return {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": _commit(),
            "machine": head,
            "releases": part.releases,
            "rounds": list(rounds),
        }


def _commit() -> str:
    """Return the commit that is measured; empty outside of a clone."""
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def first(running: Measurement) -> Iterator[Data]:
    """Yield first loads: releases alone and all types, by three ways in turns."""
    dumps = running.all_types(running.part.releases)
    loads = {"releases": [dumps[RecordType.RELEASES]], "all": [*dumps.values()]}
    with running.stack() as stack:
        yield stack.machine()
        ways: dict[str, Callable[..., Run]] = {
            "ours": stack.load,
            "same": stack.load_common,
            "afterwards": lambda *paths: stack.load_common(*paths, text_indexes=True),
        }
        for number in range(running.part.rounds):
            measured: Data = {way: {} for way in ways}
            for way in _turned([*ways], number):
                for name, paths in loads.items():
                    running.step(number, f"{way}, {name}")
                    stack.empty(text_indexes=way == "same")
                    measured[way][name] = _plain(_created(ways[way](*paths)))
            yield measured


def update(running: Measurement) -> Iterator[Data]:
    """Yield loads of next month's dumps, over this month's graph and into an empty one."""
    this = running.all_types(running.part.releases)
    months = _next_month(running, this)
    with running.stack() as stack:
        yield stack.machine()
        for number in range(running.part.rounds):
            measured: Data = {}
            for name in _turned(["next", "empty"], number):
                stack.empty()
                if name == "next":
                    running.step(number, "this month")
                    stack.load(*this.values())
                running.step(number, f"next month: {name}")
                run = stack.load(*(month.path for month in months.values()))
                for record_type, month in months.items():
                    _check_month(run.printed[record_type], month, updated=name == "next")
                measured[name] = _plain(run)
            yield measured


def growth(running: Measurement) -> Iterator[Data]:
    """Yield a short load, a long one, and unchanged loads after it."""
    releases = running.part.releases
    sizes = {"small": releases // 10, "large": releases, "seventh": releases // 7}
    dumps = {name: running.dumps(releases=records)[RecordType.RELEASES] for name, records in sizes.items()}
    for number in range(running.part.rounds):
        with running.stack() as stack:
            if not number:
                yield stack.machine()
            measured: Data = {}
            for name in ("small", "large"):
                running.step(number, f"{name} load")
                stack.empty()
                stack.workers()
                curve: list[tuple[float, int]] = []
                with stack.counted(curve):
                    run = _created(stack.load(dumps[name]))
                measured[name] = {**_plain(run), "peaks": run.peaks, "curve": _thinned(curve)}
            running.step(number, "hashes for the common way")
            _set_hashes(stack, dumps["seventh"])
            measured["unchanged"] = []
            for turn in range(2):
                running.step(number, f"unchanged, {turn + 1} of 2")
                measured["unchanged"].append(_unchanged(stack, dumps["large"], dumps["seventh"], turn))
        yield measured


def scale(running: Measurement) -> Iterator[Data]:
    """Yield first loads of releases by 1, 2 and 4 workers."""
    dump = running.dumps(releases=running.part.releases)[RecordType.RELEASES]
    with running.stack() as stack:
        yield stack.machine()
        for number in range(running.part.rounds):
            measured: Data = {}
            for workers in _turned([*WORKERS], number):
                running.step(number, f"workers: {workers}")
                stack.empty()
                stack.workers(workers)
                measured[str(workers)] = _plain(_created(stack.load(dump)))
            yield measured


def ratios(running: Measurement) -> Iterator[Data]:
    """Yield ratios of short loads to their baselines, by the loads' own clocks."""
    dump = running.dumps(releases=running.part.releases)[RecordType.RELEASES]
    with running.stack() as stack:
        yield stack.machine()
        for number in range(running.part.rounds):
            seconds: dict[str, float] = {}
            for way in _turned(["ours", "same", "afterwards"], number):
                running.step(number, way)
                stack.empty(text_indexes=way == "same")
                load = stack.load if way == "ours" else stack.load_common
                seconds[way] = _own_seconds(_created(load(dump)))
                if way != "afterwards":
                    seconds[f"{way} unchanged"] = _own_seconds(load(dump))
            yield {
                "first load / common way": seconds["same"] / seconds["ours"],
                "first load / common way, no full-text index": seconds["afterwards"] / seconds["ours"],
                "unchanged / common way": seconds["same unchanged"] / seconds["ours unchanged"],
                # Both take a tenth of a second: the best of several is not disturbed.
                "reading / decompressing": min(_decompressing(dump) for _ in range(5))
                / min(_reading(dump) for _ in range(5)),
            }


#: By name; `ratios` is the short one, which `make bench-quick` repeats.
PARTS = {
    "first": Part(first, 30_000, 5),
    "update": Part(update, 30_000, 5),
    "growth": Part(growth, 700_000, 3),
    "scale": Part(scale, 30_000, 3),
    "ratios": Part(ratios, 5000, 3, warm_up=3000),
}


def resized(part: Part, releases: int | None, rounds: int | None) -> Part:
    """Return the part with another size or another number of rounds."""
    size = releases or part.releases
    return replace(part, releases=size, rounds=rounds or part.rounds, warm_up=min(part.warm_up, size))


def _turned(items: list[Any], number: int) -> list[Any]:
    """Return the items, the other way round in every second round."""
    return items[::-1] if number % 2 else items


def _plain(run: Run) -> Data:
    """Return what the report needs of a run."""
    types = {
        name: {"read": each["read"], "seconds": round(each["seconds"], 3)}
        for name, each in run.printed.items()
        if isinstance(each, dict) and each["read"]
    }
    processor = {name: round(seconds, 2) for name, seconds in run.processor.items()}
    return {"seconds": round(run.seconds, 3), "types": types, "processor": processor}


def _own_seconds(run: Run) -> float:
    return float(run.printed["releases"]["seconds"])


def _created(run: Run) -> Run:
    """Return the run. Raises BenchError unless it created every record."""
    for each in run.printed.values():
        if isinstance(each, dict) and each["read"] != each.get("written", each.get("created")):
            raise BenchError(f"a first load has unexpected counts: {run.printed}")
    return run


def _unchanged(stack: BenchStack, dump: Path, seventh: Path, turn: int) -> Data:
    """Measure an unchanged load, the common way's, and decompressing the file alone."""
    found: Data = {}
    for name in _turned(["ours", "common", "isal"], turn):
        if name == "isal":
            found |= {"isal": _decompressing(dump), "reader": _reading(dump)}
            continue
        run = stack.load(dump) if name == "ours" else stack.load_common(seventh)
        counts = run.printed["releases"]
        if counts["read"] != counts.get("unchanged", counts["read"] - counts.get("written", 0)):
            raise BenchError(f"an unchanged load has unexpected counts: {run.printed}")
        found[name] = _plain(run)
    return found


def _decompressing(dump: Path) -> float:
    """Return the seconds that decompressing the file takes."""
    started = time.perf_counter()
    inflate = isal_zlib.decompressobj(wbits=GZIP)
    with dump.open("rb") as file:
        while block := file.read(1 << 20):
            inflate.decompress(block)
    return time.perf_counter() - started


def _reading(dump: Path) -> float:
    """Return the seconds that decompressing the file and cutting it into records take."""
    started = time.perf_counter()
    with open_dump(dump) as opened:
        for _ in opened.chunks(1000, 3 * 2**20):
            pass
    return time.perf_counter() - started


def _set_hashes(stack: BenchStack, dump: Path) -> None:
    """Give the releases of the graph the hashes that the common way compares."""
    records = parse(dump, RecordType.RELEASES)
    text = statement("set_hashes", RecordType.RELEASES.label)
    with stack.session() as session:
        while batch := list(islice(records, 10 * BATCH_RECORDS)):
            rows = [{"id": record["id"], "sha256": record["sha256"]} for record in batch]
            session.run(text, rows=rows).consume()


def _thinned(curve: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return about fifty points, from the last one without a record to the end."""
    start = max((index for index, (_, number) in enumerate(curve) if not number), default=0)
    last = max(number for _, number in curve)
    end = next(index for index, (_, number) in enumerate(curve) if number == last)
    step = max(1, (end - start) // 50)
    kept = [*curve[start:end:step], curve[end]]
    return [(round(seconds - kept[0][0], 2), number) for seconds, number in kept]


def _check_month(counts: Data, month: Month, *, updated: bool) -> None:
    expected = (month.new, month.changed, month.vanished) if updated else (month.records, 0, 0)
    if (counts["created"], counts["changed"], counts["vanished"]) != expected:
        raise BenchError(f"a load has unexpected counts (expected {expected}): {counts}")


def _next_month(running: Measurement, this: Mapping[RecordType, Path]) -> dict[RecordType, Month]:
    """Generate next month's dumps from the same seed."""
    records = {
        each: ceil(running.part.releases / (1 if each is RecordType.RELEASES else 2) / SAMPLE_RECORDS)
        * SAMPLE_RECORDS
        for each in this
    }
    longer = running.dumps(**{each.value: ceil(number * (1 + NEW)) for each, number in records.items()})
    folder = Path(tempfile.mkdtemp(dir=running.folder))
    return {
        each: next_month(longer[each], number, folder / longer[each].name, SEED)
        for each, number in records.items()
    }

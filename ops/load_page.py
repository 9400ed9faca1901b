"""The page of `graphinator report --html`: tables and plots of a load."""

import html
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from ops.commands.report import (
    Facts,
    Table,
    changes_table,
    graph_changes,
    heading,
    problems,
    reasons_table,
    records_table,
    work_table,
)
from ops.pages import Spec, page

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
HEIGHT = 200
#: Points of a line.
POINTS = 60
#: A shorter time shows single batches.
SHORTEST_SECONDS = 0.5
_QUANTITY = {"type": "quantitative"}


def load_page(told: Sequence[Facts]) -> str:
    """Return the page for the reports of `read_reports`."""
    plots = dict(_plots(told))
    sections = [
        f'<section><h2>{html.escape(title)}</h2><div id="{id_}" class="plot"></div></section>'
        for id_, (title, _) in plots.items()
    ]
    body = [
        *(f"<p><strong>{html.escape(problem)}</strong></p>" for problem in problems(told)),
        _table(records_table(told), names=3),
        f'<div class="plots">{"".join(sections)}</div>',
        "<h2>Batches and memory</h2>",
        _table(work_table(told), names=3),
    ]
    if changes := changes_table(told):
        body += ["<h2>Graph</h2>", _table(changes, names=1)]
    if reasons := reasons_table(told):
        body += ["<h2>Quarantine</h2>", _table(reasons, names=2)]
    paths = ", ".join(Path(facts["path"]).name for facts in told)
    body.append(f'<p class="faint">{html.escape(paths)}. Times are in UTC.</p>')
    specs = {id_: spec for id_, (_, spec) in plots.items()}
    return page(f"graphinator: {heading(told)}", "\n".join(body), specs)


def _plots(told: Sequence[Facts]) -> Iterator[tuple[str, tuple[str, Spec]]]:
    """Yield the plots by id, with their titles."""
    points = [*_points(told)]
    longest = max((point["seconds"] for point in points), default=0.0)
    seconds, unit = next(
        (each for each in ((3600, "hours"), (60, "minutes")) if longest >= 3 * each[0]), (1, "seconds")
    )
    for point in points:
        point["time"] = round(point["seconds"] / seconds, 3)
    x = {"field": "time", "title": f"{unit} since the start", "scale": {"domainMin": 0}, **_QUANTITY}
    color = {
        "field": "records",
        "type": "nominal",
        "title": None,
        "sort": [facts["record_type"] for facts in told],
    }

    def over_time(name: str, title: str, *, mark: Spec, by: Spec = color) -> Spec:
        values = [point for point in points if point.get(name) is not None]
        return _spec(values, mark, {"x": x, "y": _y(name, title), "color": by})

    line = {"type": "line", "interpolate": "monotone", "tooltip": True}
    # A speed is the mean since the point before.
    steps = {**line, "interpolate": "step-before"}
    yield "speed", ("Records done per second", over_time("per_second", "records per second", mark=steps))
    yield "batches", ("Time of a batch", over_time("batch_seconds", "seconds", mark={**line, "point": True}))
    if any(point["retries"] for point in points):
        bars = {"type": "bar", "width": 3, "tooltip": True}
        yield "retries", ("Retries of batches", over_time("retries", "retries", mark=bars))
    memory = [
        {"time": point["time"], "process": process, "megabytes": point[field]}
        for point in points
        for process, field in (("load", "load_megabytes"), ("worker, mean", "worker_megabytes"))
        if point.get(field)
    ]
    by_process = {"field": "process", "title": None}
    yield (
        "memory",
        (
            "Resident memory",
            _spec(memory, line, {"x": x, "y": _y("megabytes", "MB"), "color": by_process}),
        ),
    )
    yield from _changes(told)
    if any(facts["before"] for facts in told):
        speeds = [
            {"records": facts["record_type"], "load": load, "per_second": each["per_second"]}
            for facts in told
            for load, each in (("this load", facts), ("the one before", facts["before"]))
            if each is not None
        ]
        encoding = _grouped(
            "records", "per_second", "records per second", "load", ["the one before", "this load"]
        )
        yield "comparison", ("Beside the load before", _spec(speeds, _BAR, encoding))


_BAR = {"type": "bar", "tooltip": True}


def _changes(told: Sequence[Facts]) -> Iterator[tuple[str, tuple[str, Spec]]]:
    outcomes = ["created", "changed", "vanished", "quarantined"]
    records = [
        {"records": facts["record_type"], "outcome": outcome, "number": facts[outcome]}
        for facts in told
        for outcome in outcomes
    ]
    encoding = _grouped("records", "number", "records", "outcome", outcomes)
    yield "records", ("Records that changed", _spec(records, _BAR, encoding))
    if changes := graph_changes(told):
        bars = {
            "y": {"field": "name", "title": None, "sort": None},
            "x": _y("change", "more, or less, than before"),
            "color": {"field": "kind", "title": None},
        }
        yield "graph", ("Nodes and relationships", _spec(changes, _BAR, bars, height=16 * len(changes)))
    reasons = [
        {"records": facts["record_type"], "reason": reason, "number": number}
        for facts in told
        for reason, number in facts["reasons"].items()
    ]
    if reasons:
        bars = {
            "y": {"field": "reason", "title": None, "sort": "-x", "axis": {"labelLimit": 160}},
            "x": _y("number", "records"),
            "color": {"field": "records", "title": None},
        }
        yield (
            "quarantine",
            ("Quarantined records by reason", _spec(reasons, _BAR, bars, height=20 * len(reasons))),
        )


def _points(told: Sequence[Facts]) -> Iterator[Facts]:
    """Yield what happened between two samples of each run.

    `seconds` are those since the first run began.
    """
    for facts in told:
        samples = facts["samples"]
        every = samples[:: max(1, len(samples) // POINTS)]
        kept = [each for each in every if each["seconds"] >= SHORTEST_SECONDS] + samples[-1:]
        zero = dict.fromkeys(samples[0], 0) if samples else {}
        for before, after in pairwise([zero, *kept]):
            passed = after["seconds"] - before["seconds"]
            if passed <= 0:
                continue
            more = {name: after[name] - before[name] for name in after}
            done = sum(more[outcome] for outcome in ("unchanged", "created", "changed", "quarantined"))
            batches = more["batches"]
            yield {
                "records": facts["record_type"],
                "seconds": facts["started"] - told[0]["started"] + after["seconds"],
                "per_second": round(done / passed, 1),
                "batch_seconds": round(more["batch_milliseconds"] / batches / 1000, 3) if batches else None,
                "retries": more["retries"],
                "load_megabytes": after["load_megabytes"],
                "worker_megabytes": round(more["worker_megabytes"] / batches) if batches else None,
            }


def _spec(values: Sequence[Facts], mark: Spec, encoding: Spec, height: int = HEIGHT) -> Spec:
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": height,
        "data": {"values": values},
        "mark": mark,
        "encoding": encoding,
    }


def _y(field: str, title: str) -> Spec:
    return {"field": field, "title": title, "axis": {"tickCount": 5}, **_QUANTITY}


def _grouped(x: str, y: str, title: str, group: str, order: Sequence[str]) -> Spec:
    """Return the encoding of bars side by side."""
    return {
        "x": {"field": x, "title": None, "sort": None, "axis": {"labelAngle": 0}},
        "y": _y(y, title),
        "xOffset": {"field": group, "sort": order},
        "color": {"field": group, "type": "nominal", "title": None, "sort": order},
    }


def _table(table: Table, *, names: int) -> str:
    """Return a table as HTML; its first columns are names."""
    headings, rows = table
    cells = [
        [*row_names, *(f"{each:,}" if isinstance(each, int) else each for each in rest)]
        for row_names, rest in rows
    ]
    lines = [_row("th", headings, names), *(_row("td", row, names) for row in cells)]
    return f'<div class="table"><table>{"".join(lines)}</table></div>'


def _row(tag: str, cells: Sequence[str], names: int) -> str:
    kinds = [' class="text"'] * names + [""] * (len(cells) - names)
    texts = [f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)]
    return f"<tr>{''.join(texts)}</tr>"

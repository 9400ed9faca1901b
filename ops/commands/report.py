"""`graphinator report`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from ops.commands.console import counted, duration, plain_console, print_line, print_table, utc
from ops.commands.context import Context
from ops.commands.status import described, print_heading
from ops.extras import need
from workers.app import connect_redis
from workers.state.in_flight import InFlight
from workers.state.runs import Run, Runs

Facts = dict[str, Any]
Table = tuple[Sequence[str], Sequence[tuple[Sequence[str], Sequence[int | str]]]]


@click.command(short_help="Show what a load did, beside the one before.")
@click.argument("run", required=False)
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with plots.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print the report as one line of JSON.")
@click.pass_obj
def report(context: Context, run: str | None, page: Path | None, as_json_: bool) -> None:
    """Show what a load did, and the load of each record type before it.

    RUN is the load of one dump, as `graphinator status` names it; by default, all dumps of the last load are shown. Loads
    are kept for 400 days.

    The page has plots of the speed, the batches, the memory, the changes and the quarantine over time. It is one file
    that needs no network.
    """
    if page is not None:
        need("pages")
    redis = connect_redis(context.connected())
    told = [*read_reports(Runs(redis), run, InFlight(redis).batches())]
    if page is not None:
        from ops.load_page import load_page  # noqa: PLC0415 - of the extra `pages`

        page.write_text(load_page(told), encoding="utf-8")
        print_line(f"written: {page}", stderr=as_json_)
    if as_json_:
        click.echo(json.dumps(told))
    elif page is None:
        print_report(plain_console(), told, context)


def read_reports(runs: Runs, name: str | None, in_flight: set[str]) -> Iterator[Facts]:
    """Yield the reports of a run, or of the last load, as JSON.

    docs/reference/commands.md has the fields. Raises UsageError for an unknown run.
    """
    begun = [run for run in runs if run.reading is not None]
    if name is None and begun:
        chosen = [run for run in begun if run.plan.holder == begun[-1].plan.holder]
    else:
        chosen = [run for run in begun if run.name == name]
    if not chosen:
        raise click.UsageError(
            "there is no load yet"
            if name is None
            else f"no load is called {name}: `graphinator status` names them"
        )
    for run in chosen:
        earlier = [
            each
            for each in begun[: begun.index(run)]
            if each.record_type is run.record_type and each.end is not None
        ]
        before = _facts(runs, earlier[-1], in_flight) if earlier else None
        yield {**_facts(runs, run, in_flight), "before": before}


def _facts(runs: Runs, run: Run, in_flight: set[str]) -> Facts:
    end = run.end
    return {
        **described(run, in_flight),
        "work": run.work.as_dict(),
        "reasons": {} if end is None else end.reasons,
        "graph_before": None if end is None else msgspec.to_builtins(end.graph_before),
        "graph_after": None if end is None else msgspec.to_builtins(end.graph_after),
        "samples": [
            {
                "seconds": each.seconds,
                "read": each.read,
                **each.tally.as_dict(),
                **each.work.as_dict(),
                "batches_in_flight": each.batches_in_flight,
                "load_megabytes": each.load_megabytes,
            }
            for each in runs.samples(run.name)
        ],
    }


def print_report(console: Console, told: Sequence[Facts], context: Context) -> None:
    """Print reports as tables."""
    print_heading(console, heading(told))
    print_table(console, *records_table(told))
    print_heading(console, "batches and memory")
    print_table(console, *work_table(told))
    if changes := changes_table(told):
        print_heading(console, "graph")
        print_table(console, *changes)
    if reasons := reasons_table(told):
        print_heading(console, "quarantine")
        print_table(console, *reasons)
        console.print(f"`{context.command('quarantine list')}` shows what is still in it")
    for problem in problems(told):
        console.print(problem)


def heading(told: Sequence[Facts]) -> str:
    """Return what was loaded, and when."""
    return f"load of {counted(len(told), 'dump')}, {_time(told[0])} UTC"


def records_table(told: Sequence[Facts]) -> Table:
    """Return a table of records by outcome, each load above the one before it."""
    outcomes = "read", "unchanged", "created", "changed", "vanished", "quarantined"
    rows = [
        (
            _names(facts),
            (
                *(facts[outcome] for outcome in outcomes),
                "-" if facts["seconds"] is None else duration(facts["seconds"]),
                "-" if facts["seconds"] is None else facts["per_second"],
            ),
        )
        for facts in _with_those_before(told)
    ]
    return ("records", "load", "state", *outcomes, "time", "per s"), rows


def work_table(told: Sequence[Facts]) -> Table:
    """Return a table of batches and memory."""
    rows = []
    for facts in _with_those_before(told):
        work, memory = facts["work"], [each["load_megabytes"] for each in facts["samples"]]
        batches = work["batches"]
        numbers = (
            batches,
            f"{work['batch_milliseconds'] / batches / 1000:.2f}" if batches else "-",
            work["retries"],
            max(memory, default=0) or "-",
            round(work["worker_megabytes"] / batches) if batches else "-",
        )
        rows.append((_names(facts), numbers))
    return ("records", "load", "state", "batches", "s each", "retries", "load MB", "worker MB"), rows


def changes_table(told: Sequence[Facts]) -> Table | None:
    """Return a table of what the graph has more or less than before."""
    changes = graph_changes(told)
    rows = [((each["name"],), (each["before"], each["after"], f"{each['change']:+,}")) for each in changes]
    return (("", "before", "after", "change"), rows) if rows else None


def graph_changes(told: Sequence[Facts]) -> list[Facts]:
    """Return the labels and relationship types whose numbers a load has changed."""
    before, after = told[0]["graph_before"], told[-1]["graph_after"]
    if before is None or after is None:
        return []
    return [
        {"kind": kind, "name": name, "before": then, "after": now, "change": now - then}
        for kind in ("nodes", "relationships")
        for name, now in after[kind].items()
        if now != (then := before[kind].get(name, 0))
    ]


def reasons_table(told: Sequence[Facts]) -> Table | None:
    """Return a table of the reasons of quarantined records."""
    rows = [
        ((facts["record_type"], reason), (records,))
        for facts in told
        for reason, records in facts["reasons"].items()
    ]
    return (("records", "reason", "number"), rows) if rows else None


def problems(told: Sequence[Facts]) -> list[str]:
    """Return why loads are incomplete."""
    return [f"{Path(facts['path']).name}: {problem}" for facts in told for problem in facts["problems"]]


def _with_those_before(told: Sequence[Facts]) -> Iterator[Facts]:
    for facts in told:
        yield facts
        if facts["before"] is not None:
            yield facts["before"]


def _names(facts: Facts) -> tuple[str, str, str]:
    return facts["record_type"], _time(facts), facts["state"]


def _time(facts: Facts) -> str:
    return utc(facts["started"], "minutes").removesuffix("+00:00").replace("T", " ")

"""`graphinator status`."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ops.commands.console import counted, plain_console, print_table, utc
from ops.commands.context import Context
from ops.stack.stack import Stack
from ops.stack.state import read_endpoints
from ops.stack.worker_process import active_workers
from pipeline.errors import GraphError
from pipeline.graph.summary import node_counts, relationship_counts
from workers.app import connect_inbox, connect_quarantine, connect_redis
from workers.state.in_flight import InFlight
from workers.state.keys import REJECTED_MESSAGES
from workers.state.runs import Run, Runs, RunState
from workers.state.statistics import Freshness, Statistics, StatisticsState
from workers.upstream.inbox import Inbox, Waiting
from workers.worker import open_driver

#: Newest runs in the text; `--json` has all.
SHOWN_RUNS = 12
#: Short, because a Neo4j that is away is part of the status.
NEO4J_SECONDS = 3.0


@click.command(short_help="Show workers, loads and the size of the graph.")
@click.option("--json", "as_json_", is_flag=True, help="Print the status as JSON.")
@click.pass_obj
def status(context: Context, as_json_: bool) -> None:
    """Show workers, loads, batches in flight, statistics and the size of the graph."""
    found = read_status(context)
    problem: GraphError | None = None
    try:
        found |= read_graph(context)
    except GraphError as error:
        problem = error  # raised after the rest is printed
    if as_json_:
        click.echo(json.dumps(found))
    else:
        print_status(plain_console(), found, context)
    if problem is not None:
        raise problem


def read_status(context: Context) -> dict[str, Any]:
    """Return `stack`, `workers`, `runs`, `batches_in_flight`, `quarantined`, `rejected_messages` and `statistics`.

    `stack` is null without a running stack, else the object of `up --json` plus `idle_workers`, the numbers of workers
    that take no work. `workers` lists the names of active workers; it is present only if the settings name other
    servers. `statistics` has `state`, `fresh` or `stale`, `at`: the time of the last count if fresh, else since when
    they are stale if known, and `rebuild`: true if derived relationships are stale too. Without any servers only
    `stack` is present.
    """
    endpoints = read_endpoints(context.settings.home)
    settings = context.connected()
    status: dict[str, Any] = {"stack": None}
    if endpoints is not None:
        status["stack"] = {**endpoints.to_json(), "idle_workers": Stack(context.settings).idle_workers()}
    elif settings.redis_url is not None and settings.neo4j_uri is not None:
        with context.app() as app:
            status["workers"] = sorted(active_workers(app))
    if settings.redis_url is not None:
        redis = connect_redis(settings)
        in_flight = InFlight(redis).batches()
        status["runs"] = [described(run, in_flight) for run in Runs(redis)]
        status["upstream"] = upstream(Runs(redis), connect_inbox(settings, redis), in_flight)
        status["batches_in_flight"] = len(in_flight)
        status["quarantined"] = len(connect_quarantine(settings, redis))
        status["rejected_messages"] = redis.llen(REJECTED_MESSAGES)
        status["statistics"] = asdict(StatisticsState(redis).get())
    return status


def read_graph(context: Context) -> dict[str, Any]:
    """Return `nodes` and `relationships`, or an empty object without a Neo4j."""
    if context.connected().neo4j_uri is None:
        return {}
    nodes, relationships = asyncio.run(_counts(context))
    return {"nodes": nodes, "relationships": relationships}


def described(run: Run, in_flight: set[str]) -> dict[str, Any]:
    """Return one run as JSON; `in_flight` are the batches in flight."""
    end = run.end
    return {
        "run": run.name,
        "record_type": run.record_type.value,
        "state": run.state.value,
        "path": run.plan.path,
        "at": run.plan.at,
        "read": 0 if run.reading is None else run.reading.records,
        **run.tally.as_dict(),
        "vanished": 0 if end is None else end.vanished,
        "batches_in_flight": sum(batch.startswith(f"{run.name}-") for batch in in_flight),
        "problems": [] if end is None else end.problems,
    }


def upstream(runs: Runs, inbox: Inbox, in_flight: set[str]) -> list[dict[str, Any]]:
    """Return the records of upstream tasks as JSON, by type that has any."""
    waiting = inbox.waiting()
    found = []
    for each in runs.upstream():
        waits = waiting.get(each.record_type, Waiting(0, 0.0))
        batches = sorted(batch for batch in in_flight if batch.startswith(f"{each.run}-"))
        if waits.records or batches or each.tally.read or each.not_kept:
            numbers = {"waiting": waits.records, "waiting_seconds": round(waits.seconds, 1)}
            counts = {**each.tally.as_dict(), "lost": each.not_kept, "batches": batches}
            found.append({"run": each.run, "record_type": each.record_type.value, **numbers, **counts})
    return found


async def _counts(context: Context) -> tuple[dict[str, int], dict[str, int]]:
    async with open_driver(context.connected(), patience_seconds=NEO4J_SECONDS) as driver:
        return await node_counts(driver), await relationship_counts(driver)


def print_status(console: Console, status: dict[str, Any], context: Context) -> None:
    """Print the status as text."""
    stack = status["stack"]
    if "workers" in status:
        workers = status["workers"]
        console.print(f"{counted(len(workers), 'worker')} {'takes' if len(workers) == 1 else 'take'} work")
        for name in workers:
            console.print(f"  {name}")
    elif stack is None:
        console.print(f"the stack is not running: `{context.command('up')}` starts it")
    else:
        neo4j = stack["neo4j"]
        console.print(f"{counted(stack['workers'], 'worker')}, Neo4j at {neo4j['uri']} ({neo4j['browser']})")
        for number in stack["idle_workers"]:
            log = Path(stack["home"]) / "logs" / f"worker{number}.log"
            console.print(
                f"worker {number} takes no work: `{context.command('up')}` replaces it; its log: {log}"
            )
    if status.get("runs"):
        print_runs(console, status["runs"], context)
    if "batches_in_flight" in status:
        console.print(
            f"{counted(status['batches_in_flight'], 'batch')} in flight, "
            f"{counted(status['quarantined'], 'record')} quarantined"
        )
    if status.get("rejected_messages"):
        console.print(
            f"{counted(status['rejected_messages'], 'message')} rejected, since no worker can handle them: "
            f"see the Redis list {REJECTED_MESSAGES}"
        )
    if "statistics" in status:
        print_statistics(console, Statistics(**status["statistics"]), context)
    if "nodes" in status:
        print_counts(console, status["nodes"], status["relationships"])


def print_runs(console: Console, runs: list[dict[str, Any]], context: Context) -> None:
    """Print the newest runs and their problems."""
    headings = ("load", "state", "read", "unchanged", "written", "vanished", "quarantined", "in flight")
    rows = []
    for run in runs[-SHOWN_RUNS:]:
        numbers = (
            run["read"], run["unchanged"], run["created"] + run["changed"], run["vanished"], run["quarantined"],
            run["batches_in_flight"],
        )  # fmt: skip
        name = Path(run["path"]).name
        rows.append(((f"{run['record_type']}: {name}", run["state"]), numbers))
    print_table(console, headings, rows)
    for run in runs[-SHOWN_RUNS:]:
        for problem in run["problems"]:
            console.print(f"{run['run']}: {problem}")
    if any(run["state"] == RunState.STALLED for run in runs):
        console.print(f"`{context.command('resume')}` continues stalled loads")


def print_statistics(console: Console, statistics: Statistics, context: Context) -> None:
    """Print the age of the statistics in the graph."""
    at = "" if statistics.at is None else utc(statistics.at)
    if statistics.state is Freshness.FRESH:
        console.print(f"statistics as of {at}")
    else:
        since = at and f" since {at}"
        what = "derived relationships and statistics" if statistics.rebuild else "statistics"
        console.print(f"{what} stale{since}: `{context.command('finish')}` updates them")


def print_counts(console: Console, nodes: dict[str, int], relationships: dict[str, int]) -> None:
    """Print the numbers of nodes by label and of relationships by type."""
    for title, counts in (("nodes", nodes), ("relationships", relationships)):
        parts = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
        console.print(f"{title}: {parts or 'none'}")

"""`graphinator status`."""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from rich.console import Console

from ops.commands.console import counted, duration, plain_console, print_line, print_table, utc
from ops.commands.context import SERVER_SECONDS, Context
from ops.commands.load import print_warnings
from ops.exit_codes import ExitCode, fact_of, failure_of
from ops.stack.stack import KEEPER, Stack
from ops.stack.state import FLOWER, NAMES, SERVERS, Endpoints, Running, load_state, running
from ops.stack.worker_process import active_workers
from pipeline.errors import GraphError
from pipeline.graph.schema import missing_text_indexes
from pipeline.graph.summary import node_counts, relationship_counts
from workers.app import connect_inbox, connect_quarantine, connect_redis
from workers.settings import Settings
from workers.state.in_flight import InFlight
from workers.state.keys import REJECTED_MESSAGES
from workers.state.runs import Run, Runs, RunState
from workers.state.statistics import Statistics, StatisticsState
from workers.upstream.inbox import Inbox, Waiting
from workers.worker import open_driver

#: Loads in the text; `--json` has all.
SHOWN_RUNS = 4


@click.command(short_help="Show servers, workers, loads and the graph.")
@click.option("--json", "as_json_", is_flag=True, help="Print the status as JSON.")
@click.option("--check", is_flag=True, help="Print only what is wrong; the exit code is 10 if something is.")
@click.pass_context
def status(ctx: click.Context, as_json_: bool, check: bool) -> None:
    """Show servers, workers, loads, records that wait, and the size of the graph.

    With --check, one line is printed for each of these: no stack, a server or the keeper that is down, fewer workers
    than `graphinator up` was asked for, and a record type whose newest load has stalled or failed. With servers of your
    own, a missing worker is noticed when none is left.
    """
    context: Context = ctx.obj
    found, errors = read_status(context)
    faults = found["faults"]
    if as_json_:
        click.echo(json.dumps(found))
    elif check:
        for fault in faults:
            print_line(fault)
    else:
        print_status(plain_console(), found, context)
    if check and faults:
        ctx.exit(ExitCode.UNHEALTHY)
    for error in errors:
        failure = failure_of(error)
        ctx.exit(ExitCode.FAILED if failure is None else failure.code)


def read_status(context: Context) -> tuple[dict[str, Any], list[Exception]]:
    """Return the status as JSON, and the errors of servers that do not answer.

    docs/reference/commands.md has the fields.
    """
    errors: list[Exception] = []
    settings, found = context.settings, running(context.settings.home)
    stack = read_stack(settings.home, found)
    status: dict[str, Any] = {"stack": None}
    if stack is not None:
        settings = stack.connect(settings)
        extra = {"running": found.roles, "wanted_workers": found.wanted_workers, "idle_workers": []}
        status["stack"] = {**stack.to_json(), **extra}
    if context.settings.redis_url is not None or "valkey" in found.roles:
        try:
            status |= read_redis(settings)
            if stack is not None:
                status["stack"]["idle_workers"] = Stack(context.settings).idle_workers()
            elif context.settings.redis_url is not None:
                with context.app() as app:
                    status["workers"] = sorted(active_workers(app))
        except (RedisError, OperationalError) as error:
            errors.append(error)
    # Before the first `up` has ended, nobody has the password of Neo4j.
    if settings.neo4j_uri is not None and (stack is None or "neo4j" in found.roles):
        try:
            status |= asyncio.run(read_graph(settings))
        except GraphError as error:
            errors.append(error)
    status["faults"] = [*faults(status, context), *map(fact_of, errors)]
    return status, errors


def read_stack(home: Path, found: Running) -> Endpoints | None:
    """Return the embedded stack if any of its processes runs."""
    state = load_state(home)
    return Endpoints.from_state(home, state, len(found.workers())) if found.roles and state.ports else None


def read_redis(settings: Settings) -> dict[str, Any]:
    """Return the state of the work in Redis."""
    redis = connect_redis(settings, patient=False)
    in_flight, runs = InFlight(redis).batches(), Runs(redis)
    return {
        "runs": [described(run, in_flight) for run in runs],
        "upstream": upstream(runs, connect_inbox(settings, redis), in_flight),
        "batches_in_flight": len(in_flight),
        "quarantined": len(connect_quarantine(settings, redis)),
        "rejected_messages": redis.llen(REJECTED_MESSAGES),
        "statistics": asdict(StatisticsState(redis).get()),
    }


async def read_graph(settings: Settings) -> dict[str, Any]:
    """Return the numbers of nodes by label and of relationships by type."""
    async with open_driver(settings, patience_seconds=SERVER_SECONDS) as driver:
        return {
            "nodes": await node_counts(driver),
            "relationships": await relationship_counts(driver),
            "missing_indexes": await missing_text_indexes(driver),
        }


def described(run: Run, in_flight: set[str]) -> dict[str, Any]:
    """Return one run as JSON; `in_flight` are the batches in flight."""
    batches = _batches_of(run.name, in_flight)
    started = None if run.reading is None else run.reading.started
    ended = None if run.end is None else run.end.at
    until = time.time() if run.state is RunState.RUNNING else ended
    seconds = until - started if until is not None and started is not None else None
    return {
        "run": run.name,
        "record_type": run.record_type.value,
        "state": run.state.value,
        "path": run.plan.path,
        "at": run.plan.at,
        "started": started,
        "ended": ended,
        "seconds": seconds,
        "percent": 0 if run.reading is None else int(100 * run.reading.done(run.tally)),
        "per_second": None if seconds is None else round(run.tally.read / max(seconds, 1e-3)),
        "read": 0 if run.reading is None else run.reading.records,
        **run.tally.as_dict(),
        "vanished": 0 if run.end is None else run.end.vanished,
        "batches_in_flight": len(batches),
        "batches": batches,
        "problems": [] if run.end is None else run.end.problems,
    }


def upstream(runs: Runs, inbox: Inbox, in_flight: set[str]) -> list[dict[str, Any]]:
    """Return the records of upstream tasks as JSON, by type that has any."""
    waiting = inbox.waiting()
    found = []
    for each in runs.upstream():
        waits = waiting.get(each.record_type, Waiting(0, 0.0))
        batches = _batches_of(each.run, in_flight)
        if waits.records or batches or each.tally.read or each.not_kept:
            numbers = {"waiting": waits.records, "waiting_seconds": round(waits.seconds, 1)}
            counts = {**each.tally.as_dict(), "lost": each.not_kept, "batches": batches}
            found.append({"run": each.run, "record_type": each.record_type.value, **numbers, **counts})
    return found


def _batches_of(run: str, in_flight: set[str]) -> list[str]:
    return sorted(batch for batch in in_flight if batch.startswith(f"{run}-"))


def faults(status: dict[str, Any], context: Context) -> Iterator[str]:
    """Yield what is wrong, with the command that helps."""
    stack, up = status["stack"], context.command("up")
    if stack is not None:
        yield from _stack_faults(stack, up)
    elif "workers" in status and not status["workers"]:
        yield f"no worker takes work: `{context.worker_command()}` starts one"
    elif context.settings.redis_url is None and context.settings.neo4j_uri is None:
        yield f"the stack is not running: `{up}` starts it"
    newest = {run["record_type"]: run for run in status.get("runs", []) if run["state"] != RunState.WAITING}
    for run in newest.values():
        name = f"{run['run']} ({Path(run['path']).name})"
        if run["state"] == RunState.STALLED:
            yield f"{name} has stalled: `{context.command('resume')}` continues it"
        elif run["state"] == RunState.FAILED:
            yield f"{name} is incomplete: {'; '.join(run['problems'])}"


def _stack_faults(stack: dict[str, Any], up: str) -> Iterator[str]:
    logs = Path(stack["home"]) / "logs"
    roles, wanted = stack["running"], stack["wanted_workers"]
    if KEEPER not in roles:
        yield f"the keeper does not run, so nothing is started again that ends: `{up}` starts it"
    for role in [*SERVERS, *([FLOWER] if stack["flower"] else [])]:
        if role not in roles:
            yield f"{NAMES[role]} does not run: `{up}` starts it; its log: {logs / role}.log"
    if stack["workers"] < wanted:
        missing = [number for number in range(1, wanted + 1) if f"worker{number}" not in roles]
        log = logs / f"worker{missing[0]}.log"
        yield f"{stack['workers']} of {counted(wanted, 'worker')} run: `{up} --workers {wanted}` starts the others; a log: {log}"
    for number in stack["idle_workers"]:
        log = logs / f"worker{number}.log"
        yield f"worker {number} takes no work: `{up}` replaces it; its log: {log}"


def print_status(console: Console, status: dict[str, Any], context: Context) -> None:
    """Print what is wrong, then the status in sections."""
    if len(status) == 2:  # no server to ask
        console.print(status["faults"][0])
        return
    print_warnings(console, status["faults"])
    print_servers(console, status, context)
    if status.get("runs"):
        print_runs(console, status["runs"])
    if status.get("upstream"):
        print_upstream(console, status["upstream"])
    if "nodes" in status:
        print_heading(console, "graph")
        print_counts(console, status["nodes"], status["relationships"])
        if missing := status["missing_indexes"]:
            console.print(
                f"full-text indexes missing: {', '.join(missing)}; the end of a load or "
                f"`{context.command('finish')}` creates them"
            )
    if "statistics" in status:
        print_statistics(console, Statistics(**status["statistics"]), context)


def print_heading(console: Console, text: str) -> None:
    """Print the heading of a section."""
    console.print(text, style="bold underline")


def print_servers(console: Console, status: dict[str, Any], context: Context) -> None:
    """Print the servers, what is in Redis, and the workers."""
    print_heading(console, "servers")
    stack, redis, workers = status["stack"], [], ", ".join(status.get("workers", []))
    if stack is not None:
        down = {role: [] if role in stack["running"] else ["down"] for role in SERVERS}
        neo4j = [stack["neo4j"]["uri"], stack["neo4j"]["browser"], *down["neo4j"]]
        console.print("  ".join(["Neo4j  ", *neo4j]))
        redis = [stack["redis"]["url"], *down["valkey"]]
        workers = f"{stack['workers']} of {stack['wanted_workers']}"
    if "quarantined" in status:
        listing = f": `{context.command('quarantine list')}`" if status["quarantined"] else ""
        batches = counted(status["batches_in_flight"], "batch")
        redis += [f"{batches} in flight, {counted(status['quarantined'], 'record')} quarantined{listing}"]
    console.print("  ".join(["Redis  ", *(redis or ["?"])]))
    if rejected := status.get("rejected_messages"):
        console.print(
            f"         {counted(rejected, 'message')} rejected, since no worker can handle them: "
            f"see the Redis list {REJECTED_MESSAGES}"
        )
    if stack is not None and stack["flower"]:
        flower = [stack["flower"]["url"], f"user {stack['flower']['user']}"]
        console.print("  ".join(["Flower ", *flower, *([] if FLOWER in stack["running"] else ["down"])]))
    console.print(f"workers  {workers or 'none'}")


def print_runs(console: Console, runs: list[dict[str, Any]]) -> None:
    """Print the newest loads and their problems."""
    begun = [run for run in runs if run["state"] != RunState.WAITING]
    shown, waiting = begun[-SHOWN_RUNS:], len(runs) - len(begun)
    rest = f", the last {SHOWN_RUNS} of {len(begun)}" if len(begun) > SHOWN_RUNS else ""
    print_heading(console, f"loads{rest}")
    headings = (
        "run", "file", "state", "started", "time", "per s", "done",
        "read", "unchanged", "written", "vanished", "quarantined",
    )  # fmt: skip
    rows = []
    for run in shown:
        names = run["run"], Path(run["path"]).name, run["state"]
        numbers = (
            "-" if run["started"] is None else utc(run["started"], "minutes"),
            *("--" if run["seconds"] is None else (duration(run["seconds"]), run["per_second"])),
            f"{run['percent']} %",
            run["read"], run["unchanged"], run["created"] + run["changed"], run["vanished"], run["quarantined"],
        )  # fmt: skip
        rows.append((names, numbers))
    if rows:
        print_table(console, headings, rows)
    if waiting:
        console.print(f"{counted(waiting, 'dump')} still to come")


def print_upstream(console: Console, upstream: list[dict[str, Any]]) -> None:
    """Print the records of upstream tasks by type."""
    print_heading(console, "records from upstream tasks")
    headings = "run", "waiting", "oldest", "unchanged", "written", "quarantined", "in flight"
    rows = []
    for each in upstream:
        numbers = (
            each["waiting"], duration(each["waiting_seconds"]) if each["waiting"] else "-",
            each["unchanged"], each["created"] + each["changed"], each["quarantined"], len(each["batches"]),
        )  # fmt: skip
        rows.append(((each["run"],), numbers))
    print_table(console, headings, rows)
    for each in upstream:
        if each["lost"]:
            console.print(
                f"{each['run']}: the quarantine was full, {counted(each['lost'], 'record')} are lost"
            )


def print_statistics(console: Console, statistics: Statistics, context: Context) -> None:
    """Print the age of the statistics in the graph."""
    at = "" if statistics.at is None else utc(statistics.at)
    if statistics.is_fresh:
        console.print(f"statistics as of {at}")
    else:
        since = at and f" since {at}"
        what = "derived relationships and statistics" if statistics.rebuild else "statistics"
        console.print(f"{what} stale{since}: `{context.command('finish')}` updates them")


def print_counts(console: Console, nodes: dict[str, int], relationships: dict[str, int]) -> None:
    """Print the numbers of nodes by label and of relationships by type."""
    for title, counts in (("nodes", nodes), ("relationships", relationships)):
        parts = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
        # On a terminal, lines end between numbers.
        console.print(f"{title}: {parts or 'none'}", soft_wrap=not console.is_terminal)

"""`graphinator load`, and the report at the end of a load."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal

from ops.commands.console import counted, duration, plain_console, print_line, print_table
from ops.commands.context import SERVER_SECONDS, Context, DumpPath
from ops.commands.interrupt import interruptible
from ops.commands.progress import ByteProgress, LoadProgress
from ops.exit_codes import FAILURES, describe, failure_of
from pipeline.errors import DumpError, GraphinatorError, GraphUnavailable
from pipeline.graph.schema import check_database
from pipeline.model import RecordType
from pipeline.reader.checksum import Published, published
from pipeline.reader.dump import find_dumps
from workers.app import GraphinatorApp, connect_redis
from workers.loader import FULL, Contents, NotResumed, Progress, Report
from workers.loader import load as load_dumps
from workers.redis_check import risks
from workers.sender import OnWait
from workers.settings import Settings
from workers.state.runs import Tally
from workers.worker import open_driver


@click.command(short_help="Load dumps into the graph.")
@click.argument("paths", nargs=-1, required=True, type=DumpPath())
@click.option("--json", "as_json_", is_flag=True, help="Print the report as one line of JSON.")
@click.option("--partial", is_flag=True, help="The files hold some records of their types: remove none.")
@click.option(
    "--allow-vanish",
    is_flag=True,
    help="Remove records missing from a dump even if they exceed 5 % of their type.",
)
@click.pass_obj
def load(
    context: Context, paths: tuple[Path, ...], as_json_: bool, partial: bool, allow_vanish: bool
) -> None:
    """Load dumps: .xml or .xml.gz files, or folders of them.

    The content of a file determines its record type. Files of a folder are loaded in the order of their names, so that
    the newest month comes last; hidden files are left out. Unchanged records are skipped. `graphinator resume` continues
    an interrupted load; the same command again is a new one.

    A dump is complete by default: records of its type that it lacks are removed from the graph, except those that
    upstream tasks handed over. Use --partial for a file with only some records.

    A dump is compared with the file discogs_…_CHECKSUM.txt beside it first, if there is one.

    A record that cannot be read goes to the quarantine: see `graphinator quarantine`.
    """
    contents = Contents(partial=partial, allow_vanish=allow_vanish)
    print_all(context, run_load(context, paths, contents), as_json_=as_json_)


def run_load(
    context: Context, paths: Sequence[Path], contents: Contents = FULL, *, checked: bool = False
) -> Iterator[Report]:
    """Load the dumps in `paths` with a progress display. Yield the report of each dump.

    Each one is compared with its checksum file, if there is one, unless `checked` says that it has been.
    """
    dumps = find_dumps(paths)
    if not checked:
        check_dumps(context, dumps)
    yield from with_progress(
        context, dumps, lambda app, show, wait: load_dumps(app, dumps, show, wait, contents)
    )


def check_dumps(context: Context, dumps: Sequence[Path]) -> None:
    """Compare dumps with the checksum files beside them, with a progress display. Raises WrongChecksum.

    Before the load, which would find some damage late, and some not at all.
    """
    console = plain_console(stderr=True)
    known = [each for each in map(published, dumps) if each is not None]
    print_warnings(
        console,
        [f"{each.file.name} has no checksum of {each.dump.name}" for each in known if each.sha256 is None],
    )
    known = [each for each in known if each.sha256 is not None]
    if not known:
        return
    connect_redis(context.connected()).ping()  # a check takes a while; without Redis it is for nothing
    with ByteProgress(context, console, "checking", len(known)) as progress:
        for each in known:
            _check(each, progress)


def _check(dump: Published, progress: ByteProgress) -> None:
    size, started = dump.dump.stat().st_size, time.monotonic()
    dump.verify(lambda done: progress.show(dump.dump, dump.record_type, done, size))
    progress.end(dump.dump, f"checked, {decimal(size)} in {duration(time.monotonic() - started)}")


def with_progress(
    context: Context,
    dumps: Sequence[Path],
    load: Callable[[GraphinatorApp, Callable[[Progress], None], OnWait], Iterator[Report]],
) -> Iterator[Report]:
    """Run `load`, or `resume`, of these dumps with a progress display. Yield its reports."""
    console = plain_console(stderr=True)
    settings = context.connected()
    print_warnings(console, [*risks(connect_redis(settings)), *asyncio.run(check_neo4j(settings))])
    with interruptible(), context.app() as app, LoadProgress(context, console, dumps) as progress:
        for report in load(app, progress.show, progress.wait):
            progress.ended(report)
            yield report


async def check_neo4j(settings: Settings) -> list[str]:
    """Return a warning if Neo4j does not answer.

    Raises GraphRejected if Neo4j refuses the login, or lacks the database.
    """
    try:
        await ask_neo4j(settings)
    except GraphUnavailable as error:
        return [f"{error}; the load waits for it"]
    return []


async def ask_neo4j(settings: Settings) -> None:
    """Raise GraphUnavailable if Neo4j does not answer soon, or GraphRejected as `check_neo4j` does."""
    async with open_driver(settings, patience_seconds=SERVER_SECONDS) as driver:
        await check_database(driver)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """Print warnings, one per line."""
    for warning in warnings:
        console.print(f"Warning: {warning}", style="yellow")


def as_json(reports: Iterable[Report], *, complete: bool = True) -> str:
    """Return the reports as one line of JSON, with sums by record type.

    Format: `{<record type>: {read, unchanged, created, changed, quarantined, vanished, seconds}, …, complete}`, always
    with all four record types. `complete` is False for a load that ended before its last report.
    """
    types: dict[str, dict[str, float]] = {
        record_type.value: {"read": 0, **Tally().as_dict(), "vanished": 0, "seconds": 0.0}
        for record_type in RecordType
    }
    for report in reports:
        counts = types[report.record_type.value]
        counts["read"] += report.read
        for name, number in report.tally.as_dict().items():
            counts[name] += number
        counts["vanished"] += report.vanished
        counts["seconds"] = round(counts["seconds"] + report.seconds, 3)
        complete = complete and report.complete
    return json.dumps({**types, "complete": complete})


def print_reports(console: Console, reports: Sequence[Report], context: Context) -> None:
    """Print a table of the loaded dumps, and a hint to quarantined records."""
    headings = (
        "records",
        "read",
        "unchanged",
        "created",
        "changed",
        "vanished",
        "quarantined",
        "time",
        "per s",
    )
    rows = [_row(report.record_type, [report]) for report in reports]
    print_table(console, headings, [*rows, _row("total", reports)] if len(rows) > 1 else rows)
    for report in reports:
        if report.spared:
            spared = counted(report.spared, report.record_type.element)
            console.print(f"not removed, since the dump's illegible records may be these: {spared}")
    if quarantined := sum(report.tally.quarantined for report in reports if not report.is_damaged):
        listing = context.command("quarantine list")
        console.print(f"{counted(quarantined, 'record')} quarantined: `{listing}` shows the reasons")


def _row(name: str, reports: Sequence[Report]) -> tuple[tuple[str], tuple[int | str, ...]]:
    """Return a name and the sums of these reports."""
    tally = sum((report.tally for report in reports), Tally())
    read, vanished = sum(report.read for report in reports), sum(report.vanished for report in reports)
    seconds = sum(report.seconds for report in reports)
    counts = read, tally.unchanged, tally.created, tally.changed, vanished, tally.quarantined
    return (name,), (*counts, duration(seconds), round(tally.read / max(seconds, 1e-3)))


def print_all(context: Context, reports: Iterator[Report], *, as_json_: bool = False) -> None:
    """Run loads to their end, print their reports and problems.

    Also prints those before an error. Exits with the code of the first problem.
    """
    ended: list[Report] = []
    is_complete = False
    try:
        for report in reports:
            ended.append(report)  # noqa: PERF402 - extend does not promise to keep them
        is_complete = True
    finally:
        if as_json_:
            click.echo(as_json(ended, complete=is_complete))
        elif ended:
            print_reports(plain_console(), ended, context)
        problems = [(report.path.name, problem) for report in ended for problem in report.problems]
        for name, problem in problems:
            place = "" if isinstance(problem, DumpError | NotResumed) else f"{name}: "  # they name it already
            print_line(f"Error: {place}{describe(problem, context.program())}", stderr=True)
    if problems:
        failure = failure_of(problems[0][1]) or FAILURES[GraphinatorError]
        click.get_current_context().exit(failure.code)

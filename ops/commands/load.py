"""`graphinator load`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from ops.commands.console import plain_console
from ops.commands.context import Context
from ops.commands.dumps import find_dumps
from ops.commands.progress import LoadProgress
from ops.commands.report import as_json, print_reports
from ops.exit_codes import FAILURES, describe, failure_of
from pipeline.errors import DumpError, GraphinatorError
from workers.app import connect_redis
from workers.celery_redis.check import dangers
from workers.loader import FULL, Contents, Report
from workers.loader import load as load_dumps


@click.command(short_help="Load dumps: files, or folders of them.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json_", is_flag=True, help="End with one line of JSON for scripts.")
@click.option("--partial", is_flag=True, help="The files hold only some records of their types: remove none.")
@click.option(
    "--allow-vanish",
    is_flag=True,
    help="Remove records that a dump lacks even if they are more than 5 % of their type.",
)
@click.pass_obj
def load(
    context: Context, paths: tuple[Path, ...], as_json_: bool, partial: bool, allow_vanish: bool
) -> None:
    """Load dumps: files, or folders of .xml and .xml.gz files.

    The record type is read from the content. What the graph holds already is recognised and left alone,
    so an interrupted load is simply repeated. Records that cannot be read are quarantined, never lost:
    see `graphinator quarantine`.

    A file is taken as complete: records of its type that are in the graph but not in the file are removed. Use
    --partial for a file that holds only some. Of a folder all files are loaded, several months in the order of
    their names.
    """
    contents = Contents(partial=partial, allow_vanish=allow_vanish)
    reports: list[Report] = []
    try:
        # One by one: the reports before an error are told too.
        for report in run_load(context, find_dumps(paths), contents):
            reports.append(report)  # noqa: PERF402 - extend does not promise to keep them
    except BaseException:
        if as_json_:
            click.echo(as_json(reports, complete=False))
        raise
    if as_json_:
        click.echo(as_json(reports))
    else:
        print_reports(plain_console(), reports, context.command)
    end_with_problems(reports, context.program())


def run_load(context: Context, dumps: Sequence[Path], contents: Contents = FULL) -> Iterator[Report]:
    """Load the dumps, showing progress; gives a report as each one ends."""
    console = plain_console(stderr=True)
    warn(console, dangers(connect_redis(context.connected())))
    with context.app() as app, LoadProgress(console) as progress:
        for report in load_dumps(app, dumps, progress.show, progress.wait, contents):
            progress.ended(report)
            yield report


def warn(console: Console, warnings: Sequence[str]) -> None:
    """Print warnings, one a line."""
    for warning in warnings:
        console.print(Text.assemble(("Warning:", "bold yellow"), f" {warning}"))


def end_with_problems(reports: Sequence[Report], program: str = "graphinator") -> None:
    """Print the problems of loads, if any, and end the command with the exit code of the first one."""
    found = [(report.path.name, problem) for report in reports for problem in report.problems]
    for name, problem in found:
        # An error of a dump names it.
        place = "" if isinstance(problem, DumpError) else f"{name}: "
        click.echo(f"Error: {place}{describe(problem, program)}", err=True)
    if found:
        failure = failure_of(found[0][1]) or FAILURES[GraphinatorError]
        click.get_current_context().exit(failure.code)

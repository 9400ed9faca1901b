"""`graphinator load`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from ops.console import plain_console
from ops.dumps import find_dumps
from ops.progress import LoadProgress
from ops.report import as_json, print_reports
from ops.session import Session
from pipeline.errors import BusyError, SettingError
from workers.app import connect_redis
from workers.loader import FULL, Contents, Report
from workers.loader import load as load_dumps
from workers.redis_check import dangers


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json_", is_flag=True, help="End with one line of JSON for scripts.")
@click.option(
    "--partial", is_flag=True, help="The files hold some records of their types, not all: remove none."
)
@click.option(
    "--allow-vanish", is_flag=True, help="Remove what a dump lacks even if that is more than 5 % of its type."
)
@click.pass_obj
def load(
    session: Session, paths: tuple[Path, ...], as_json_: bool, partial: bool, allow_vanish: bool
) -> None:
    """Load dumps: files, or folders of .xml and .xml.gz files.

    The record type is read from the content. What the graph holds already is recognised and left alone,
    so an interrupted load is simply repeated. Records that cannot be read are set aside, never lost:
    see `graphinator quarantine`.

    A file stands for all records of its type: those that the graph has and the file lacks are removed, unless
    it is said to be --partial.
    """
    dumps = find_dumps(paths)
    contents = Contents(partial=partial, allow_vanish=allow_vanish)
    reports: list[Report] = []
    try:
        # One by one: the reports before an error are told too.
        for report in run_load(session, dumps, contents):
            reports.append(report)  # noqa: PERF402 - extend does not promise to keep them
    except (BusyError, SettingError):
        raise
    except BaseException:
        if as_json_:
            click.echo(as_json(reports, complete=False))
        raise
    if as_json_:
        click.echo(as_json(reports))
    else:
        print_reports(plain_console(), reports)
    raise_problem(reports)


def run_load(session: Session, dumps: Sequence[Path], contents: Contents = FULL) -> Iterator[Report]:
    """Load the dumps, showing progress; gives a report as each one ends."""
    console = plain_console(stderr=True)
    for danger in dangers(connect_redis(session.connected())):
        console.print(f"[bold yellow]Warning:[/] {danger}")
    with session.app() as app, LoadProgress(console) as progress:
        for report in load_dumps(app, dumps, progress.show, progress.wait, contents):
            progress.ended(report)
            yield report


def raise_problem(reports: Sequence[Report]) -> None:
    """End the command with the first thing that kept a load from being complete."""
    for report in reports:
        for problem in report.problems:
            raise problem

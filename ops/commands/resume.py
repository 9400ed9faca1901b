"""`graphinator resume` and `graphinator finish`."""

from collections import defaultdict
from pathlib import Path

import click

from ops.commands.console import plain_console
from ops.commands.context import Context
from ops.commands.load import end_with_problems, print_reports, run_load
from ops.commands.progress import DumpProgress
from workers.app import connect_redis
from workers.loader import Contents, Report
from workers.sender import open_sender
from workers.state.runs import Run, Runs, RunState


@click.command(short_help="Continue interrupted loads.")
@click.pass_obj
def resume(context: Context) -> None:
    """Load the files of interrupted loads again, with the same options.

    Files are read from their beginning; records that are in the graph are skipped. `graphinator status` shows
    interrupted loads as stalled. Without such loads this is `graphinator finish`.
    """
    stalled = [run for run in Runs(connect_redis(context.connected())) if run.state is RunState.STALLED]
    if not stalled:
        run_finish(context)
        click.echo("no load was interrupted")
        return
    reports: list[Report] = []
    for contents, paths in _by_contents(stalled).items():
        reports += run_load(context, paths, contents)
    print_reports(plain_console(), reports, context)
    end_with_problems(reports, context)


@click.command(short_help="Finish batches in flight and update the statistics.")
@click.option("--full", is_flag=True, help="Also rebuild everything that is derived from the records.")
@click.pass_obj
def finish(context: Context, full: bool) -> None:
    """Finish batches in flight and update the statistics.

    Every load ends with this. --full also rebuilds SAME_AS and PART_OF and removes orphaned nodes.
    """
    run_finish(context, full=full)


def run_finish(context: Context, *, full: bool = False) -> None:
    """Have a worker run `finish`, and wait for its end."""
    with (
        context.app() as app,
        DumpProgress(context, plain_console(stderr=True)) as progress,
        open_sender(app, progress.wait) as sender,
    ):
        sender.finish(full=full)


def _by_contents(runs: list[Run]) -> dict[Contents, list[Path]]:
    """Return the files of runs by load options, in their order, each file once."""
    paths: dict[Contents, dict[Path, None]] = defaultdict(dict)
    for run in runs:
        contents = Contents(partial=run.plan.partial, allow_vanish=run.plan.allow_vanish)
        paths[contents][Path(run.plan.path)] = None
    return {contents: list(each) for contents, each in paths.items()}

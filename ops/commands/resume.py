"""`graphinator resume`."""

from collections import defaultdict
from pathlib import Path

import click

from ops.commands.console import plain_console
from ops.commands.context import Context
from ops.commands.finish import settle
from ops.commands.load import end_with_problems, run_load
from ops.commands.report import print_reports
from workers.app import connect_redis
from workers.loader import Contents, Report
from workers.state.runs import Run, Runs, State


@click.command()
@click.pass_obj
def resume(context: Context) -> None:
    """Load again what interrupted loads have not finished.

    The same files with the same options, from their beginning: what is in the graph is recognised, at the speed of
    reading. `graphinator status` shows which these are. Where all was loaded, what may be missing are the statistics.
    """
    stalled = [run for run in Runs(connect_redis(context.connected())) if run.state is State.STALLED]
    if not stalled:
        settle(context)
        click.echo("no load was interrupted")
        return
    reports: list[Report] = []
    for contents, paths in _by_contents(stalled).items():
        reports += run_load(context, paths, contents)
    print_reports(plain_console(), reports, context.command)
    end_with_problems(reports, context.program())


def _by_contents(runs: list[Run]) -> dict[Contents, list[Path]]:
    """The dumps, each once, in the order in which they were to be loaded."""
    paths: dict[Contents, dict[Path, None]] = defaultdict(dict)
    for run in runs:
        if run.about is not None:
            contents = Contents(partial=run.about.partial, allow_vanish=run.about.allow_vanish)
            paths[contents][Path(run.about.path)] = None
    return {contents: list(each) for contents, each in paths.items()}

"""`graphinator resume` and `graphinator finish`."""

from pathlib import Path

import click

from ops.commands.console import plain_console, print_line
from ops.commands.context import Context
from ops.commands.load import print_all, with_progress
from ops.commands.progress import DumpProgress
from workers import loader
from workers.app import connect_redis
from workers.sender import open_sender
from workers.state.exclusive import TaskResult
from workers.state.runs import Runs, RunState


@click.command(short_help="Continue interrupted loads.")
@click.option(
    "--forget", metavar="RUN", help="Give up an interrupted load; `graphinator status` has its name."
)
@click.pass_obj
def resume(context: Context, forget: str | None) -> None:
    """Load the files of interrupted loads again, with the same options.

    Files are read from their beginning; records that are in the graph are skipped, and those that upstream tasks have
    handed over since stay as they are. A load that a later one of the same record type has overtaken is not resumed.
    `graphinator status` shows interrupted loads. Without one this is `graphinator finish`.
    """
    runs = Runs(connect_redis(context.connected()))
    if forget is not None:
        _forget(runs, forget)
        return
    for run in runs:
        if run.state is RunState.OVERTAKEN:
            print_line(f"not resumed: {run.plan.path}: a later load of {run.record_type} has begun")
            runs.forget(run.name)
    stalled = runs.stalled()
    if not stalled:
        run_finish(context)
        print_line("no load is to be resumed")
        return
    print_all(context, with_progress(context, [Path(run.plan.path) for run in stalled], loader.resume))


@click.command(short_help="Finish batches in flight and update the statistics.")
@click.option("--full", is_flag=True, help="Also rebuild everything that is derived from the records.")
@click.pass_obj
def finish(context: Context, full: bool) -> None:
    """Finish batches in flight and update the statistics.

    Every load ends with this. --full also rebuilds SAME_AS and PART_OF and removes orphaned nodes.
    """
    if run_finish(context, full=full).counted:
        print_line(f"{'rebuilt everything derived, ' if full else ''}counted the statistics")
    else:
        print_line("nothing to do: the statistics are fresh")


def run_finish(context: Context, *, full: bool = False) -> TaskResult:
    """Have a worker run `finish`, and wait for its end."""
    with (
        context.app() as app,
        DumpProgress(context, plain_console(stderr=True)) as progress,
        open_sender(app, progress.wait) as sender,
    ):
        return sender.finish(full=full)


def _forget(runs: Runs, name: str) -> None:
    states = {run.name: run.state for run in runs}
    if states.get(name) not in (RunState.STALLED, RunState.OVERTAKEN):
        raise click.UsageError(f"no interrupted load is called {name}")
    for each in runs.forget(name):
        print_line(f"{each} is forgotten; what it has written stays")

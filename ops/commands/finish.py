"""`graphinator finish`."""

import click

from ops.commands.console import plain_console
from ops.commands.context import Context
from ops.commands.progress import LoadProgress
from workers.sender import Sender


@click.command(short_help="Settle what an interrupted load has left.")
@click.option(
    "--full", is_flag=True, help="Recompute everything derived from the records, even if believed up to date."
)
@click.pass_obj
def finish(context: Context, full: bool) -> None:
    """Settle what an interrupted load has left: its batches, the statistics.

    Every load ends with this. With --full, the statistics, who a credited name is, which genre a style is part of, and
    what nothing refers to any more are worked out from the records alone.
    """
    settle(context, full=full)


def settle(context: Context, *, full: bool = False) -> None:
    """Have the workers do that; progress goes to standard error."""
    with context.app() as app, LoadProgress(plain_console(stderr=True)) as progress:
        sender = Sender(app)
        sender.on_wait = progress.wait
        with sender.locked():
            sender.finish(full=full)

"""The command `graphinator`."""

import importlib
from pathlib import Path
from typing import Any

import click

from ops import __version__
from ops.commands.context import Context
from ops.exit_codes import ExitCode, describe, failure_of
from workers.settings import load_settings

#: Where each command is; it is imported when it is called, so that a load does not carry what only `up` needs.
COMMANDS = {
    "demo": "ops.commands.demo",
    "up": "ops.commands.up",
    "load": "ops.commands.load",
    "resume": "ops.commands.resume",
    "finish": "ops.commands.finish",
    "verify": "ops.commands.verify",
    "status": "ops.commands.status",
    "quarantine": "ops.commands.quarantine",
    "down": "ops.commands.up",
}

EPILOG = "\n".join(
    [
        "\b",
        "Exit codes:",
        *(f"  {code.value:<4} {code.meaning}" for code in ExitCode),
        "",
        "Every setting is an environment variable GRAPHINATOR_…; docs/reference/settings.md lists them.",
    ]
)


class _Commands(click.Group):
    """A group in which errors that a user can cause end with one line and their exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """The commands in the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of our output has seen enough; click ends quietly
        except (Exception, KeyboardInterrupt) as error:
            failure = failure_of(error)
            if failure is None:
                raise
            program = ctx.obj.program() if isinstance(ctx.obj, Context) else "graphinator"
            click.echo(f"Error: {describe(error, program)}", err=True)
            ctx.exit(failure.code)


@click.group(cls=_Commands, epilog=EPILOG)
@click.version_option(__version__)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded stack: its data, logs, password.  [env: GRAPHINATOR_HOME]",
)
@click.pass_context
def main(ctx: click.Context, home: Path | None) -> None:
    """Load Discogs dumps into Neo4j, and keep that graph exactly up to date.

    \b
    graphinator demo                 see it work: a stack, 4,000 records, the result
    graphinator up                   start Valkey, Neo4j and workers on this machine
    graphinator load ~/dumps         load every dump in a folder; repeat it each month
    graphinator resume               go on with a load that was interrupted
    graphinator verify ~/dumps       compare the graph with the dumps
    graphinator quarantine list      the records that could not be loaded, and why
    graphinator status               what runs, what is in flight, what is in the graph
    graphinator down                 stop everything; the data stays
    """
    ctx.obj = Context(load_settings(home=home))

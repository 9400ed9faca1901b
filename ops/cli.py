"""The command `graphinator`."""

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import click

from ops import __version__
from ops.commands.console import print_line
from ops.commands.context import Context
from ops.exit_codes import describe, failure_of
from pipeline.errors import printable
from workers.settings import load_settings

#: Modules by command. A command is imported when it is called, so that `load` does not carry what only `up` needs.
COMMANDS = {
    "demo": "ops.commands.demo",
    "up": "ops.commands.up",
    "fetch": "ops.commands.fetch",
    "load": "ops.commands.load",
    "update": "ops.commands.fetch",
    "resume": "ops.commands.resume",
    "finish": "ops.commands.resume",
    "verify": "ops.commands.verify",
    "status": "ops.commands.status",
    "health": "ops.commands.health",
    "explore": "ops.commands.explore",
    "browse": "ops.commands.explore",
    "quarantine": "ops.commands.quarantine",
    "schema": "ops.commands.schema",
    "down": "ops.commands.up",
    "worker": "ops.commands.celery",
    "flower": "ops.commands.celery",
}


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Make click's own errors printable; click prints them."""
    try:
        yield
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]  # a file's name may be in it
        raise


class _Commands(click.Group):
    """Prints errors as one line and exits with their code."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the command line; the output can be printed in every locale."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        with _printable_errors():
            return super().make_context(*args, **options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `--home` behind the command as well."""
        end = args.index("--") if "--" in args else len(args)
        homes: list[str] = []
        others: list[str] = []
        words = iter(args[:end])
        for word in words:
            if word == "--home":
                homes += [word, *islice(words, 1)]
            else:
                (homes if word.startswith("--home=") else others).append(word)
        if homes[-1:] == ["--home"]:
            ctx.fail("--home names a folder")
        return super().parse_args(ctx, [*homes, *others, *args[end:]])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without headings: the help fits one screen. Its text has the options."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_dl([(name, each.get_short_help_str(80)) for name, each in commands if each])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """List the commands in the order of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; suggest the nearest one for a wrong name.

        Click would look for it among imported commands.
        """
        near = get_close_matches(args[0], COMMANDS, n=1)
        if near and args[0] not in COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"no such command `{args[0]}`: did you mean `{near[0]}`?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with _printable_errors():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of our output has seen enough; click ends quietly
        except (Exception, KeyboardInterrupt) as error:
            failure = failure_of(error)
            if failure is None:
                raise
            program = ctx.obj.program() if isinstance(ctx.obj, Context) else "graphinator"
            print_line(f"Error: {describe(error, program)}", stderr=True)
            ctx.exit(failure.code)


@click.group(cls=_Commands, options_metavar="[--home FOLDER]", subcommand_metavar="COMMAND [ARGUMENTS]")
@click.version_option(__version__)
@click.option("--home", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def main(ctx: click.Context, home: Path | None) -> None:
    """Load Discogs dumps into Neo4j. Start with `demo`; COMMAND --help tells more.
    FOLDER is the home of the stack, by default GRAPHINATOR_HOME.
    """
    ctx.obj = Context(load_settings(home=home))

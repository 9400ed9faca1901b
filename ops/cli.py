"""The command `graphinator`."""

import importlib
from pathlib import Path
from typing import Any, NoReturn

import click
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ops import __version__
from ops.session import Session
from pipeline.errors import GraphinatorError
from workers.settings import load_settings

#: Where each command is; it is imported when it is called, so that a load does not carry what only `up` needs.
COMMANDS = {
    "demo": "ops.demo",
    "up": "ops.lifecycle",
    "load": "ops.load",
    "resume": "ops.resume",
    "finish": "ops.finish",
    "verify": "ops.verify",
    "status": "ops.status",
    "quarantine": "ops.quarantine",
    "down": "ops.lifecycle",
}

EPILOG = """\b
Exit codes:
  0    done
  1    `verify` found a difference; else a defect in graphinator
  2    wrong usage, or a setting with a wrong value
  3    a file is not a dump, or breaks off
  4    a server of the embedded stack does not start or stop
  5    another load is under way
  6    Neo4j refuses, or does not answer
  7    a load ended incomplete: repeat it
  8    Redis does not answer
  9    a dump lacks too many records to be whole: none was removed
  130  interrupted

Every setting is an environment variable GRAPHINATOR_…; the README lists them."""

FILE_FAILS = 4
REDIS_FAILS = 8
INTERRUPTED = 130


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
        except GraphinatorError as error:
            _fail(ctx, str(error), error.exit_code)
        except (RedisConnectionError, RedisTimeoutError, OperationalError) as error:
            _fail(
                ctx,
                f"Redis does not answer ({error}); is the stack up? `graphinator resume` goes on with a load",
                REDIS_FAILS,
            )
        except RedisError as error:
            _fail(ctx, f"Redis refuses: {error}", REDIS_FAILS)
        except BrokenPipeError:
            raise  # whoever reads our output has seen enough; click ends quietly
        except click.FileError as error:
            _fail(ctx, error.format_message(), FILE_FAILS)
        except OSError as error:
            place = f"{error.filename}: " if error.filename is not None else ""
            _fail(ctx, f"{place}{error.strerror or error}", FILE_FAILS)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted; what was not finished is finished by the same command", INTERRUPTED)


def _fail(ctx: click.Context, line: str, exit_code: int) -> NoReturn:
    click.echo(f"Error: {line}", err=True)
    ctx.exit(exit_code)


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
    graphinator status               what runs, what is in flight, what is in the graph
    graphinator down                 stop everything; the data stays
    """
    ctx.obj = Session(load_settings(home=home))

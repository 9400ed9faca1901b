"""The command `graphinator`."""

import importlib
from pathlib import Path
from typing import Any, NoReturn

import click
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ops import __version__
from ops.commands.context import Session
from pipeline.errors import GraphinatorError
from workers.settings import load_settings, variable

#: Where each command is; it is imported when it is called, so that a load does not carry what only `up` needs.
COMMANDS = {
    "demo": "ops.commands.demo",
    "up": "ops.commands.up_down",
    "load": "ops.commands.load",
    "resume": "ops.commands.resume",
    "finish": "ops.commands.finish",
    "verify": "ops.commands.verify",
    "status": "ops.commands.status",
    "quarantine": "ops.commands.quarantine",
    "down": "ops.commands.up_down",
}

EPILOG = """\b
Exit codes:
  0    done
  1    `verify` found a difference, or the question of `purge` was answered with no; otherwise a bug in graphinator
  2    wrong usage, or a setting with a wrong value
  3    a file is not a dump, or breaks off
  4    a server of the embedded stack, or a file, cannot be used
  5    another load is under way
  6    Neo4j refuses, or does not answer
  7    a load ended incomplete: its message says what to do
  8    Redis does not answer, or refuses
  9    too many records are missing from a dump; nothing was removed
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
        except (RedisError, OperationalError) as error:
            _fail(ctx, _of_redis(ctx, error), REDIS_FAILS)
        except BrokenPipeError:
            raise  # whoever reads our output has seen enough; click ends quietly
        except click.FileError as error:
            _fail(ctx, error.format_message(), FILE_FAILS)
        except OSError as error:
            place = f"{error.filename}: " if error.filename is not None else ""
            _fail(ctx, f"{place}{error.strerror or error}", FILE_FAILS)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted; what was not finished is finished by the same command", INTERRUPTED)


def _of_redis(ctx: click.Context, error: RedisError | OperationalError) -> str:
    """What an error of Redis, or kombu's of the same, tells a user."""
    resume = ctx.obj.command("resume") if isinstance(ctx.obj, Session) else "graphinator resume"
    if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
        return f"Redis does not let us in ({error}): are user and password in {variable('redis_url')} right?"
    if "maxmemory" in str(error):
        size = variable("redis_megabytes")
        return (
            f"Redis is full ({error}): raise {size} and start the stack again, or `maxmemory` of your own Redis; "
            f"`{resume}` goes on with a load"
        )
    if isinstance(error, RedisConnectionError | RedisTimeoutError | OperationalError):
        return f"Redis does not answer ({error}); is the stack up? `{resume}` goes on with a load"
    return f"Redis refuses: {error}"


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
    graphinator resume               go on with a load that was interrupted
    graphinator verify ~/dumps       compare the graph with the dumps
    graphinator quarantine list      the records that could not be loaded, and why
    graphinator status               what runs, what is in flight, what is in the graph
    graphinator down                 stop everything; the data stays
    """
    ctx.obj = Session(load_settings(home=home))

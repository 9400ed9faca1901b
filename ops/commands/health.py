"""`graphinator health`."""

import asyncio
import socket
from collections.abc import Iterator, Sequence

import click
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from ops.commands.console import print_line
from ops.commands.context import SERVER_SECONDS, Context
from ops.commands.status import read_stack
from ops.exit_codes import ExitCode, fact_of
from ops.stack.state import running
from ops.stack.worker_process import PATIENCE_SECONDS, active_workers, node_name
from pipeline.errors import GraphinatorError
from workers.app import connect_redis
from workers.settings import Settings
from workers.worker import open_driver


@click.command(short_help="Tell by the exit code if a worker takes work.")
@click.option("--liveness", is_flag=True, help="Ask only the worker, which needs Redis.")
@click.option("--readiness", is_flag=True, help="Ask only Redis and Neo4j.")
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.pass_context
def health(ctx: click.Context, liveness: bool, readiness: bool, nodes: tuple[str, ...]) -> None:
    """Exit with 0 if worker, Redis and Neo4j are healthy, else with 1.

    For health checks of containers: with --liveness as a reason to restart a worker, else as a reason to wait for it. NODE
    is the node name of a worker, by default the one that `graphinator worker` starts on this machine, or all of a running
    stack. A worker takes work if it answers, its event loop runs, and it consumes a queue.
    """
    context: Context = ctx.obj
    home, settings = context.settings.home, context.settings
    found = running(home)
    # A server of the stack may have ended.
    if stack := read_stack(home, found):
        settings = stack.connect(settings)
    own = [node_name(home, number) for number in found.workers()] or [f"worker@{socket.gethostname()}"]
    redis_faults = [*_of_redis(settings)]
    faults = [*redis_faults]
    if readiness or not liveness:
        faults += _of_neo4j(settings)
    # Workers are asked by way of Redis, which Celery would wait for longer than a health check does.
    if not redis_faults and (liveness or not readiness):
        faults += _of_workers(settings, nodes or own)
    if faults:
        print_line("; ".join(dict.fromkeys(faults)))
        ctx.exit(ExitCode.FAILED)
    print_line("healthy")


def _of_redis(settings: Settings) -> Iterator[str]:
    try:
        connect_redis(settings, patient=False).ping()
    except (GraphinatorError, RedisError) as error:
        yield fact_of(error)


def _of_neo4j(settings: Settings) -> Iterator[str]:
    async def ask() -> None:
        async with open_driver(settings, patience_seconds=SERVER_SECONDS) as driver:
            await driver.ask()

    try:
        asyncio.run(ask())
    except GraphinatorError as error:
        yield fact_of(error)


def _of_workers(settings: Settings, names: Sequence[str]) -> Iterator[str]:
    try:
        with Context(settings).app() as app:
            healthy = active_workers(app, names, PATIENCE_SECONDS)
    except (GraphinatorError, OperationalError) as error:
        yield fact_of(error)
        return
    for name in names:
        if name not in healthy:
            yield f"{name} takes no work, or does not answer within {PATIENCE_SECONDS:g} s"

"""`graphinator worker` and `graphinator flower`: Celery's commands with the right options."""

import os
import sys

import click

from ops.commands.console import print_line
from ops.commands.context import Context, WholeNumber
from ops.extras import need
from ops.stack import flower as page
from ops.stack import worker_process
from ops.stack.ports import LOOPBACK, is_free
from ops.stack.process import Daemon
from ops.stack.state import FLOWER, FLOWER_USER, flower_password_file, read_endpoints
from pipeline.errors import StackError
from workers.settings import ServerNotSet, variable

#: Options that are not ours are Celery's.
PASSED_ON = {"ignore_unknown_options": True}


@click.command(short_help="Run a Celery worker.", context_settings=PASSED_ON)
@click.argument("options", metavar="[CELERY OPTIONS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def worker(context: Context, options: tuple[str, ...]) -> None:
    """Run a Celery worker until Ctrl-C.

    It works for servers of your own, or for a running stack. Further options are those of `celery worker`:
    `--hostname worker2@%h` for a second worker on a machine, `--queues write` for one that takes only these tasks,
    `--concurrency 8`. The pool is always threads.
    """
    settings = context.connected()
    for name in ("redis_url", "neo4j_uri"):
        if getattr(settings, name) is None:
            raise ServerNotSet(variable(name))
    become(context, [*worker_process.command(settings, "worker@%h"), *options])


@click.command(short_help="Run Flower, which watches workers and tasks.", context_settings=PASSED_ON)
@click.option(
    "--port", type=WholeNumber(1, 65_535), default=page.PORT, show_default=True, help="Port of the page."
)
@click.argument("options", metavar="[FLOWER OPTIONS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def flower(context: Context, port: int, options: tuple[str, ...]) -> None:
    """Run Flower, the page that watches workers and tasks, until Ctrl-C.

    It shows servers of your own, or a running stack, and answers this machine only. Its password is generated at the
    first start. Further options are those of `celery flower`.
    """
    home = context.settings.home
    need("flower")
    if context.connected().redis_url is None:
        raise ServerNotSet(variable("redis_url"))
    if Daemon(home, FLOWER).pid() is not None:
        raise StackError(f"the stack runs Flower already; `{context.command('status')}` has its address")
    if not is_free(port):
        raise StackError(f"port {port} is taken; --port names another")
    login = page.login(home)
    print_line(
        f"Flower  http://{LOOPBACK}:{port}  user {FLOWER_USER}  password in {flower_password_file(home)}",
        stderr=True,
    )
    become(context, [*page.command(home, port), *options], login)


def become(context: Context, command: list[str], extra: dict[str, str] | None = None) -> None:
    """Run a command of Celery in place of this process."""
    endpoints = read_endpoints(context.settings.home)
    servers = {} if endpoints is None else endpoints.environment(context.settings)
    sys.stdout.flush()
    os.execve(command[0], command, {**os.environ, **servers, **(extra or {})})  # noqa: S606 - a list built here

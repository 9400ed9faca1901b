"""`graphinator up` and `graphinator down`."""

import json

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ops.commands.console import counted, plain_console, print_line
from ops.commands.context import Context, WholeNumber
from ops.stack.process import running_roles
from ops.stack.stack import Stack
from ops.stack.state import FLOWER_USER, NAMES, SERVERS, Endpoints, flower_password_file


@click.command(short_help="Start the stack: Valkey, Neo4j and workers.")
@click.option(
    "--workers",
    type=WholeNumber(0, 256),
    help="Number of worker processes.  [default: GRAPHINATOR_WORKERS, else one per core, with 1 GB of memory each]",
)
@click.option(
    "--flower/--no-flower",
    default=None,
    help="Also run Flower, the page that watches workers and tasks.  [default: as it is]",
)
@click.option("--json", "as_json_", is_flag=True, help="Print the addresses as JSON.")
@click.pass_obj
def up(context: Context, workers: int | None, flower: bool | None, as_json_: bool) -> None:
    """Start the embedded stack: Valkey, Neo4j and workers.

    A running stack stays up; only missing parts are started.
    """
    endpoints = start_stack(context, workers, with_flower=flower)
    if as_json_:
        click.echo(json.dumps(endpoints.to_json()))
    else:
        console = plain_console()
        console.print(
            f"Neo4j   {endpoints.neo4j_uri}  user {endpoints.neo4j_user}  password in {endpoints.password_file}"
        )
        console.print(f"        {endpoints.browser}")
        memory = {name: f"{number:,} MB" for name, number in endpoints.megabytes.items()}
        console.print(f"        heap {memory['heap']}, page cache {memory['pagecache']}")
        console.print(f"Redis   {endpoints.redis_url}  password in {endpoints.redis_password_file}")
        console.print(f"        {memory['redis']} at most")
        if endpoints.flower_url is not None:
            file = flower_password_file(endpoints.home)
            console.print(f"Flower  {endpoints.flower_url}  user {FLOWER_USER}  password in {file}")
        console.print(
            f"{counted(endpoints.workers, 'worker')}; stop everything with `{context.command('down')}`"
        )


@click.command(short_help="Stop the stack. The data stays.")
@click.pass_obj
def down(context: Context) -> None:
    """Stop the embedded stack. The data stays."""
    if running_roles(context.settings.home):
        print_line("stopping the stack", stderr=True)
    print_line(describe_stopped(Stack(context.settings).down()))


def describe_stopped(roles: list[str]) -> str:
    """Describe in one line what `down` has stopped."""
    workers = sum(role.startswith("worker") for role in roles)
    parts = [counted(workers, "worker")] if workers else []
    parts += [name for role, name in NAMES.items() if role in roles]
    return f"stopped {', '.join(parts)}" if parts else "the stack is not running"


def start_stack(
    context: Context, workers: int | None = None, *, with_flower: bool | None = None
) -> Endpoints:
    """Start the stack with a progress display. `workers` overrides the setting."""
    console = plain_console(stderr=True)
    missing = set(SERVERS) - set(running_roles(context.settings.home))
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if missing and not tasks and not console.is_terminal:
                console.print("starting the stack")
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total or None)
            bars.update(tasks[step], completed=done)

        stack = Stack(context.settings, on_repair=console.print)
        workers = context.settings.workers if workers is None else workers
        return stack.up(workers, show, with_flower=with_flower)

"""`graphinator up` and `graphinator down`."""

import json

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ops.commands.console import counted, plain_console
from ops.commands.context import Session
from ops.stack.endpoints import StackInfo
from ops.stack.stack import Stack


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    help="Worker processes.  [default: GRAPHINATOR_WORKERS; else at least one a core, and those that run]",
)
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object for scripts.")
@click.pass_obj
def up(session: Session, workers: int | None, as_json_: bool) -> None:
    """Start the embedded stack: Valkey, Neo4j, workers. Harmless when it runs."""
    info = start_stack(session, workers)
    if as_json_:
        click.echo(json.dumps(info.to_json()))
    else:
        console = plain_console()
        console.print(f"Neo4j  {info.neo4j_uri}  user {info.neo4j_user}  password in {info.password_file}")
        console.print(f"       {info.browser}")
        console.print(f"Redis  {info.redis_url}")
        console.print(f"{counted(info.workers, 'worker')}; stop everything with `{session.command('down')}`")


@click.command()
@click.pass_obj
def down(session: Session) -> None:
    """Stop the embedded stack; its data stays."""
    Stack(session.settings).down()


def start_stack(session: Session, workers: int | None = None) -> StackInfo:
    """Start the stack, with as many workers, or as the settings ask for, showing what is being done."""
    console = plain_console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"starting {what}")
            bars.update(tasks[what], completed=done, total=total or None)

        return Stack(session.settings).up(session.settings.workers if workers is None else workers, show)

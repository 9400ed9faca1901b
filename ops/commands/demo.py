"""`graphinator demo`."""

import asyncio
import shlex
from pathlib import Path

import click
from rich.console import Console

from ops.commands.console import plain_console
from ops.commands.context import Context
from ops.commands.load import print_all, run_load
from ops.commands.status import print_counts
from ops.commands.up import start_stack
from ops.stack.state import Endpoints
from pipeline.graph.summary import highlights, node_counts, relationship_counts
from workers.worker import open_driver

#: 1,000 records of each type, from both ends of the Discogs dump of 2020-08-06 (CC0).
SAMPLE = Path(__file__).parents[1] / "sample"

QUERY = "MATCH path = (:Person)-[:CREDITED_ON]->(r:Release)-[:BY|ON|IS]->() WHERE r.id <= 5 RETURN path"


@click.command(short_help="Start a stack and load 4,000 sample records.")
@click.pass_obj
def demo(context: Context) -> None:
    """Start the stack, load 4,000 sample records and show the graph."""
    console = plain_console()
    endpoints = start_stack(context)
    print_all(context, run_load(context, [SAMPLE]))
    asyncio.run(show(console, context, endpoints))


async def show(console: Console, context: Context, endpoints: Endpoints) -> None:
    """Print the size of the graph and the next steps."""
    async with open_driver(context.connected()) as driver:
        console.rule("the graph")
        print_counts(console, await node_counts(driver), await relationship_counts(driver))
        for sentence in await highlights(driver):
            console.print(f"• {sentence}")
    console.rule("next steps")
    console.print(f"Neo4j Browser   {endpoints.browser}")
    console.print(
        f"connect to      {endpoints.neo4j_uri}, user {endpoints.neo4j_user}, password: {_cat(endpoints.password_file)}"
    )
    console.print(f"paste there     {QUERY}")
    console.print(f"Redis           {endpoints.redis_url}, password: {_cat(endpoints.redis_password_file)}")
    console.print(f"stop it         {context.command('down')}   (the data stays)")


def _cat(file: Path) -> str:
    return shlex.join(["cat", str(file)])

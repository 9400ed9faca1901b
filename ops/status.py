"""`graphinator status`: what runs, what is in flight, what is in the graph."""

import asyncio
import json
from typing import Any

import click
from rich.console import Console

from ops.console import counted, plain_console
from ops.info import read_info
from ops.session import Session
from pipeline.summary import node_counts, relationship_counts
from workers.app import connect_quarantine, connect_redis
from workers.batches import Batches
from workers.process import open_driver


@click.command()
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object for scripts.")
@click.pass_obj
def status(session: Session, as_json_: bool) -> None:
    """Show what runs, what is in flight, and what is in the graph."""
    found = read_status(session)
    if as_json_:
        click.echo(json.dumps(found))
    else:
        print_status(plain_console(), found)


def read_status(session: Session) -> dict[str, Any]:
    """One object: `stack` (as `up --json`, or None), `batches_in_flight`, `quarantined`, `nodes`, `relationships`.

    Where nothing runs and the settings name no servers, all but `stack` is left out.
    """
    info = read_info(session.settings.home)
    settings = session.connected()
    status: dict[str, Any] = {"stack": None if info is None else info.to_json()}
    if settings.redis_url is not None:
        redis = connect_redis(settings)
        status["batches_in_flight"] = Batches(redis).in_flight()
        status["quarantined"] = len(connect_quarantine(settings, redis))
    if settings.neo4j_uri is not None:
        status["nodes"], status["relationships"] = asyncio.run(_counts(session))
    return status


async def _counts(session: Session) -> tuple[dict[str, int], dict[str, int]]:
    async with open_driver(session.connected()) as driver:
        return await node_counts(driver), await relationship_counts(driver)


def print_status(console: Console, status: dict[str, Any]) -> None:
    """The status as a person reads it."""
    stack = status["stack"]
    if stack is None:
        console.print("the embedded stack is not running: `graphinator up` starts it")
    else:
        neo4j = stack["neo4j"]
        console.print(f"{counted(stack['workers'], 'worker')}, Neo4j at {neo4j['uri']} ({neo4j['browser']})")
    if "batches_in_flight" in status:
        console.print(
            f"{counted(status['batches_in_flight'], 'batch')} in flight, "
            f"{counted(status['quarantined'], 'record')} set aside"
        )
    if "nodes" in status:
        print_counts(console, status["nodes"], status["relationships"])


def print_counts(console: Console, nodes: dict[str, int], relationships: dict[str, int]) -> None:
    """Nodes and relationships by label and type."""
    for title, counts in (("nodes", nodes), ("relationships", relationships)):
        parts = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
        console.print(f"{title}: {parts or 'none'}")

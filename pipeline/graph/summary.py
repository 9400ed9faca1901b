"""Counts of nodes and relationships, and a few facts about the graph."""

from typing import Any

from neo4j import AsyncManagedTransaction, unit_of_work

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, graph_errors
from pipeline.model import NODES, RELATIONSHIP_TYPES

#: Topic, which names the statement that finds `name` and `number`, and the sentence. The statement may find nothing.
_HIGHLIGHTS = (
    ("label", "The label with most releases is {name}: {number:,}."),
    ("artist", "The artist with most releases is {name}: {number:,}."),
    ("person", "Nobody is credited on more releases than {name}: {number:,}."),
    ("style", "The busiest style is {name}, with {number:,} releases."),
    ("oldest_release", "The oldest release is “{name}”, from {number}."),
    ("group", "The group with most members is {name}: {number:,}."),
)


@graph_errors()
async def node_counts(driver: Driver) -> dict[str, int]:
    """Return the number of nodes by label, zeros included, from the store's counters."""
    return await _counts(driver, "count_nodes", "label", tuple(NODES))


@graph_errors()
async def relationship_counts(driver: Driver) -> dict[str, int]:
    """Return the number of relationships by type, as `node_counts` does."""
    return await _counts(driver, "count_relationships", "type", RELATIONSHIP_TYPES)


@graph_errors()
async def highlights(driver: Driver) -> list[str]:
    """Return sentences about the graph; fewer if it is too empty.

    Reads every node of some labels: for a report after a load, not for frequent calls.
    """
    async with await driver.session(database=driver.database) as session:
        found = [
            (sentence, await session.execute_read(_first, statement(f"highlight_{topic}")))
            for topic, sentence in _HIGHLIGHTS
        ]
    return [sentence.format(**fact) for sentence, fact in found if fact is not None]


async def _counts(driver: Driver, name: str, kind: str, names: tuple[str, ...]) -> dict[str, int]:
    async with await driver.session(database=driver.database) as session:
        # One statement each: only a count that stands alone is answered from the store's counters.
        facts = [await session.execute_read(_first, statement(name, **{kind: each})) for each in names]
    return {each: fact["number"] for each, fact in zip(names, facts, strict=True) if fact is not None}


@unit_of_work(timeout=600)
async def _first(tx: AsyncManagedTransaction, text: str) -> dict[str, Any] | None:
    result = await tx.run(text)
    record = await result.single()
    return None if record is None else record.data()

"""What follows from the records, once all of them are written: nothing that no record supports any more."""

from dataclasses import dataclass

from neo4j import Query, SummaryCounters

from pipeline.cypher import statement
from pipeline.driver import Driver, graph_errors, repeat_conflicts

#: A statement may walk all credits of a full graph.
STATEMENT_TIMEOUT_SECONDS = 3600.0

#: Labels of nodes that live by their relationships alone, or by them until a record defines them.
ORPHANABLE = ("Artist", "Label", "Master", "Genre", "Style", "Person")


@dataclass(frozen=True, slots=True)
class Settled:
    """What was removed: relationships without support, and nodes without relationships by label."""

    same_as: int
    part_of: int
    orphans: dict[str, int]


@graph_errors()
async def settle(driver: Driver) -> Settled:
    """Remove SAME_AS and PART_OF that no record supports, then stubs and names that nothing refers to.

    Idempotent, of bounded memory (the server commits in parts), and safe beside writers. The opposite,
    asserting what records support, is done by the writer with each record.
    Raises GraphUnavailable, after which it may be run again, or GraphRejected.
    """
    same_as = (await _run(driver, statement("settle_same_as"))).relationships_deleted
    part_of = (await _run(driver, statement("settle_part_of"))).relationships_deleted
    orphans = {
        label: (await _run(driver, statement("settle_orphans", label=label))).nodes_deleted
        for label in ORPHANABLE
    }
    return Settled(same_as, part_of, orphans)


async def _run(driver: Driver, text: str) -> SummaryCounters:
    """Run a statement that commits in parts, which the driver neither manages nor repeats."""

    async def run() -> SummaryCounters:
        async with await driver.session(database="neo4j") as session:
            result = await session.run(Query(text, timeout=STATEMENT_TIMEOUT_SECONDS))
            return (await result.consume()).counters

    return await repeat_conflicts(run)

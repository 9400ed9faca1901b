"""What follows from the records, looked at as a whole once all of them are written."""

from typing import Any

from neo4j import Query

from pipeline.graph.cypher import statement
from pipeline.graph.derived import ORPHANABLE
from pipeline.graph.driver import Driver, graph_errors, repeat
from pipeline.graph.statistics import COUNTED

#: A statement may walk all credits of a full graph.
STATEMENT_TIMEOUT_SECONDS = 3600.0


@graph_errors()
async def finish(driver: Driver, *, counts: bool, derived: bool) -> None:
    """Settle what a load leaves to its end; nothing may write meanwhile.

    Always how many genres each style is part of, and the reverse. With `counts` all other statistics, which writers keep
    right unless a load changes much. With `derived` also what writers always keep right: SAME_AS, PART_OF, and that
    there are no nodes which nothing refers to. Idempotent, of bounded memory: the server commits in parts.
    Raises GraphUnavailable, after which it may be run again, or GraphRejected.
    """
    if derived:
        for name in ("assert_same_as", "assert_part_of", "settle_same_as", "settle_part_of"):
            await _run(driver, statement(name))
        for label in ORPHANABLE:
            await _run(driver, statement("settle_orphans", label=label))
    if counts:
        await _count(driver)
    await _run(driver, statement("count_part_of", label="Style", other="Genre", property="genre_count"))
    await _run(driver, statement("count_part_of", label="Genre", other="Style", property="style_count"))


async def _count(driver: Driver) -> None:
    for label, (type_, _) in COUNTED.items():
        await _run(driver, statement("count_releases", label=label, type=type_))
    for kind in ("Genre", "Style"):
        numbers: dict[str, dict[str, int]] = {}
        for label in ("Artist", "Label"):
            text = statement("count_ends", label=label, type=COUNTED[label][0], kind=kind)
            for name, number in (await _run(driver, text))[0]["counts"]:
                numbers.setdefault(name, {})[label] = number
        counts = [[name, each.get("Artist"), each.get("Label")] for name, each in numbers.items()]
        await _run(driver, statement("set_end_counts", kind=kind), counts=counts)


async def _run(driver: Driver, text: str, **parameters: Any) -> list[Any]:
    """Run a statement that may commit in parts, which the driver neither manages nor repeats; gives its rows."""

    async def run() -> list[Any]:
        async with await driver.session(database="neo4j") as session:
            result = await session.run(Query(text, timeout=STATEMENT_TIMEOUT_SECONDS), parameters)
            return [record async for record in result]

    return await repeat(run)

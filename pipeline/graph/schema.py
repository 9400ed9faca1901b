"""Constraints and indexes of the graph, from the table in `pipeline.model`."""

from collections.abc import Iterator

from neo4j import AsyncManagedTransaction, AsyncSession, unit_of_work
from neo4j.exceptions import ClientError, ResultFailedError

from pipeline.errors import GraphRejected
from pipeline.graph.cypher import statement
from pipeline.graph.driver import NO_RETRIES, Driver, graph_errors, original
from pipeline.model import NODES

#: MERGE finds a node by its constraint's index, and two transactions cannot both create it.
UNIQUE_KEYS = frozenset(f"{node.label}.{node.key}" for node in NODES.values())
#: Time limit for building the indexes over an existing graph.
INDEXES_ONLINE_SECONDS = 3600

_CREATED_MEANWHILE = frozenset(
    f"Neo.ClientError.Schema.{rule}AlreadyExists" for rule in ("EquivalentSchemaRule", "Index", "Constraint")
)


def _schema(*kinds: str) -> Iterator[tuple[str, str]]:
    for kind in kinds:
        for node in NODES.values():
            properties = {
                "constraint": (node.key,),
                "range_index": node.range_indexes,
            }
            for each in properties[kind]:
                name = f"{node.label.lower()}_{each}"
                yield name, statement(kind, name=name, label=node.label, property=each)


def _text_indexes() -> Iterator[tuple[str, str]]:
    for node in NODES.values():
        if node.text_index:
            # An index on several properties has none of them in its name.
            alone = node.text_index if len(node.text_index) == 1 else ()
            name = "_".join((node.label.lower(), *alone, "text"))
            properties = ", ".join(f"n.{each}" for each in node.text_index)
            yield name, statement("text_index", name=name, label=node.label, properties=properties)


#: The statements that create constraints and indexes, by the names of these.
SCHEMA = dict(_schema("constraint", "range_index"))
#: Those for full-text indexes, in the order of their labels.
TEXT_INDEXES = dict(_text_indexes())
#: Full-text indexes of earlier versions, which others replace.
_FORMER_INDEXES = ("release_title_text",)


@graph_errors()
async def create_schema(driver: Driver) -> None:
    """Create what is missing of `SCHEMA`, and wait until all is online. Idempotent.

    Raises GraphUnavailable or GraphRejected; the latter also if the data contradicts a constraint.
    """
    async with await driver.session(database=driver.database) as session:
        for text in SCHEMA.values():
            # A managed transaction each: workers that start together may dead-lock over a label.
            try:
                await session.execute_write(_run, text)
            except (ClientError, ResultFailedError) as error:
                # IF NOT EXISTS does not see what another worker creates at this moment.
                if getattr(original(error), "code", None) not in _CREATED_MEANWHILE:
                    raise
        await _await_indexes(session)


@graph_errors()
async def create_text_indexes(driver: Driver) -> None:
    """Create what `missing_text_indexes` lists, wait until it is online, and drop what it replaces. Idempotent.

    To keep the indexes up to date would double Neo4j's time of a first load.
    """
    missing = await missing_text_indexes(driver)
    async with await driver.session(database=driver.database) as session:
        for name in missing:
            await session.execute_write(_run, TEXT_INDEXES[name])
        await _await_indexes(session)
        for name in _FORMER_INDEXES:
            await session.execute_write(_run, statement("drop_index", name=name))


@graph_errors()
async def missing_text_indexes(driver: Driver) -> list[str]:
    """Return the names of missing full-text indexes, of labels that have nodes."""
    labels = [node.label for node in NODES.values() if node.text_index]
    async with await driver.session(database=driver.database) as session:
        present = await session.execute_read(_names, statement("text_indexes"))
        return [
            name
            for name, label in zip(TEXT_INDEXES, labels, strict=True)
            if name not in present and await session.execute_read(_has_nodes, label)
        ]


async def _await_indexes(session: AsyncSession) -> None:
    result = await session.run(statement("await_indexes"), seconds=INDEXES_ONLINE_SECONDS)
    await result.consume()


async def _run(tx: AsyncManagedTransaction, text: str) -> None:
    result = await tx.run(text)
    await result.consume()


@unit_of_work(timeout=60)
async def _has_nodes(tx: AsyncManagedTransaction, label: str) -> bool:
    record = await (await tx.run(statement("count_nodes", label=label))).single(strict=True)
    return bool(record["number"])


@graph_errors()
async def check_database(driver: Driver) -> None:
    """Raise GraphRejected if Neo4j refuses the login, or lacks the database."""
    async with await driver.session(database=driver.database, **NO_RETRIES) as session:
        await session.execute_read(_names, statement("unique_keys"))


@graph_errors()
async def check_schema(driver: Driver) -> None:
    """Raise GraphRejected, naming them, if constraints are missing that every write relies on."""
    async with await driver.session(database=driver.database) as session:
        missing = UNIQUE_KEYS - await session.execute_read(_names, statement("unique_keys"))
    if missing:
        raise GraphRejected(
            f"Neo4j has no uniqueness constraint on {', '.join(sorted(missing))}: create the schema before writing"
        )


@unit_of_work(timeout=60)
async def _names(tx: AsyncManagedTransaction, text: str) -> set[str]:
    record = await (await tx.run(text)).single(strict=True)
    return set(record["names"])

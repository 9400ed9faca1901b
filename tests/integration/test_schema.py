"""The schema is made once, asked for before writing, and makes what it promises."""

import asyncio

import pytest

from pipeline.errors import GraphRejected
from pipeline.graph.driver import Driver
from pipeline.graph.schema import TEXT_INDEXES, UNIQUE_KEYS, check_schema, create_schema, create_text_indexes


async def listed(driver: Driver, what: str) -> set[tuple[str, str, str]]:
    async with await driver.session(database="neo4j") as session:
        result = await session.run(
            f"SHOW {what} YIELD type, labelsOrTypes, properties WHERE labelsOrTypes <> []"
        )
        return {
            (row["type"], ",".join(row["labelsOrTypes"]), ",".join(row["properties"])) async for row in result
        }


async def run(driver: Driver, text: str) -> None:
    async with await driver.session(database="neo4j") as session:
        await (await session.run(text)).consume()


async def test_the_schema_is_that_of_the_contract_and_no_more(driver: Driver) -> None:
    keys = {tuple(key.split(".")) for key in UNIQUE_KEYS}
    for text in TEXT_INDEXES.values():
        await run(driver, text)
    assert {(label, key) for _, label, key in await listed(driver, "CONSTRAINTS")} == keys
    assert await listed(driver, "INDEXES") == {
        *(("RANGE", label, key) for label, key in keys),
        ("RANGE", "Release", "year"),
        ("RANGE", "Master", "year"),
        ("RANGE", "Artist", "name"),
        ("RANGE", "Label", "name"),
        ("FULLTEXT", "Artist", "name"),
        ("FULLTEXT", "Label", "name"),
        ("FULLTEXT", "Person", "name"),
        ("FULLTEXT", "Release", "title,tracks,barcodes"),
        ("FULLTEXT", "Master", "title"),
    }


async def test_creating_it_again_and_by_several_at_once_is_harmless(driver: Driver) -> None:
    before = await listed(driver, "INDEXES")
    await asyncio.gather(*(create_schema(driver) for _ in range(3)))
    assert await listed(driver, "INDEXES") == before


async def test_several_workers_may_create_it_at_once(driver: Driver) -> None:
    before = await listed(driver, "INDEXES")
    for kind in ("CONSTRAINTS", "INDEXES"):
        async with await driver.session(database="neo4j") as session:
            result = await session.run(
                f"SHOW {kind} YIELD name, type WHERE NOT type IN ['LOOKUP', 'FULLTEXT'] RETURN name"
            )
            names = [row["name"] async for row in result]
        for name in names:
            await run(driver, f"DROP {kind.removesuffix('S').replace('INDEXE', 'INDEX')} {name}")
    await asyncio.gather(*(create_schema(driver) for _ in range(4)))
    assert await listed(driver, "INDEXES") == before


@pytest.mark.parametrize("key", sorted(UNIQUE_KEYS))
async def test_a_missing_constraint_is_named_and_refused(driver: Driver, key: str) -> None:
    await check_schema(driver)
    await run(driver, f"DROP CONSTRAINT {key.lower().replace('.', '_')}")
    try:
        with pytest.raises(GraphRejected, match=key):
            await check_schema(driver)
    finally:
        await create_schema(driver)
    await check_schema(driver)


async def test_a_graph_that_contradicts_a_constraint_is_refused(driver: Driver) -> None:
    await run(driver, "DROP CONSTRAINT genre_name")
    try:
        await run(driver, "UNWIND [1, 2] AS n CREATE (:Genre {name: 'Rock'})")
        with pytest.raises(GraphRejected, match="Genre"):
            await create_schema(driver)
    finally:
        await run(driver, "MATCH (n:Genre) DELETE n")
        await create_schema(driver)


async def test_full_text_indexes_are_created_where_there_are_nodes_and_are_part_of_each_commit(
    driver: Driver,
) -> None:
    for name in TEXT_INDEXES:
        await run(driver, f"DROP INDEX {name} IF EXISTS")
    # Its name in graphs of MAPPING_VERSION 2.
    await run(driver, "CREATE FULLTEXT INDEX release_title_text FOR (n:Release) ON EACH [n.title]")
    await run(
        driver, "CREATE (:Release {id: 1, title: 'Unknown Pleasures', tracks: ['Disorder', 'Shadowplay']})"
    )
    await create_text_indexes(driver)
    await create_text_indexes(driver)
    # One whose updates follow the commits loses some when Neo4j is killed after a checkpoint.
    await run(
        driver, "CREATE (:Release {id: 2, title: 'Simple Pleasures', barcodes: ['5012394144777', '123']})"
    )
    async with await driver.session(database="neo4j") as session:
        listed_ = await session.run("SHOW FULLTEXT INDEXES YIELD name, options")
        found = {row["name"]: row["options"]["indexConfig"] async for row in listed_}
        assert found.keys() == {"release_text"}
        assert not found["release_text"]["fulltext.eventually_consistent"]
        for words, ids in {"pleasures": {1, 2}, "shadowplay": {1}, "5012394144777": {2}}.items():
            result = await session.run(
                "CALL db.index.fulltext.queryNodes('release_text', $words) YIELD node RETURN node.id AS id",
                words=words,
            )
            assert {row["id"] async for row in result} == ids

"""Derived relationships and nodes live as long as their reasons; statistics count the rest."""

import asyncio
from typing import Any

import pytest

from pipeline.graph.derived import rebuild
from pipeline.graph.driver import Driver
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import Assertion, RecordType, Row
from tests.integration.rows import artist, changed, credit, keyed, label, master, release
from tests.integration.test_writer_records import expect, expect_counted

SUPPORTING = release(
    1,
    artists=[1],
    labels=[1],
    master=1,
    genres=["Rock"],
    styles=["Punk"],
    credits_=[credit("Ann", "Design", 2)],
    year=1999,
)


async def values(driver: Driver, text: str, **parameters: Any) -> list[Any]:
    async with await driver.session(database="neo4j") as session:
        return [record.values() async for record in await session.run(text, parameters)]


async def test_what_loses_its_support_goes_in_the_same_transaction(driver: Driver) -> None:
    await write_records(driver, RecordType.RELEASES, [SUPPORTING])
    await write_records(driver, RecordType.RELEASES, [release(1, 2)])
    await expect(driver, keyed(RecordType.RELEASES, [release(1, 2)]))


async def test_a_record_without_relationships_is_no_orphan(driver: Driver) -> None:
    rows = (
        keyed(RecordType.ARTISTS, [artist(1)])
        | keyed(RecordType.LABELS, [label(1)])
        | keyed(RecordType.MASTERS, [master(1)])
    )
    for (record_type, _), row in rows.items():
        await write_records(driver, record_type, [row])
    await write_records(driver, RecordType.RELEASES, [SUPPORTING])
    await remove_records(driver, RecordType.RELEASES, [1])
    await rebuild(driver)
    await expect_counted(driver, rows)


async def test_same_as_lives_while_one_credit_says_so(driver: Driver) -> None:
    ann, bob = credit("Ann", "Design", 2), credit("Ann", "Producer", 3)
    both = release(2, credits_=[ann])
    await write_records(driver, RecordType.RELEASES, [release(1, credits_=[ann, bob]), both])
    await write_records(driver, RecordType.RELEASES, [release(1, 2)])
    await expect(driver, keyed(RecordType.RELEASES, [release(1, 2), both]))
    nobody = release(2, 2, credits_=[credit("Ann", "Design")])
    await write_records(driver, RecordType.RELEASES, [nobody])
    await expect(driver, keyed(RecordType.RELEASES, [release(1, 2), nobody]))


async def test_part_of_needs_a_record_with_just_one_genre(driver: Driver) -> None:
    first = master(1, genres=["Rock"], styles=["Punk"])
    second = release(1, genres=["Rock"], styles=["Punk"])
    both = master(1, 2, genres=["Rock", "Pop"], styles=["Punk"])
    late = release(1, 2, genres=["Rock", "Pop"], styles=["Punk"])
    again = release(1, 3, genres=["Rock"], styles=["Punk"])
    await write_records(driver, RecordType.MASTERS, [first])
    await write_records(driver, RecordType.RELEASES, [second])
    await write_records(driver, RecordType.MASTERS, [both])
    for row in (second, late, again):
        await write_records(driver, RecordType.RELEASES, [row])
        await expect(driver, keyed(RecordType.MASTERS, [both]) | keyed(RecordType.RELEASES, [row]))


@pytest.mark.parametrize(
    ("record_type", "row"),
    [
        (RecordType.ARTISTS, artist(1, real_name="Ann", profile="x", aliases=[4], groups=[5])),
        (RecordType.LABELS, label(1, profile="x", parents=[5])),
        (RecordType.MASTERS, master(1, year=1990, artists=[9], genres=["Rock"], styles=["Punk"])),
    ],
)
async def test_a_record_that_goes_leaves_a_stub_where_something_refers_to_it(
    driver: Driver, record_type: RecordType, row: Row
) -> None:
    rows = keyed(RecordType.RELEASES, [SUPPORTING])
    await write_records(driver, RecordType.RELEASES, [SUPPORTING])
    await write_records(driver, record_type, [row])
    assert await remove_records(driver, record_type, [1, 2]) == 1
    await expect_counted(driver, rows)
    assert await remove_records(driver, record_type, [1]) == 0
    assert await remove_records(driver, RecordType.RELEASES, [1]) == 1
    await expect_counted(driver, {})


async def test_only_what_differs_is_written(driver: Driver) -> None:
    before = release(
        1,
        artists=range(1, 11),
        labels=range(1, 11),
        master=1,
        genres=["Rock"],
        styles=["Punk"],
        credits_=[credit(f"Person {number}") for number in range(10)],
    )
    after = changed(before, 8, ("styles", "Oi", ()))
    rows = [artist(1, aliases=[2, 3], groups=[4], members=[5]), artist(6, groups=[1])]
    newer = artist(1, 2, aliases=[2, 7], groups=[4, 8], members=[5])
    every = "MATCH ()-[link]->() RETURN elementId(link), type(link)"
    await write_records(driver, RecordType.RELEASES, [before])
    await write_records(driver, RecordType.ARTISTS, rows)
    old = await values(driver, every)
    await write_records(driver, RecordType.RELEASES, [after])
    await write_records(driver, RecordType.ARTISTS, [newer])
    new = await values(driver, every)
    assert sorted(kind for id_, kind in new if [id_, kind] not in old) == [
        "ALIAS_OF", "IS", "MEMBER_OF", "PART_OF",
    ]  # fmt: skip
    assert [kind for id_, kind in old if [id_, kind] not in new] == ["ALIAS_OF"]
    await expect(driver, keyed(RecordType.RELEASES, [after]) | keyed(RecordType.ARTISTS, [newer, rows[1]]))


async def test_properties_of_relationships_follow(driver: Driver) -> None:
    before = release(1, labels=[1], credits_=[credit("Ann", "Producer")])
    assertions: list[Assertion] = [
        ("labels", 1, (("A", "B"),)),
        ("credits", "Ann", ("Producer", None, "other", None, ("A1",), None)),
    ]
    after: Row = {**changed(before, 2), "assertions": assertions}
    await write_records(driver, RecordType.RELEASES, [before])
    await write_records(driver, RecordType.RELEASES, [after])
    await expect(driver, keyed(RecordType.RELEASES, [after]))


async def test_the_first_year_is_looked_for_when_its_release_goes(driver: Driver) -> None:
    rows = [
        release(id_, artists=[1], genres=["Rock"], year=year)
        for id_, year in ((1, 1990), (2, 1995), (3, 1991))
    ]
    rows.append(release(4, artists=[1]))
    await write_records(driver, RecordType.RELEASES, rows)
    for gone in (3, 1, 2):
        await remove_records(driver, RecordType.RELEASES, [gone])
        rows = [row for row in rows if row["id"] != gone]
        await expect_counted(driver, keyed(RecordType.RELEASES, rows))


async def test_batches_at_once_may_share_all_their_ends(driver: Driver) -> None:
    """All batches refer to the same few nodes, most of them new."""
    for version in (1, 2, 3):
        rows = [
            release(
                id_,
                version,
                artists=[id_ % 3 + version, 9],
                labels=[id_ % 2],
                genres=["Rock", "Pop"][: id_ % 2 + 1],
                styles=[f"Style {id_ % 4 + version}"],
                credits_=[credit(f"Person {id_ % 3}", "Design", id_ % 3 + version)],
                year=1990 + (id_ * version) % 5,
            )
            for id_ in range(1, 17)
        ]
        parts = [rows[0::4], rows[1::4][::-1], rows[2::4], rows[3::4][::-1]]
        await asyncio.gather(*(write_records(driver, RecordType.RELEASES, part) for part in parts))
        await expect_counted(driver, keyed(RecordType.RELEASES, rows))


async def test_a_full_finish_repairs_whatever_is_derived(driver: Driver) -> None:
    rows = keyed(RecordType.RELEASES, [SUPPORTING, release(2, artists=[3], genres=["Pop"])])
    await write_records(driver, RecordType.RELEASES, list(rows.values()))
    for text in (
        "MATCH ()-[link:SAME_AS|PART_OF]->() DELETE link",
        "MATCH (style:Style), (genre:Genre {name: 'Pop'}) CREATE (style)-[:PART_OF]->(genre)",
        "MATCH (artist:Artist {id: 3}) MERGE (person:Person {name: 'Ann'}) CREATE (person)-[:SAME_AS]->(artist)",
        "MATCH (n:Genre|Artist|Label) SET n.release_count = 7, n.first_year = 1, n.label_count = 3",
        "CREATE (:Label {id: 99, name: 'nobody'}), (:Person {name: 'nobody'})",
        "MATCH (n:Label) REMOVE n.label_count",
        "MATCH (n:Artist) REMOVE n.label_count",
    ):
        await values(driver, text)
    await rebuild(driver)
    await expect_counted(driver, rows)

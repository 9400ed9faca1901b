"""One record in the graph, new and changed."""

import gc
import weakref
from typing import Any

from pipeline.graph.derived import count
from pipeline.graph.driver import Driver
from pipeline.graph.writer import Written, write_records
from pipeline.model import RecordType, Row
from tests.graph_dump import differences, read_graph
from tests.integration.rows import Rows, artist, changed, credit, graph_of, keyed, label, master, release
from tests.oracle import add_statistics

FULL_RELEASE = release(
    7,
    artists=[1, 2],
    labels=[3, 4],
    master=5,
    genres=["Rock"],
    styles=["Punk", "New Wave"],
    credits_=[
        credit("Ann", "Producer", 9),
        credit("Ann", "Mixed By", 9),
        credit("Ann", "Producer"),
        credit("Bob", "Design", 1),
    ],
    year=1977,
    released="1977-03-00",
    formats=["LP", "LP"],
    country="UK",
    notes="Line\nbreak “quoted” 🎵",
)


async def expect(driver: Driver, rows: Rows) -> None:
    async with await driver.session(database="neo4j") as session:
        assert differences(graph_of(rows), await read_graph(session, flags=True)) == []


async def expect_counted(driver: Driver, rows: Rows) -> None:
    """Count the statistics, and compare the graph with them."""
    await count(driver)
    async with await driver.session(database="neo4j") as session:
        found = await read_graph(session, ignoring=frozenset(), flags=True)
    assert differences(add_statistics(graph_of(rows)), found) == []


async def test_a_release_is_written_with_all_that_it_says(driver: Driver) -> None:
    assert await write_records(driver, RecordType.RELEASES, [FULL_RELEASE]) == Written(created=1)
    await expect(driver, keyed(RecordType.RELEASES, [FULL_RELEASE]))


async def test_a_record_that_says_nothing_but_its_id_is_a_node(driver: Driver) -> None:
    rows: Rows = {}
    for record_type, row in (
        (RecordType.ARTISTS, artist(1)),
        (RecordType.LABELS, label(1)),
        (RecordType.MASTERS, master(1)),
        (RecordType.RELEASES, release(1)),
    ):
        row["properties"] = {"id": 1, "fingerprint": -5}
        assert await write_records(driver, record_type, [row]) == Written(created=1)
        rows[record_type, 1] = row
    await expect(driver, rows)


async def test_a_written_batch_is_freed_without_a_garbage_collection(driver: Driver) -> None:
    class Kept(dict[str, Any]):
        """A dictionary that takes weak references."""

    row = release(1)
    row["properties"] = Kept(row["properties"])
    properties = weakref.ref(row["properties"])
    gc.disable()
    try:
        await write_records(driver, RecordType.RELEASES, [row])
        del row
        assert properties() is None
    finally:
        gc.enable()


async def test_an_empty_batch_is_no_work(driver: Driver) -> None:
    for record_type in RecordType:
        assert await write_records(driver, record_type, []) == Written()


async def test_no_catalog_number_is_no_property(driver: Driver) -> None:
    row = changed(release(1), 2, ("labels", 2, (None,)))
    await write_records(driver, RecordType.RELEASES, [row])
    await expect(driver, keyed(RecordType.RELEASES, [row]))


async def test_a_changed_record_leaves_nothing_of_its_earlier_version(driver: Driver) -> None:
    versions: list[tuple[RecordType, Row, Row]] = [
        (
            RecordType.RELEASES,
            FULL_RELEASE,
            release(7, 2, artists=[2], genres=["Rock", "Pop"], styles=["Punk"], country="US"),
        ),
        (
            RecordType.MASTERS,
            master(5, artists=[1, 3], genres=["Folk"], styles=["Skiffle"], year=1956, main_release=7),
            master(5, 2, artists=[3], genres=["Folk", "Jazz"], styles=["Bop"], data_quality="Correct"),
        ),
        (
            RecordType.ARTISTS,
            artist(1, aliases=[20, 21], groups=[22, 23], members=[24], profile="x", urls=["u", "v"]),
            artist(1, 2, aliases=[21, 22], groups=[23, 24], real_name="y"),
        ),
        (
            RecordType.LABELS,
            label(3, parents=[30], sublabels=[31, 32], contact_info="x"),
            label(3, 2, sublabels=[32, 33], urls=["u"]),
        ),
    ]
    for record_type, before, _ in versions:
        assert await write_records(driver, record_type, [before]) == Written(created=1)
    await expect(driver, {(type_, row["id"]): row for type_, row, _ in versions})
    for record_type, _, after in versions:
        assert await write_records(driver, record_type, [after]) == Written(changed=1)
    await expect(driver, {(type_, row["id"]): row for type_, _, row in versions})


async def test_a_stub_becomes_the_record_and_keeps_who_refers_to_it(driver: Driver) -> None:
    referring = release(7, artists=[1], labels=[3], master=5)
    await write_records(driver, RecordType.RELEASES, [referring])
    rows = keyed(RecordType.RELEASES, [referring])
    for record_type, row in (
        (RecordType.ARTISTS, artist(1, name="Its own name", profile="p")),
        (RecordType.LABELS, label(3, name="Its own name")),
        (RecordType.MASTERS, master(5, year=1999)),
    ):
        assert await write_records(driver, record_type, [row]) == Written(created=1)
        rows[record_type, row["id"]] = row
    await expect(driver, rows)


async def test_a_reference_never_renames_a_record(driver: Driver) -> None:
    rows = keyed(RecordType.ARTISTS, [artist(1, name="Its own name")])
    await write_records(driver, RecordType.ARTISTS, list(rows.values()))
    referring = release(7, artists=[1])
    await write_records(driver, RecordType.RELEASES, [referring])
    await expect(driver, rows | keyed(RecordType.RELEASES, [referring]))


async def test_a_stub_takes_the_name_of_the_reference_that_gives_one(driver: Driver) -> None:
    nameless, named = release(7, artists=[1]), release(8, artists=[1])
    nameless["names"].clear()
    for rows in ([nameless], [named], [changed(nameless, 2)]):
        await write_records(driver, RecordType.RELEASES, rows)
    await expect(driver, keyed(RecordType.RELEASES, [rows[0], named]))


async def test_a_stub_takes_the_new_name_when_its_only_reference_changes(driver: Driver) -> None:
    before, after = release(7, artists=[1]), release(7, 2, artists=[1])
    after["names"]["artists"] = {1: "Renamed"}
    await write_records(driver, RecordType.RELEASES, [before])
    await write_records(driver, RecordType.RELEASES, [after])
    await expect(driver, keyed(RecordType.RELEASES, [after]))


async def test_what_is_not_a_number_of_64_bits_is_refused_and_nothing_written(driver: Driver) -> None:
    rows = [release(1), release(2**63)]
    try:
        await write_records(driver, RecordType.RELEASES, rows)
    except OverflowError:
        await expect(driver, {})
    else:
        raise AssertionError("the driver took an integer that Neo4j has not")

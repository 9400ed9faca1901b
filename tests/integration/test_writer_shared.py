"""Relationships that two records assert live until neither does, whatever came in which order."""

import random

import pytest

from pipeline.graph.derived import rebuild
from pipeline.graph.driver import Driver
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import RecordType, Row
from tests.integration.rows import Rows, artist, credit, keyed, label, master, release
from tests.integration.test_writer_records import expect, expect_counted


async def write(driver: Driver, *rows: Row, record_type: RecordType = RecordType.ARTISTS) -> None:
    await write_records(driver, record_type, rows)


async def test_either_end_keeps_a_membership_alive(driver: Driver) -> None:
    await write(driver, artist(1, groups=[2]), artist(2, members=[1]))
    await write(driver, artist(1, 2))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 2), artist(2, members=[1])]))
    await write(driver, artist(1, 3, groups=[2]))
    await write(driver, artist(2, 2))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 3, groups=[2]), artist(2, 2)]))
    await write(driver, artist(1, 4))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 4), artist(2, 2)]))


async def test_both_ends_may_withdraw_in_one_batch(driver: Driver) -> None:
    await write(driver, artist(1, groups=[2]), artist(2, members=[1]))
    await write(driver, artist(1, 2), artist(2, 2))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 2), artist(2, 2)]))


async def test_a_stub_that_becomes_a_record_asserts_nothing_by_that(driver: Driver) -> None:
    await write(driver, artist(1, groups=[2]))
    await write(driver, artist(2))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, groups=[2]), artist(2)]))
    await write(driver, artist(1, 2))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 2), artist(2)]))


async def test_member_and_group_are_two_relationships(driver: Driver) -> None:
    rows = [artist(1, groups=[2], members=[2]), artist(2, members=[1])]
    await write(driver, *rows)
    await expect(driver, keyed(RecordType.ARTISTS, rows))


def some(draw: random.Random, universe: range, own: int = 0) -> list[int]:
    others = [id_ for id_ in universe if id_ != own]
    return draw.sample(others, draw.choice([0, 0, 1, 1, 2, 3]))


def random_row(draw: random.Random, record_type: RecordType, id_: int, version: int) -> Row:
    """A record that refers to few others, so that they meet often."""
    ids = range(1, 7)
    genres = draw.sample(["Rock", "Pop", "Jazz"], draw.choice([0, 1, 1, 2]))
    styles = draw.sample(["Punk", "Bop", "Disco"], draw.choice([0, 1, 2]))
    optional = {"data_quality": "Correct"} if draw.random() < 0.5 else {}
    match record_type:
        case RecordType.ARTISTS:
            return artist(
                id_,
                version,
                aliases=some(draw, ids, id_),
                groups=some(draw, ids, id_),
                members=some(draw, ids, id_),
                **optional,
            )
        case RecordType.LABELS:
            return label(
                id_, version, parents=some(draw, ids, id_)[:1], sublabels=some(draw, ids, id_), **optional
            )
        case RecordType.MASTERS:
            return master(id_, version, artists=some(draw, ids), genres=genres, styles=styles, **optional)
        case RecordType.RELEASES:
            given = {(f"Artist {end}", draw.choice(["Producer", "Design"]), end) for end in some(draw, ids)}
            return release(
                id_,
                version,
                artists=some(draw, ids),
                labels=some(draw, ids),
                master=draw.choice([None, 1, 2, 3]),
                genres=genres,
                styles=styles,
                credits_=[credit(*one) for one in sorted(given)],
                **optional,
                **({"year": draw.randint(1990, 1994)} if draw.random() < 0.7 else {}),
            )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_the_graph_is_a_function_of_the_newest_records(driver: Driver, seed: int) -> None:
    """Any history of batches leaves the graph of the newest records."""
    draw = random.Random(seed)
    newest: Rows = {}
    older: list[tuple[RecordType, Row]] = []
    # Half of the histories are about artists alone: there the interplay of two ends is densest.
    types = list(RecordType) if seed % 2 else [RecordType.ARTISTS]
    for version in range(1, 31):
        record_type = draw.choice(types)
        ids = draw.sample(range(1, 7), draw.randint(1, 6))
        rows = [random_row(draw, record_type, id_, version) for id_ in ids]
        again = [row for type_, row in older if newest.get((type_, row["id"])) is row]
        redelivered = [row for row in again if (record_type, row["id"]) in newest and row["id"] not in ids]
        redelivered = [row for row in redelivered if newest[record_type, row["id"]] is row]
        newest |= keyed(record_type, rows)
        older += [(record_type, row) for row in rows]
        await write_records(driver, record_type, rows + redelivered[:2])
        gone = draw.sample(range(1, 7), draw.choice([0, 0, 1, 3]))
        known = [id_ for id_ in gone if newest.pop((record_type, id_), None)]
        assert await remove_records(driver, record_type, gone) == len(known)
        if version % 5 == 0:
            await expect(driver, newest)
    await expect_counted(driver, newest)
    await rebuild(driver)
    await expect_counted(driver, newest)

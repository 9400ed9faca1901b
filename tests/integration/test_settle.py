"""After a load nothing is left that no record supports, and nothing else is gone."""

import asyncio

from pipeline.driver import Driver
from pipeline.model import RecordType
from pipeline.settle import ORPHANABLE, Settled, settle
from pipeline.writer import write_batch
from tests.integration.rows import artist, credit, keyed, label, master, release
from tests.integration.test_writer_records import expect

NOTHING = Settled(0, 0, dict.fromkeys(ORPHANABLE, 0))
SUPPORTING = release(
    1,
    artists=[1],
    labels=[1],
    master=1,
    genres=["Rock"],
    styles=["Punk"],
    credits_=[credit("Ann", "Design", 2)],
)


async def test_a_settled_graph_stays_as_it_is(driver: Driver) -> None:
    assert await settle(driver) == NOTHING
    await write_batch(driver, RecordType.RELEASES, [SUPPORTING])
    assert await settle(driver) == NOTHING
    await expect(driver, keyed(RecordType.RELEASES, [SUPPORTING]))


async def test_it_removes_and_counts_what_lost_its_support(driver: Driver) -> None:
    await write_batch(driver, RecordType.RELEASES, [SUPPORTING])
    await write_batch(driver, RecordType.RELEASES, [release(1, 2)])
    assert await settle(driver) == Settled(
        1, 1, {"Artist": 2, "Label": 1, "Master": 1, "Genre": 1, "Style": 1, "Person": 1}
    )
    await expect(driver, keyed(RecordType.RELEASES, [release(1, 2)]))
    assert await settle(driver) == NOTHING


async def test_a_record_without_relationships_is_no_orphan(driver: Driver) -> None:
    rows = (
        keyed(RecordType.ARTISTS, [artist(1)])
        | keyed(RecordType.LABELS, [label(1)])
        | keyed(RecordType.MASTERS, [master(1)])
    )
    for (record_type, _), row in rows.items():
        await write_batch(driver, record_type, [row])
    assert await settle(driver) == NOTHING
    await expect(driver, rows)


async def test_same_as_lives_while_one_credit_says_so(driver: Driver) -> None:
    ann, bob = credit("Ann", "Design", 2), credit("Ann", "Producer", 3)
    await write_batch(
        driver, RecordType.RELEASES, [release(1, credits_=[ann, bob]), release(2, credits_=[ann])]
    )
    await write_batch(driver, RecordType.RELEASES, [release(1, 2)])
    assert (await settle(driver)).same_as == 1
    await expect(driver, keyed(RecordType.RELEASES, [release(1, 2), release(2, credits_=[ann])]))
    await write_batch(driver, RecordType.RELEASES, [release(2, 2, credits_=[credit("Ann", "Design")])])
    assert (await settle(driver)).same_as == 1


async def test_part_of_needs_a_record_with_just_one_genre(driver: Driver) -> None:
    first = master(1, genres=["Rock"], styles=["Punk"])
    second = release(1, genres=["Rock"], styles=["Punk"])
    await write_batch(driver, RecordType.MASTERS, [first])
    await write_batch(driver, RecordType.RELEASES, [second])
    both = master(1, 2, genres=["Rock", "Pop"], styles=["Punk"])
    await write_batch(driver, RecordType.MASTERS, [both])
    assert (await settle(driver)).part_of == 0
    late = release(1, 2, genres=["Rock", "Pop"], styles=["Punk"])
    await write_batch(driver, RecordType.RELEASES, [late])
    assert (await settle(driver)).part_of == 1
    await expect(driver, keyed(RecordType.MASTERS, [both]) | keyed(RecordType.RELEASES, [late]))


async def test_what_a_writer_asserts_meanwhile_is_not_taken_away(driver: Driver) -> None:
    """The node that lost its last support gains a new one while it is being judged."""
    for version in range(1, 30, 2):
        gone = [release(n, version) for n in (1, 2)]
        back = [
            release(
                n,
                version + 1,
                artists=[1],
                genres=["Rock"],
                styles=["Punk"],
                credits_=[credit("Ann", "Design", 2)],
            )
            for n in (1, 2)
        ]
        await write_batch(driver, RecordType.RELEASES, gone)
        await asyncio.gather(
            settle(driver),
            write_batch(driver, RecordType.RELEASES, back[:1]),
            write_batch(driver, RecordType.RELEASES, back[1:]),
            settle(driver),
        )
        await settle(driver)
        await expect(driver, keyed(RecordType.RELEASES, back))
        await write_batch(driver, RecordType.RELEASES, [release(n, version + 2) for n in (1, 2)])


async def test_more_orphans_than_one_part_holds_all_go(driver: Driver) -> None:
    rows = [release(n, artists=range(10 * n, 10 * n + 10)) for n in range(1, 251)]
    await write_batch(driver, RecordType.RELEASES, rows)
    await write_batch(driver, RecordType.RELEASES, [release(n, 2) for n in range(1, 251)])
    assert (await settle(driver)).orphans["Artist"] == 2500

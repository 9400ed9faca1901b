"""A batch may be redelivered, concurrently, in another order, or cut off."""

import asyncio
from collections.abc import Sequence

import pytest

from pipeline.graph.driver import Driver
from pipeline.graph.writer import Written, write_records
from pipeline.model import RecordType, Row
from tests.integration.rows import artist, credit, keyed, label, master, release
from tests.integration.test_writer_records import expect

NUMBERS = range(1, 41)


def batch(record_type: RecordType, version: int = 1) -> list[Row]:
    """Records that share their ends, and refer to each other where they can."""
    match record_type:
        case RecordType.ARTISTS:
            return [
                artist(n, version, aliases=[n + 1], groups=[n % 7 + 50], members=[n + 2]) for n in NUMBERS
            ]
        case RecordType.LABELS:
            return [label(n, version, parents=[n % 5 + 50], sublabels=[n + 1]) for n in NUMBERS]
        case RecordType.MASTERS:
            return [
                master(n, version, artists=[n % 7 + 50], genres=["Rock"], styles=[f"S{n % 3}"])
                for n in NUMBERS
            ]
        case RecordType.RELEASES:
            return [
                release(
                    n,
                    version,
                    artists=[n % 7 + 50, n],
                    labels=[n % 5 + 50],
                    master=n // 2 + 1,
                    genres=["Rock"],
                    styles=[f"S{n % 3}", "Punk"],
                    credits_=[
                        credit(f"P{n % 11}", "Producer", n % 11 + 70),
                        credit("Everybody", "Design", 99),
                    ],
                )
                for n in NUMBERS
            ]


def total(written: Sequence[Written]) -> Written:
    return Written(
        sum(one.created for one in written),
        sum(one.changed for one in written),
        sum(one.unchanged for one in written),
    )


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_a_second_delivery_changes_nothing(driver: Driver, record_type: RecordType) -> None:
    rows = batch(record_type)
    assert await write_records(driver, record_type, rows) == Written(created=len(rows))
    assert await write_records(driver, record_type, rows) == Written(unchanged=len(rows))
    await expect(driver, keyed(record_type, rows))


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_copies_of_one_batch_at_once_are_one_batch(driver: Driver, record_type: RecordType) -> None:
    rows = batch(record_type)
    copies = [rows, rows[::-1], rows[10:] + rows[:10], rows]
    written = await asyncio.gather(*(write_records(driver, record_type, copy) for copy in copies))
    assert total(written) == Written(created=len(rows), unchanged=3 * len(rows))
    await expect(driver, keyed(record_type, rows))


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_copies_of_one_changed_batch_at_once_are_one_batch(
    driver: Driver, record_type: RecordType
) -> None:
    await write_records(driver, record_type, batch(record_type))
    rows = batch(record_type, 2)
    written = await asyncio.gather(*(write_records(driver, record_type, rows) for _ in range(4)))
    one = total(written)
    assert one.created == 0
    assert one.changed + one.unchanged == 4 * len(rows)
    await expect(driver, keyed(record_type, rows))


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_batches_that_want_the_same_ends_in_reverse_all_get_through(
    driver: Driver, record_type: RecordType
) -> None:
    for version in (1, 2, 3):
        rows = batch(record_type, version)
        parts = [rows[0::4], rows[1::4][::-1], rows[2::4], rows[3::4][::-1]]
        written = await asyncio.gather(*(write_records(driver, record_type, part) for part in parts))
        one = total(written)
        assert one.created + one.changed == len(rows)
        await expect(driver, keyed(record_type, rows))


async def test_batches_of_all_types_at_once_all_get_through(driver: Driver) -> None:
    for version in (1, 2):
        batches = {record_type: batch(record_type, version) for record_type in RecordType}
        await asyncio.gather(
            *(
                write_records(driver, record_type, rows[start::2])
                for record_type, rows in batches.items()
                for start in (0, 1)
            ),
        )
        await expect(
            driver,
            {(record_type, row["id"]): row for record_type, rows in batches.items() for row in rows},
        )


async def test_a_batch_with_new_changed_and_unchanged_records_counts_each(driver: Driver) -> None:
    for record_type in RecordType:
        first, second = batch(record_type), batch(record_type, 2)
        await write_records(driver, record_type, first[:20])
        rows = first[:10] + second[10:20] + first[20:]
        assert await write_records(driver, record_type, rows) == Written(created=20, changed=10, unchanged=10)


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_a_batch_cancelled_before_its_commit_leaves_nothing(
    driver: Driver, record_type: RecordType
) -> None:
    written = asyncio.Event()

    async def hang() -> None:
        written.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(write_records(driver, record_type, batch(record_type), before_commit=hang))
    await asyncio.wait_for(written.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await expect(driver, {})
    # Its locks are gone too: the next delivery does not wait for them.
    async with asyncio.timeout(20):
        await write_records(driver, record_type, batch(record_type))
    await expect(driver, keyed(record_type, batch(record_type)))


@pytest.mark.parametrize("delay_seconds", [0.002, 0.01, 0.02, 0.04])
async def test_a_batch_cancelled_at_any_moment_is_written_whole_or_not_at_all(
    driver: Driver, delay_seconds: float
) -> None:
    rows = batch(RecordType.RELEASES)
    task = asyncio.create_task(write_records(driver, RecordType.RELEASES, rows))
    await asyncio.sleep(delay_seconds)
    task.cancel()
    await asyncio.wait([task])
    written = await write_records(driver, RecordType.RELEASES, rows)
    assert written in (Written(created=len(rows)), Written(unchanged=len(rows)))
    await expect(driver, keyed(RecordType.RELEASES, rows))


async def test_what_before_commit_raises_rolls_back_and_arrives(driver: Driver) -> None:
    async def refuse() -> None:
        raise LookupError("not mine any more")

    with pytest.raises(LookupError, match="not mine any more"):
        await write_records(driver, RecordType.RELEASES, batch(RecordType.RELEASES), before_commit=refuse)
    await expect(driver, {})

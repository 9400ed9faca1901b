"""Transactions that need the same nodes at the same moment, forced and by chance."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from neo4j.exceptions import ClientError, TransientError

from pipeline.errors import GraphRejected, GraphUnavailable
from pipeline.graph import writer
from pipeline.graph.driver import ATTEMPTS, Driver, graph_errors, repeat
from pipeline.graph.writer import Written, remove_records, write_records
from pipeline.model import RecordType, Row
from tests.fakes.faults import server_error
from tests.integration.rows import Rows, artist, keyed, master, release
from tests.integration.test_writer_records import expect
from tests.integration.test_writer_shared import random_row


async def test_who_comes_second_with_the_same_new_record_looks_again(driver: Driver) -> None:
    """Both miss the record; the second waits at its key, fails there, and finds it."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        inside.set()
        await go_on.wait()

    rows = [release(1)]
    first = asyncio.create_task(write_records(driver, RecordType.RELEASES, rows, before_commit=hold))
    await inside.wait()
    second = asyncio.create_task(write_records(driver, RecordType.RELEASES, rows))
    await one_waits(driver, second)
    go_on.set()
    assert await first == Written(created=1)
    assert await second == Written(unchanged=1)
    await expect(driver, keyed(RecordType.RELEASES, rows))


async def one_behind_the_other(driver: Driver, first: Row, second: Row) -> None:
    """Write one artist, and the other one while the first has done all but commit."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        inside.set()
        await go_on.wait()

    leading = asyncio.create_task(write_records(driver, RecordType.ARTISTS, [first], before_commit=hold))
    await inside.wait()
    following = asyncio.create_task(write_records(driver, RecordType.ARTISTS, [second]))
    await one_waits(driver, following)
    go_on.set()
    await asyncio.gather(leading, following)


async def test_both_ends_may_withdraw_at_the_same_time(driver: Driver) -> None:
    await write_records(driver, RecordType.ARTISTS, [artist(1, groups=[2]), artist(2, members=[1])])
    await one_behind_the_other(driver, artist(1, 2), artist(2, 2))
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 2), artist(2, 2)]))


async def test_a_stub_may_become_a_record_while_another_record_refers_to_it(driver: Driver) -> None:
    """The second names other members than the first, which cannot know."""
    stubs, first, second = artist(3, aliases=[1, 2]), artist(1, groups=[2]), artist(2, members=[4])
    await write_records(driver, RecordType.ARTISTS, [stubs])
    await one_behind_the_other(driver, first, second)
    await expect(driver, keyed(RecordType.ARTISTS, [stubs, first, second]))


async def test_a_stub_that_becomes_a_record_meanwhile_keeps_the_name_of_the_record(driver: Driver) -> None:
    """The release sees a stub with another name and waits for the artist's record."""
    referring = [release(1, artists=[5]), release(2, artists=[5])]
    referring[1]["names"]["artists"] = {5: "Other"}
    await write_records(driver, RecordType.RELEASES, referring[:1])
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        inside.set()
        await go_on.wait()

    leading = asyncio.create_task(write_records(driver, RecordType.ARTISTS, [artist(5)], before_commit=hold))
    await inside.wait()
    following = asyncio.create_task(write_records(driver, RecordType.RELEASES, referring[1:]))
    await one_waits(driver, following)
    go_on.set()
    await asyncio.gather(leading, following)
    rows = keyed(RecordType.RELEASES, referring) | keyed(RecordType.ARTISTS, [artist(5)])
    await expect(driver, rows)


@pytest.mark.parametrize("record_type", [RecordType.RELEASES, RecordType.MASTERS])
async def test_a_style_keeps_its_genre_where_one_record_begins_to_say_so_and_another_one_goes(
    driver: Driver, record_type: RecordType
) -> None:
    """The first loses a genre, and creates no relationship that makes the second wait."""
    make = {RecordType.RELEASES: release, RecordType.MASTERS: master}[record_type]
    sole, both = make(2, genres=["Rock"], styles=["Punk"]), make(1, genres=["Rock", "Pop"], styles=["Punk"])
    await write_records(driver, record_type, [both, sole])
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        inside.set()
        await go_on.wait()

    less = make(1, 2, genres=["Rock"], styles=["Punk"])
    leading = asyncio.create_task(write_records(driver, record_type, [less], before_commit=hold))
    await inside.wait()
    following = asyncio.create_task(remove_records(driver, record_type, [2]))
    await one_waits(driver, following)
    go_on.set()
    await asyncio.gather(leading, following)
    await expect(driver, keyed(record_type, [less]))


async def test_a_deadlock_costs_a_repetition_and_nothing_else(driver: Driver) -> None:
    lock = "MATCH (n:Artist {id: $id}) SET n:Artist"
    await write_records(driver, RecordType.ARTISTS, [artist(1, groups=[2])])
    async with await driver.session(database="neo4j") as session:
        tx = await session.begin_transaction()
        await (await tx.run(lock, id=2)).consume()
        batch = asyncio.create_task(write_records(driver, RecordType.ARTISTS, [artist(1, 2, groups=[2])]))
        await one_waits(driver, batch)
        try:
            await (await tx.run(lock, id=1)).consume()
        except TransientError:
            # The server chose this side to give way; otherwise it was the batch, which comes again.
            await tx.close()
        else:
            await tx.rollback()
    assert await batch == Written(changed=1)
    await expect(driver, keyed(RecordType.ARTISTS, [artist(1, 2, groups=[2])]))


async def test_a_reference_deleted_between_merging_and_relating_is_never_lost(driver: Driver) -> None:
    """Another transaction deletes an end that a batch has merged: the batch is retried."""
    old = release(1, artists=[1])
    for version in range(2, 22, 2):
        await write_records(driver, RecordType.RELEASES, [old])
        less = release(1, version)
        more = release(2, version, artists=range(1, 30), genres=["Rock"], styles=["Punk"])
        await asyncio.gather(
            write_records(driver, RecordType.RELEASES, [less]),
            write_records(driver, RecordType.RELEASES, [more]),
        )
        await expect(driver, keyed(RecordType.RELEASES, [less, more]))
        assert await remove_records(driver, RecordType.RELEASES, [2]) == 1
        old = release(1, version + 1, artists=range(1, 30), genres=["Rock"], styles=["Punk"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_records_that_share_relationships_may_be_written_at_the_same_time(
    driver: Driver, seed: int
) -> None:
    """Each record changes in one of several concurrent batches."""
    draw = random.Random(seed)
    newest: Rows = {}
    for version in range(1, 16):
        ids = draw.sample(range(1, 7), 6)
        rows = [random_row(draw, RecordType.ARTISTS, id_, version) for id_ in ids]
        newest |= keyed(RecordType.ARTISTS, rows)
        parts = [rows[0:2], rows[2:4], rows[4:6]]
        await asyncio.gather(*(write_records(driver, RecordType.ARTISTS, part) for part in parts))
        if version % 3 == 0:
            await expect(driver, newest)


async def test_a_deadlock_with_another_client_is_survived(driver: Driver) -> None:
    """One locks the genre, then the release; the other one the reverse."""
    old, new = release(1, 1, genres=["Jazz"]), release(1, 2, genres=["Rock"])
    await write_records(driver, RecordType.RELEASES, [old, release(9, 1, genres=["Rock"])])
    async with (
        await driver.session(database="neo4j") as other,
        await other.begin_transaction() as holding,
    ):
        await (await holding.run("MATCH (g:Genre {name: 'Rock'}) SET g.held = 1")).consume()
        async with asyncio.TaskGroup() as group:
            batch = group.create_task(write_records(driver, RecordType.RELEASES, [new]))
            await one_waits(driver, batch)
            with suppress(TransientError):  # the server ends one of the two
                await (await holding.run("MATCH (r:Release {id: 1}) SET r.held = 1")).consume()
            await holding.close()
    await expect(driver, keyed(RecordType.RELEASES, [new, release(9, 1, genres=["Rock"])]))


async def test_the_server_ends_a_write_that_takes_too_long(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_records(driver, RecordType.RELEASES, [release(1, 1)])
    monkeypatch.setattr(writer._write, "timeout", 0.5)
    async with (
        await driver.session(database="neo4j") as other,
        await other.begin_transaction() as holding,
    ):
        await (await holding.run("MATCH (r:Release {id: 1}) SET r.held = 1")).consume()
        with pytest.raises(GraphUnavailable, match="terminated"):
            await write_records(driver, RecordType.RELEASES, [release(1, 2)])
        await holding.close()
    await expect(driver, keyed(RecordType.RELEASES, [release(1, 1)]))


async def one_waits(driver: Driver, batch: asyncio.Task[Any]) -> None:
    """Wait until the transaction of this batch waits for a lock."""
    text = "SHOW TRANSACTIONS YIELD status WHERE split(status, ' ')[0] IN ['Closing', 'Blocked'] RETURN count(*) AS n"
    async with await driver.session(database="neo4j") as session:
        while True:
            result = await session.run(text)
            if (await result.single(strict=True))["n"]:
                break
            assert not batch.done()
            await asyncio.sleep(0.02)
    assert not batch.done()


async def test_a_conflict_that_never_ends_is_rejected_after_some_attempts() -> None:
    attempts = 0

    async def collide() -> None:
        nonlocal attempts
        attempts += 1
        raise server_error("Neo.ClientError.Statement.EntityNotFound", "gone again")

    with pytest.raises(ClientError, match="gone again"):
        await repeat(collide)
    assert attempts == ATTEMPTS


async def test_other_errors_are_not_repeated(driver: Driver) -> None:
    attempts = 0

    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        async with await driver.session(database="neo4j") as session:
            await session.run("nonsense")

    with pytest.raises(GraphRejected):
        async with graph_errors():
            await repeat(fail)
    assert attempts == 1

"""A connection that breaks, and a server that says nothing."""

import asyncio
from typing import Any

import pytest
from neo4j.exceptions import IncompleteCommit, ServiceUnavailable, SessionExpired, TransactionError

from tests.contract.world import COUNT, CREATE, World

LOST = (ServiceUnavailable, SessionExpired)
QUICK: dict[str, Any] = {"initial_retry_delay": 0.001, "retry_delay_jitter_factor": 0.0}


async def create(tx: Any, name: str) -> None:
    await (await tx.run(CREATE, name=name)).consume()


async def test_a_connection_lost_between_statements_starts_the_function_again(world: World) -> None:
    attempts = []

    async def work(tx: Any) -> None:
        attempts.append(tx)
        await create(tx, "first")
        if len(attempts) == 1:
            await world.faults.cut()
        await create(tx, "second")

    async with world.driver.session(database="neo4j", **QUICK) as session:
        await session.execute_write(work)
    assert len(attempts) == 2
    assert await world.names() == ["first", "second"]


async def test_a_connection_lost_before_a_result_is_read_fails_the_reader(world: World) -> None:
    async with world.driver.session(database="neo4j", fetch_size=2) as session:
        result = await session.run(COUNT, n=5)
        await world.faults.cut()
        with pytest.raises(LOST):
            [record async for record in result]
        again = await session.run(COUNT, n=1)
        assert [record["x"] async for record in again] == [1]


async def test_a_commit_that_nobody_confirms_is_not_tried_again(world: World) -> None:
    attempts = []

    async def work(tx: Any) -> None:
        attempts.append(tx)
        await create(tx, "perhaps")
        await world.faults.cut_on_next_request()

    async with world.driver.session(database="neo4j", **QUICK) as session:
        with pytest.raises(IncompleteCommit):
            await session.execute_write(work)
    assert len(attempts) == 1


async def test_silence_can_be_cancelled_and_its_work_is_undone(world: World) -> None:
    async def work(tx: Any) -> None:
        await create(tx, "never")
        await world.faults.freeze()
        await create(tx, "never")

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.execute_write(work)
    await world.faults.thaw()
    assert await world.names() == []


async def test_a_cancellation_that_the_function_swallows_fails_its_transaction(world: World) -> None:
    async def work(tx: Any) -> str:
        await create(tx, "never")
        await world.faults.freeze()
        try:
            async with asyncio.timeout(0.2):
                await create(tx, "never")
        except TimeoutError:
            await world.faults.thaw()
        return "as if nothing had happened"

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(TransactionError):
            await session.execute_write(work)
    assert await world.names() == []


async def test_a_server_that_cannot_be_reached_is_unavailable(world: World) -> None:
    await world.faults.refuse()
    with pytest.raises(LOST):
        await world.driver.verify_connectivity()
    async with world.driver.session(database="neo4j", max_transaction_retry_time=0.0) as session:
        with pytest.raises(LOST):
            await session.execute_write(create, "never")
    await world.faults.thaw()
    await world.driver.verify_connectivity()
    assert await world.names() == []

"""Managed transactions: commit, roll back, again."""

import asyncio
from typing import Any

import neo4j
import pytest
from neo4j.exceptions import CypherSyntaxError, ResultFailedError, TransactionError

from tests.contract.world import COUNT, CREATE, NONSENSE, World
from tests.fakes.faults import connection_lost, deadlock, server_error

#: Pauses between attempts too short to wait for.
QUICK: dict[str, Any] = {"initial_retry_delay": 0.001, "retry_delay_jitter_factor": 0.0}


async def create(tx: Any, name: str) -> None:
    await (await tx.run(CREATE, name=name)).consume()


async def test_what_the_function_returns_is_returned_and_its_work_is_committed(world: World) -> None:
    async def work(tx: Any, first: str, *, second: str) -> int:
        await create(tx, first)
        await create(tx, second)
        return 2

    async with world.driver.session(database="neo4j") as session:
        assert await session.execute_write(work, "a", second="b") == 2
    assert await world.names() == ["a", "b"]


async def test_what_the_function_raises_is_raised_and_its_work_is_undone(world: World) -> None:
    async def work(tx: Any) -> None:
        await create(tx, "never")
        raise ZeroDivisionError

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(ZeroDivisionError):
            await session.execute_write(work)
    assert await world.names() == []


async def test_a_transaction_sees_its_own_work(world: World) -> None:
    async def work(tx: Any) -> list[str]:
        await create(tx, "own")
        result = await tx.run("MATCH (t:ContractThing) RETURN t.name AS name ORDER BY name")
        return [record["name"] async for record in result]

    async with world.driver.session(database="neo4j") as session:
        assert await session.execute_write(work) == ["own"]


async def test_a_transaction_used_after_its_end_is_an_error(world: World) -> None:
    async def work(tx: Any) -> Any:
        return tx

    async with world.driver.session(database="neo4j") as session:
        ended = await session.execute_write(work)
        with pytest.raises(TransactionError, match="closed"):
            await ended.run(COUNT, n=1)


async def test_a_transaction_takes_no_query_object(world: World) -> None:
    async def work(tx: Any) -> None:
        with pytest.raises(TypeError):
            await tx.run(neo4j.Query("RETURN 1"))

    async with world.driver.session(database="neo4j") as session:
        await session.execute_write(work)


async def test_an_error_of_the_server_ends_the_transaction_whatever_the_function_makes_of_it(
    world: World,
) -> None:
    seen: list[BaseException] = []

    async def work(tx: Any) -> None:
        await create(tx, "never")
        before = await tx.run(COUNT, n=3)
        for statement in (NONSENSE, COUNT):
            try:
                await tx.run(statement, n=1)
            except (CypherSyntaxError, TransactionError) as error:
                seen.append(error)
        try:
            await before.single()
        except ResultFailedError as error:
            seen.append(error)

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(TransactionError, match="failed"):
            await session.execute_write(work)
    assert [type(error) for error in seen] == [CypherSyntaxError, TransactionError, ResultFailedError]
    assert await world.names() == []


async def test_a_transaction_function_that_is_cancelled_is_undone_and_the_cancellation_goes_on(
    world: World,
) -> None:
    async def work(tx: Any) -> None:
        await create(tx, "never")
        raise asyncio.CancelledError

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(asyncio.CancelledError):
            await session.execute_write(work)
        await session.execute_write(create, "afterwards")
    assert await world.names() == ["afterwards"]


@pytest.mark.parametrize("make_error", [deadlock, connection_lost])
async def test_an_error_that_may_pass_starts_the_function_again(world: World, make_error: Any) -> None:
    attempts = []

    async def work(tx: Any) -> int:
        attempts.append(tx)
        await create(tx, f"attempt {len(attempts)}")
        if len(attempts) <= 3:
            raise make_error()
        return len(attempts)

    async with world.driver.session(database="neo4j", **QUICK) as session:
        assert await session.execute_write(work) == 4
    assert await world.names() == ["attempt 4"]
    assert len({id(tx) for tx in attempts}) == 4


async def test_an_error_that_will_not_pass_is_raised_at_once(world: World) -> None:
    attempts = []

    async def work(tx: Any) -> None:
        attempts.append(tx)
        raise server_error("Neo.ClientError.Schema.ConstraintValidationFailed", "already exists")

    async with world.driver.session(database="neo4j", **QUICK) as session:
        with pytest.raises(neo4j.exceptions.ConstraintError):
            await session.execute_write(work)
    assert len(attempts) == 1


async def test_when_the_time_for_attempts_is_used_up_the_last_error_is_raised(world: World) -> None:
    attempts = []

    async def work(tx: Any) -> None:
        attempts.append(tx)
        raise deadlock()

    async with world.driver.session(database="neo4j", max_transaction_retry_time=0.0, **QUICK) as session:
        with pytest.raises(neo4j.exceptions.TransientError):
            await session.execute_write(work)
    assert len(attempts) == 1

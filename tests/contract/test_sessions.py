"""Sessions and the driver: open, closed, forgotten."""

import asyncio
import gc
from typing import Any, cast

import neo4j
import pytest
from neo4j.exceptions import (
    ClientError,
    ConfigurationError,
    CypherSyntaxError,
    DriverError,
    SessionError,
    TransactionError,
)

from tests.contract.world import COUNT, CREATE, DIVIDE, ECHO, NONSENSE, World


async def test_a_closed_session_refuses_work(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        pass

    async def work(_: object) -> None:
        raise AssertionError

    for call in (
        session.run(COUNT, n=1),
        session.execute_read(work),
        session.execute_write(work),
    ):
        with pytest.raises(SessionError):
            await call


async def test_a_session_may_be_closed_twice(world: World) -> None:
    session = world.driver.session(database="neo4j")  # ast-grep-ignore: session-not-entered
    await session.close()
    await session.close()


async def test_a_block_that_fails_closes_its_session_and_keeps_the_error(world: World) -> None:
    with pytest.raises(ZeroDivisionError):
        async with world.driver.session(database="neo4j") as session:
            raise ZeroDivisionError
    with pytest.raises(SessionError):
        await session.run(COUNT, n=1)


async def test_a_block_that_is_cancelled_closes_its_session(world: World) -> None:
    sessions: list[neo4j.AsyncSession] = []

    async def cancelled() -> None:
        async with world.driver.session(database="neo4j") as session:
            sessions.append(session)
            await session.run(CREATE, name="never")
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await cancelled()
    with pytest.raises(SessionError):
        await sessions[0].run(COUNT, n=1)


async def test_a_session_that_nobody_closes_is_reported(world: World) -> None:
    def forget() -> None:
        world.driver.session(database="neo4j")  # ast-grep-ignore: session-not-entered
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed"):
        forget()


async def test_a_closed_driver_refuses_work(world: World) -> None:
    await world.driver.close()
    await world.driver.close()
    with pytest.raises(DriverError):
        world.driver.session(database="neo4j")  # ast-grep-ignore: session-not-entered
    with pytest.raises(DriverError):
        await world.driver.verify_connectivity()


async def test_the_driver_can_ask_whether_the_server_answers(world: World) -> None:
    await world.driver.verify_connectivity()


async def test_an_unknown_setting_of_a_session_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError):
        cast("Any", world.driver).session(databse="neo4j")  # ast-grep-ignore: session-not-entered


async def test_what_is_no_statement_is_refused(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(ValueError, match="empty"):
            await session.run("")
        with pytest.raises(TypeError):
            await session.run(cast("Any", 5))
        with pytest.raises(CypherSyntaxError):
            await session.run(NONSENSE)
        result = await session.run(neo4j.Query(COUNT), n=2)
        assert [record["x"] async for record in result] == [1, 2]


async def test_parameters_may_be_given_both_ways_and_keywords_win(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(ECHO, {"a": [1, "x", None, 2.5, True], "b": 1}, b={"k": (1, 2)})
        record = await result.single(strict=True)
    assert record.data() == {"a": [1, "x", None, 2.5, True], "b": {"k": [1, 2]}}


async def test_a_missing_parameter_is_the_clients_error(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(ClientError, match="Expected parameter"):
            await session.run(ECHO, a=1)


@pytest.mark.parametrize(
    ("value", "error"), [(object(), ValueError), (2**63, OverflowError), ([{"x": object()}], ValueError)]
)
async def test_a_parameter_that_cannot_be_sent_is_refused(
    world: World, value: object, error: type[Exception]
) -> None:
    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(error):
            await session.run(ECHO, a=value, b=1)


async def test_a_session_in_a_transaction_runs_no_other_statement(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:

        async def work(_: object) -> None:
            with pytest.raises(TransactionError, match="already open"):
                await session.run(COUNT, n=1)

        await session.execute_read(work)


async def test_a_statement_run_by_itself_is_committed_once_its_result_is_read(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        await (await session.run(CREATE, name="read")).consume()
        await session.run(CREATE, name="left to the end of the session")
    assert await world.names() == ["left to the end of the session", "read"]


async def test_closing_swallows_the_error_of_a_result_that_nobody_read(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        await session.run(DIVIDE, divisors=[1, 0])


async def test_a_statement_that_fails_leaves_its_session_usable(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(CypherSyntaxError):
            await session.run(NONSENSE)
        result = await session.run(COUNT, n=1)
        assert [record["x"] async for record in result] == [1]

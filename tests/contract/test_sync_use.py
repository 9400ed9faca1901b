"""The original bug, sync use of the driver, method by method.

A driver that accepts it is no test double.
"""

import asyncio
import inspect
from typing import Any, cast

import pytest

from tests.contract.world import COUNT, World


def anything(value: object) -> Any:
    """A value whose type the type checker does not know, as in untyped code."""
    return value


async def test_session_is_made_without_waiting(world: World) -> None:
    session = world.driver.session(database="neo4j")  # ast-grep-ignore: session-not-entered
    assert not inspect.isawaitable(session)
    await session.close()


async def test_sync_with_on_a_session_raises_at_once(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        with pytest.raises((TypeError, AttributeError)), anything(session):
            pass


async def test_sync_with_on_the_driver_raises_at_once(world: World) -> None:
    with pytest.raises((TypeError, AttributeError)), anything(world.driver):
        pass


async def test_sync_for_over_a_result_raises_at_once(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(COUNT, n=3)
        with pytest.raises(TypeError):
            iter(anything(result))
        await result.consume()


async def test_sync_for_over_a_run_that_was_not_awaited_raises_at_once(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        pending = anything(session.run(COUNT, n=3))
        with pytest.raises(TypeError):
            iter(pending)
        pending.close()


async def test_a_managed_transaction_is_no_context_manager(world: World) -> None:
    async def work(tx: Any) -> None:
        with pytest.raises((TypeError, AttributeError)), tx:
            pass
        with pytest.raises((TypeError, AttributeError)):
            async with tx:
                pass

    async with world.driver.session(database="neo4j") as session:
        await session.execute_write(work)


async def test_each_call_gives_a_coroutine_and_does_nothing_before_it_is_awaited(world: World) -> None:
    pending: list[Any] = []

    async def work(tx: Any) -> None:
        pending.append(tx.run(COUNT, n=3))

    async with world.driver.session(database="neo4j") as session:
        await session.execute_read(work)
        pending += [
            session.run(COUNT, n=3),
            session.execute_read(work),
            session.execute_write(work),
        ]
        result = await session.run(COUNT, n=1)
        pending += [result.single(), result.consume()]
        pending += [world.driver.verify_connectivity(), world.driver.close()]
        assert [record["x"] async for record in result] == [1]
        pending.append(session.close())
    assert all(inspect.iscoroutine(call) for call in pending)
    for call in pending:
        call.close()


async def test_a_transaction_function_that_is_not_async_is_refused(world: World) -> None:
    def work(_: object) -> int:
        return 5

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(TypeError):
            await session.execute_write(cast("Any", work))


async def test_a_transaction_function_that_was_called_instead_of_passed_is_refused(world: World) -> None:
    async def work() -> int:
        return 5

    call = work()
    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(TypeError, match="callable"):
            await session.execute_write(cast("Any", call))
    call.close()


async def test_a_session_used_by_two_tasks_at_once_is_refused(world: World) -> None:
    async def read(session: Any) -> list[int]:
        result = await session.run(COUNT, n=3)
        return [record["x"] async for record in result]

    async with world.driver.session(database="neo4j") as session:
        first, second = await asyncio.gather(read(session), read(session), return_exceptions=True)
    assert first == [1, 2, 3]
    assert isinstance(second, RuntimeError)


async def test_a_transaction_used_by_two_tasks_at_once_is_refused(world: World) -> None:
    async def read(tx: Any) -> int:
        record = await (await tx.run(COUNT, n=1)).single()
        return int(record["x"])

    async def work(tx: Any) -> tuple[Any, Any]:
        return await asyncio.gather(read(tx), read(tx), return_exceptions=True)

    async with world.driver.session(database="neo4j") as session:
        first, second = await session.execute_read(work)
    assert first == 1
    assert isinstance(second, RuntimeError)


async def test_a_session_that_runs_a_transaction_refuses_other_tasks(world: World) -> None:
    async def work(tx: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refused())
        await (await tx.run(COUNT, n=1)).consume()

    async def refused() -> None:
        with pytest.raises(RuntimeError):
            await session.run(COUNT, n=1)

    async with world.driver.session(database="neo4j") as session:
        await session.execute_read(work)

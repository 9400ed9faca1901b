"""Results: read once, while their transaction lasts."""

from typing import Any

import pytest
from neo4j.exceptions import ClientError, ResultConsumedError, ResultFailedError, ResultNotSingleError

from tests.contract.world import COUNT, CREATE, DIVIDE, NAMES, World


async def numbers(result: Any) -> list[int]:
    return [record["x"] async for record in result]


async def test_a_record_comes_once_whoever_asks(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(COUNT, n=3)
        async for record in result:
            assert record["x"] == 1
            break
        assert await numbers(result) == [2, 3]
        assert await numbers(result) == []


async def test_more_records_than_one_message_holds_all_arrive(world: World) -> None:
    async with world.driver.session(database="neo4j", fetch_size=10) as session:
        assert await numbers(await session.run(COUNT, n=101)) == list(range(1, 102))


@pytest.mark.parametrize("strict", [True, False])
async def test_single_gives_the_only_record(world: World, strict: bool) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(COUNT, n=1)
        record = await (result.single(strict=True) if strict else result.single())
        assert record is not None
        assert record["x"] == record[0] == 1
        assert record.keys() == ["x"]


async def test_single_of_none_is_none_or_an_error(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        assert await (await session.run(COUNT, n=0)).single() is None
        with pytest.raises(ResultNotSingleError):
            await (await session.run(COUNT, n=0)).single(strict=True)


async def test_single_of_many_is_a_warning_or_an_error(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        with pytest.warns(UserWarning, match="single"):
            record = await (await session.run(COUNT, n=5)).single()
        assert record is not None
        assert record["x"] == 1
        with pytest.raises(ResultNotSingleError):
            await (await session.run(COUNT, n=5)).single(strict=True)


async def test_single_reads_to_the_end(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(COUNT, n=1)
        await result.single()
        assert await numbers(result) == []
        assert await result.single() is None


async def test_a_consumed_result_has_no_records(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(COUNT, n=3)
        await result.consume()
        await result.consume()
        with pytest.raises(ResultConsumedError):
            await numbers(result)
        with pytest.raises(ResultConsumedError):
            await result.single()


async def test_consume_tells_what_was_run(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        summary = await (await session.run(COUNT, n=3)).consume()
    assert summary.query == COUNT
    assert summary.parameters == {"n": 3}


async def test_a_result_read_after_its_transaction_is_an_error(world: World) -> None:
    async def work(tx: Any) -> tuple[Any, Any]:
        read, unread = await tx.run(COUNT, n=1), await tx.run(COUNT, n=3)
        assert await numbers(read) == [1]
        return read, unread

    async with world.driver.session(database="neo4j") as session:
        for result in await session.execute_read(work):
            with pytest.raises(ResultConsumedError, match="out of scope"):
                await numbers(result)
            with pytest.raises(ResultConsumedError, match="out of scope"):
                await result.single()
            with pytest.raises(ResultConsumedError, match="out of scope"):
                await result.consume()


async def test_a_result_read_after_a_rollback_is_an_error(world: World) -> None:
    results: list[Any] = []

    async def work(tx: Any) -> None:
        results.append(await tx.run(COUNT, n=3))
        raise ZeroDivisionError

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(ZeroDivisionError):
            await session.execute_read(work)
        with pytest.raises(ResultConsumedError, match="out of scope"):
            await numbers(results[0])


async def test_a_result_read_after_its_session_is_an_error(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(COUNT, n=3)
    with pytest.raises(ResultConsumedError):
        await numbers(result)


async def test_the_next_statement_of_a_session_leaves_the_previous_result_readable(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        first = await session.run(COUNT, n=3)
        second = await session.run(COUNT, n=2)
        assert await numbers(second) == [1, 2]
        assert await numbers(first) == [1, 2, 3]


async def test_several_results_of_a_transaction_may_be_read_in_any_order(world: World) -> None:
    async def work(tx: Any) -> list[list[int]]:
        first, second = await tx.run(COUNT, n=3), await tx.run(COUNT, n=2)
        return [await numbers(second), await numbers(first)]

    async with world.driver.session(database="neo4j", fetch_size=1) as session:
        assert await session.execute_read(work) == [[1, 2], [1, 2, 3]]


async def test_an_error_comes_where_its_record_would(world: World) -> None:
    async with world.driver.session(database="neo4j") as session:
        result = await session.run(DIVIDE, divisors=[3, 0])
        assert (await anext(aiter(result)))["x"] == 2
        with pytest.raises(ClientError):
            await numbers(result)
        with pytest.raises(ResultFailedError):
            await numbers(result)
        with pytest.raises(ResultFailedError):
            await result.single()


async def test_an_unread_result_of_a_transaction_is_discarded_but_its_work_is_done(world: World) -> None:
    async def work(tx: Any) -> str:
        await tx.run(CREATE, name="unread")
        await tx.run(NAMES)
        return "done"

    async with world.driver.session(database="neo4j") as session:
        assert await session.execute_write(work) == "done"
    assert await world.names() == ["unread"]


async def test_an_error_in_an_unread_result_fails_the_transaction(world: World) -> None:
    async def work(tx: Any) -> None:
        await tx.run(CREATE, name="never")
        await tx.run(DIVIDE, divisors=[1, 0])

    async with world.driver.session(database="neo4j") as session:
        with pytest.raises(ClientError):
            await session.execute_write(work)
    assert await world.names() == []

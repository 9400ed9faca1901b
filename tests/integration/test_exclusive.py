"""Exclusive tasks and the state of the statistics, on the real Valkey."""

import pytest
from redis import Redis

from pipeline.errors import GraphOverloaded, GraphUnavailable
from workers.state.exclusive import ExclusiveTasks, PoisonTask, TaskResult
from workers.state.in_flight import MAX_CRASHES
from workers.state.keys import EXCLUSIVE_LEASE
from workers.state.lease import LeaseLost
from workers.state.statistics import Freshness, Statistics, StatisticsState

TOKEN = "a task"
COUNTED = TaskResult(counted=True)


@pytest.fixture
def tasks(redis: Redis) -> ExclusiveTasks:
    """A task is asked for."""
    tasks = ExclusiveTasks(redis)
    tasks.ask(TOKEN)
    return tasks


@pytest.fixture
def statistics(redis: Redis) -> StatisticsState:
    return StatisticsState(redis)


def end(tasks: ExclusiveTasks, result: TaskResult) -> None:
    with tasks.lease(TOKEN) as lease:
        assert lease is not None
        tasks.end(lease, TOKEN, result)


def test_a_task_that_ends_keeps_its_result_and_is_not_asked_for_again(tasks: ExclusiveTasks) -> None:
    assert tasks.result(TOKEN) is None
    end(tasks, TaskResult(removed=3))
    assert tasks.result(TOKEN) == TaskResult(removed=3)
    tasks.ask(TOKEN)
    with tasks.lease(TOKEN) as lease:
        assert lease is None
    tasks.ask("the next one")
    assert tasks.result(TOKEN) is None


def test_one_worker_runs_a_task_and_only_one_that_is_asked_for(tasks: ExclusiveTasks) -> None:
    with tasks.lease("another") as lease:
        assert lease is None
    assert not tasks.is_running()
    with tasks.lease(TOKEN) as first:
        assert first is not None
        assert tasks.is_running()
        with tasks.lease(TOKEN) as second:
            assert second is None


def test_a_task_that_is_withdrawn_while_it_runs_leaves_no_result(
    tasks: ExclusiveTasks, statistics: StatisticsState
) -> None:
    with tasks.lease(TOKEN) as lease:
        assert lease is not None
        tasks.withdraw()
        tasks.end(lease, TOKEN, COUNTED)
    assert tasks.result(TOKEN) is None
    assert not statistics.get().is_fresh


def test_a_worker_that_lost_its_lease_leaves_no_result(
    tasks: ExclusiveTasks, statistics: StatisticsState, redis: Redis
) -> None:
    with tasks.lease(TOKEN) as lease:
        assert lease is not None
        redis.set(EXCLUSIVE_LEASE, "another worker")
        with pytest.raises(LeaseLost):
            tasks.end(lease, TOKEN, COUNTED)
    assert tasks.result(TOKEN) is None
    assert not statistics.get().is_fresh


def test_a_task_that_is_too_much_for_neo4j_each_time_is_given_up_and_one_that_only_waits_is_not(
    tasks: ExclusiveTasks,
) -> None:
    for error in [GraphUnavailable("away")] * MAX_CRASHES + [GraphOverloaded("no memory")] * MAX_CRASHES:
        with pytest.raises(type(error)), tasks.attempt():
            raise error
    with pytest.raises(PoisonTask), tasks.attempt():
        pass
    tasks.ask("the next one")
    with tasks.attempt():
        pass


def test_statistics_are_stale_until_they_are_counted_and_from_the_next_write_on(
    tasks: ExclusiveTasks, statistics: StatisticsState
) -> None:
    assert statistics.get() == Statistics(Freshness.STALE, None)
    end(tasks, COUNTED)
    fresh = statistics.get()
    assert fresh.state is Freshness.FRESH
    assert statistics.get().is_fresh
    statistics.mark_stale()
    stale = statistics.get()
    assert stale.state is Freshness.STALE
    assert stale.at is not None
    assert fresh.at is not None
    assert stale.at >= fresh.at
    statistics.mark_stale()
    assert statistics.get() == stale


def test_statistics_are_due_when_they_have_been_stale_for_long(
    tasks: ExclusiveTasks, statistics: StatisticsState
) -> None:
    # Nobody knows since when: they are stale from the first look on.
    assert not statistics.is_due(0)
    assert statistics.is_due(0)
    assert not statistics.is_due(3600)
    end(tasks, COUNTED)
    assert not statistics.is_due(0)


def test_a_failed_count_is_tried_again_after_the_same_time(statistics: StatisticsState, redis: Redis) -> None:
    statistics.mark_stale()
    redis.hset("graphinator:statistics", "stale", "1000")
    assert statistics.is_due(3600)
    statistics.mark_failed()
    assert not statistics.is_due(3600)
    assert statistics.is_due(0)


def test_only_a_new_stale_mark_is_awaited_on_disk(statistics: StatisticsState, redis: Redis) -> None:
    redis.config_resetstat()
    statistics.mark_stale()
    redis.hset("graphinator:statistics", "stale", "1000")
    statistics.mark_stale()
    waits = redis.info("commandstats")["cmdstat_waitaof"]
    assert (waits["calls"], waits["failed_calls"]) == (1, 0)

"""The mark of the statistics, on the real Valkey: what may raise it, and what a dying Redis may forget of it."""

import pytest
from redis import Redis

from pipeline.errors import GraphOverloaded, GraphUnavailable
from tests.integration.conftest import configured
from workers.state.exclusive import Steps
from workers.state.in_flight import MOST_DEATHS

TOKEN = "a step"


@pytest.fixture
def steps(redis: Redis) -> Steps:
    """A step is asked for."""
    steps = Steps(redis)
    steps.ask(TOKEN)
    return steps


@pytest.fixture
def counted(steps: Steps) -> Steps:
    """It has ended, and all is counted."""
    steps.end(TOKEN, {}, counted=True)
    assert steps.is_counted()
    return steps


def test_a_step_that_is_withdrawn_while_it_is_taken_says_nothing_of_the_graph(steps: Steps) -> None:
    with steps.running(TOKEN) as claim:
        assert claim is not None
        steps.withdraw()
        steps.end(TOKEN, {"counted anew": True}, counted=True)
    assert steps.outcome(TOKEN) is None
    assert not steps.is_counted()


def test_a_step_that_is_too_much_for_neo4j_each_time_is_given_up_and_one_that_only_waits_is_not(
    steps: Steps,
) -> None:
    for error in [GraphUnavailable("away")] * MOST_DEATHS + [GraphOverloaded("no memory")] * MOST_DEATHS:
        with pytest.raises(type(error)), steps.attempt(TOKEN) as is_harmless:
            assert is_harmless
            raise error
    with steps.attempt(TOKEN) as is_harmless:
        assert not is_harmless


def test_a_step_that_has_ended_is_not_asked_for_again(counted: Steps) -> None:
    counted.ask(TOKEN)
    with counted.running(TOKEN) as claim:
        assert claim is None


def test_statistics_are_kept_until_a_dying_redis_could_not_forget_that_they_are_not(
    counted: Steps, redis: Redis
) -> None:
    with configured(redis, "appendfsync", "no"):
        counted.uncount(fsync_milliseconds=1)
        assert counted.keeps_counts()
        assert not counted.is_counted()
    while counted.keeps_counts():  # a busy disk takes its time
        counted.uncount()


def test_a_redis_without_a_file_cannot_say_what_is_on_disk(counted: Steps, redis: Redis) -> None:
    with configured(redis, "appendonly", "no"):
        counted.uncount()
    assert not counted.keeps_counts()

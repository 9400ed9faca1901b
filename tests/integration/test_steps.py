"""Exclusive tasks on the real Valkey."""

import pytest
from redis import Redis

from pipeline.errors import GraphOverloaded, GraphUnavailable
from workers.state.exclusive import UNSETTLED, Steps
from workers.state.in_flight import MOST_DEATHS

TOKEN = "a step"


@pytest.fixture
def steps(redis: Redis) -> Steps:
    """A step is asked for."""
    steps = Steps(redis)
    steps.ask(TOKEN)
    return steps


def test_a_step_that_is_withdrawn_while_it_is_taken_says_nothing_of_the_graph(
    steps: Steps, redis: Redis
) -> None:
    with steps.running(TOKEN) as claim:
        assert claim is not None
        steps.withdraw()
        redis.set(UNSETTLED, 1)
        steps.end(TOKEN, {}, settled=True)
    assert steps.outcome(TOKEN) is None
    assert steps.is_unsettled()


def test_a_step_that_is_too_much_for_neo4j_each_time_is_given_up_and_one_that_only_waits_is_not(
    steps: Steps,
) -> None:
    for error in [GraphUnavailable("away")] * MOST_DEATHS + [GraphOverloaded("no memory")] * MOST_DEATHS:
        with pytest.raises(type(error)), steps.attempt(TOKEN) as is_harmless:
            assert is_harmless
            raise error
    with steps.attempt(TOKEN) as is_harmless:
        assert not is_harmless


def test_a_step_that_has_ended_is_not_asked_for_again(steps: Steps) -> None:
    steps.end(TOKEN, {})
    steps.ask(TOKEN)
    with steps.running(TOKEN) as claim:
        assert claim is None

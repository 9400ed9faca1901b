"""Loads as a whole on the real Valkey: runs, stalls and outcomes."""

import time

import pytest
from redis import Redis

from pipeline.model import RecordType
from workers.state.keys import LOAD_LOCK, RUNS
from workers.state.runs import Run, RunEnd, RunPlan, Runs, RunState, Tally

LABELS = RunPlan(RecordType.LABELS, "/dumps/labels.xml.gz", False, False, 1.0, "load:1")


@pytest.fixture
def runs(redis: Redis) -> Runs:
    return Runs(redis)


def plan(**changes: object) -> RunPlan:
    return RunPlan(
        **{**{name: getattr(LABELS, name) for name in LABELS.__struct_fields__}, "at": time.time(), **changes}
    )


def states(runs: Runs) -> dict[str, RunState]:
    return {run.name: run.state for run in runs}


def test_a_run_waits_runs_and_finishes(runs: Runs, redis: Redis) -> None:
    redis.set(LOAD_LOCK, "load:1")
    runs.plan("labels-a", plan())
    assert states(runs) == {"labels-a": RunState.WAITING}
    runs.set_read("labels-a", 7)
    assert states(runs) == {"labels-a": RunState.RUNNING}
    runs.end("labels-a", RunEnd(time.time(), 3))
    (run,) = runs
    assert (run.state, run.read, run.end and run.end.vanished) == (RunState.FINISHED, 7, 3)


def test_a_run_with_a_problem_has_failed(runs: Runs) -> None:
    runs.plan("labels-a", plan())
    runs.end("labels-a", RunEnd(time.time(), problems=["no such index"]))
    assert states(runs) == {"labels-a": RunState.FAILED}


@pytest.mark.parametrize("lock", [None, "load:2"])
def test_a_run_whose_load_is_gone_has_stalled(runs: Runs, redis: Redis, lock: str | None) -> None:
    runs.plan("labels-a", plan())
    if lock is not None:
        redis.set(LOAD_LOCK, lock)
    assert states(runs) == {"labels-a": RunState.STALLED}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"path": LABELS.path, "partial": True}, RunState.REPLACED),
        ({"path": "/dumps/next.xml"}, RunState.REPLACED),
        ({"path": "/dumps/some.xml", "partial": True}, RunState.STALLED),
        ({"path": "/dumps/artists.xml", "record_type": RecordType.ARTISTS}, RunState.STALLED),
    ],
)
def test_a_stalled_run_is_replaced_by_a_load_of_the_same_dump(
    runs: Runs, later: dict[str, object], expected: RunState
) -> None:
    runs.plan("labels-a", plan())
    runs.plan("labels-b", plan(holder="load:2", **later))
    assert states(runs)["labels-a"] is expected


def test_upstream_tasks_have_a_run_for_each_type_that_came(runs: Runs, redis: Redis) -> None:
    redis.hset("graphinator:run:ingest-masters", mapping={"created": 2, "quarantined": 1})
    assert list(runs) == [
        Run("ingest-masters", RecordType.MASTERS, RunState.RUNNING, Tally(created=2, quarantined=1), read=3)
    ]


def test_an_old_run_is_forgotten(runs: Runs, redis: Redis) -> None:
    runs.plan("labels-a", plan(at=1.0))
    assert list(runs) == []
    assert redis.zcard(RUNS) == 0
    assert redis.ttl("graphinator:run:labels-a") > 0

"""Loads as a whole on the real Valkey: runs, stalls and outcomes."""

import time
from itertools import pairwise

import pytest
from redis import Redis

from pipeline.model import RecordType
from workers.loader import Samples
from workers.state.keys import LOAD_LOCK, RUNS
from workers.state.runs import Reading, RunEnd, RunPlan, Runs, RunState, Sample, Tally, Work

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
    runs.set_read("labels-a", Reading(time.time(), 7))
    assert states(runs) == {"labels-a": RunState.RUNNING}
    runs.end("labels-a", RunEnd(time.time(), 3))
    (run,) = runs
    assert run.state is RunState.FINISHED
    assert (run.reading and run.reading.records, run.end and run.end.vanished) == (7, 3)


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
        ({"path": "/dumps/some.xml", "partial": True}, RunState.OVERTAKEN),
        ({"path": "/dumps/artists.xml", "record_type": RecordType.ARTISTS}, RunState.STALLED),
    ],
)
def test_a_stalled_run_is_overtaken_once_a_later_load_of_its_type_has_begun(
    runs: Runs, later: dict[str, object], expected: RunState
) -> None:
    runs.plan("labels-a", plan(at=runs.now()))
    runs.plan("labels-b", plan(at=runs.now(), holder="load:2", **later))
    assert states(runs)["labels-a"] is RunState.STALLED
    runs.set_read("labels-b", Reading(0.0))
    assert states(runs)["labels-a"] is expected


@pytest.mark.parametrize("begun", [True, False])
def test_a_forgotten_load_takes_those_along_that_it_has_overtaken(runs: Runs, begun: bool) -> None:
    runs.plan("labels-a", plan(at=runs.now()))
    runs.plan("artists-a", plan(at=runs.now(), record_type=RecordType.ARTISTS))
    runs.plan("labels-b", plan(at=runs.now(), holder="load:2"))
    if begun:
        runs.set_read("labels-b", Reading(0.0))
    # Its older records would replace those that the forgotten load has written.
    gone = ["labels-a", "labels-b"] if begun else ["labels-b"]
    assert runs.forget("labels-b") == gone
    assert states(runs).keys() == {"labels-a", "artists-a", "labels-b"} - {*gone}


def test_a_later_load_has_a_later_time_though_the_clock_of_redis_is_set_back(runs: Runs) -> None:
    runs.plan("labels-a", plan(at=time.time() + 86_400))
    runs.plan("labels-b", plan(at=runs.now()))
    assert [run.name for run in runs] == ["labels-a", "labels-b"]


def test_records_of_upstream_tasks_are_counted_by_type_and_are_no_load(runs: Runs, redis: Redis) -> None:
    redis.hset("graphinator:run:ingest-masters", mapping={"created": 2, "quarantined": 1, "not_kept": 5})
    assert list(runs) == []
    counted = {each.run: (each.tally, each.not_kept) for each in runs.upstream()}
    assert counted.pop("ingest-masters") == (Tally(created=2, quarantined=1), 5)
    assert counted == {f"ingest-{name}": (Tally(), 0) for name in ("artists", "labels", "releases")}


@pytest.mark.parametrize(
    ("whole", "done", "share"),
    [(False, 0, 0.0), (False, 50, 0.25), (False, 100, 0.5), (True, 99, 0.495), (True, 100, 1.0)],
)
def test_the_share_of_a_dump_that_is_done_is_estimated_from_bytes_and_records(
    whole: bool, done: int, share: float
) -> None:
    half = Reading(0.0, records=100, consumed_bytes=500, size_bytes=1000, whole=whole)
    assert half.done(Tally(created=done)) == pytest.approx(share)
    read = Reading(0.0, records=100, consumed_bytes=1000, size_bytes=1000, whole=whole)
    assert read.done(Tally(created=done)) < 1 or (whole and done == 100)


def test_an_old_run_is_forgotten(runs: Runs, redis: Redis) -> None:
    runs.plan("labels-a", plan(at=1.0))
    assert list(runs) == []
    assert redis.zcard(RUNS) == 0
    assert redis.ttl("graphinator:run:labels-a") > 0


def test_a_run_is_kept_for_a_year_once_it_has_ended(runs: Runs, redis: Redis) -> None:
    month = 30 * 86_400
    for name, ends in (("labels-a", True), ("labels-b", False), ("labels-c", True)):
        runs.plan(name, plan(at=time.time() - 1.5 * month))
        runs.set_read(name, Reading(time.time()))
        runs.store_samples(name, [])
        if ends:
            runs.end(name, RunEnd(time.time()))
    # The ids that `resume` of the second one needs may have expired.
    assert [*states(runs)] == ["labels-a", "labels-c"]
    assert runs.stalled() == []
    kept = [redis.ttl(f"graphinator:run:labels-{name}") / month for name in ("a", "b", "a:samples")]
    assert kept == pytest.approx([400 / 30, 1, 400 / 30], rel=0.01)


def test_the_samples_of_the_longest_load_stay_few(runs: Runs, redis: Redis) -> None:
    samples = Samples()
    week = 7 * 86_400
    for second in range(week):
        if samples.is_due(second):
            done = Tally(created=second * 1234, unchanged=second)
            work = Work(second, 800 * second, second // 100, 300 * second)
            samples.add(Sample(second, second * 1240, done, work, 8, 300))
    runs.store_samples("releases-a", samples.taken)
    assert runs.samples("releases-a") == samples.taken
    size = redis.memory_usage("graphinator:run:releases-a:samples")
    assert size is not None
    assert size < 10_000
    times = [each.seconds for each in samples.taken]
    gaps = {after - before for before, after in pairwise(times)}
    assert (times[0], len(gaps)) == (0, 1)
    assert 100 <= len(times) <= 200

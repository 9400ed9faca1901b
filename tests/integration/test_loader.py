"""Loads of dumps on the real Valkey; the test plays the workers."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from celery import Celery
from pyroaring import BitMap64
from redis import Redis

from pipeline.errors import DumpError
from pipeline.model import NODES, RecordType
from workers import loader
from workers import sender as sender_module
from workers.app import REMOVE_VANISHED, GraphinatorApp, TaskName, configuration
from workers.loader import Progress, Report, load
from workers.settings import Settings
from workers.state.in_flight import BatchMeta, InFlight
from workers.state.keys import EXCLUSIVE
from workers.state.runs import RunPlan, Runs, RunState, Tally, Work


class Workers:
    """Does at once what is sent, or has the batch fail."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._in_flight = InFlight(redis)
        self._runs = Runs(redis)
        self.fails: Callable[[Sequence[int]], bool] = lambda _: False
        #: The ids of the batches, in order.
        self.batches: list[list[int]] = []
        #: The ids in each dump, as stored for the removal of the others.
        self.contained: list[BitMap64] = []

    def send_batch(self, _: Celery, batch: str, meta: BatchMeta) -> None:
        found = [self._in_flight.chunk(batch, index) for index in range(meta.chunks)]
        ids = [id_ for chunk in found if chunk is not None for id_ in chunk.ids]
        rejected = sum(len(chunk.rejected) for chunk in found if chunk is not None)
        self.batches.append(ids)
        if self.fails(ids):
            self._in_flight.fail(batch, meta.run, f"{ids} cannot be written")
        else:
            self._in_flight.complete(
                batch, meta.run, Tally(created=len(ids), quarantined=rejected), (), Work(1, 250, 1, 99)
            )

    def send_exclusive(
        self, _: Celery, task: TaskName, _token: str, *args: object, **_options: object
    ) -> None:
        if task is REMOVE_VANISHED:
            found = self._runs.ids(str(args[0]))
            assert found is not None
            self.contained.append(found.ids)
        self._redis.hset(EXCLUSIVE, "result", "{}")


@pytest.fixture
def workers(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Workers:
    workers = Workers(redis)
    monkeypatch.setattr(sender_module, "send_batch", workers.send_batch)
    monkeypatch.setattr(sender_module, "send_exclusive", workers.send_exclusive)
    return workers


@pytest.fixture
def app(settings: Settings, workers: Workers) -> Iterator[GraphinatorApp]:
    with GraphinatorApp("tests", set_as_current=False) as app:
        app.settings = settings.model_copy(
            update={"chunk_records": 1, "chunks_per_batch": 1, "record_bytes": 1 << 16}
        )
        app.conf.update(configuration(app.settings))
        yield app


def loaded(app: GraphinatorApp, *paths: Path) -> list[Report]:
    return list(load(app, paths, lambda _: None, lambda _: None))


def labels(path: Path, *records: str) -> Path:
    path.write_text("\n".join(["<labels>", *records, "</labels>"]))
    return path


def record(id_: int) -> str:
    return f"<label><id>{id_}</id></label>"


def test_records_quarantined_while_reading_have_not_vanished(
    app: GraphinatorApp, workers: Workers, tmp_path: Path
) -> None:
    endless = f"<label><id>2</id><profile>{'x' * (1 << 16)}</profile></label>"
    nameless = "<label><name>whose</name></label>"
    path = labels(tmp_path / "labels.xml", record(1), endless, "<label><id>3</id>", nameless, record(5))
    (report,) = loaded(app, path)
    assert (report.tally, report.problems) == (Tally(created=2, quarantined=3), [])
    assert workers.contained == [BitMap64([1, 2, 3, 5])]


def test_records_behind_a_failed_batch_are_loaded(
    app: GraphinatorApp, workers: Workers, tmp_path: Path
) -> None:
    path = labels(tmp_path / "labels.xml", *map(record, range(1, 21)))
    workers.fails = lambda ids: ids[0] % 8 == 3
    reports = loaded(app, path, path)
    assert workers.batches == [[id_] for id_ in range(1, 21)] * 2
    for report in reports:
        assert (report.read, report.tally) == (20, Tally(created=17))
        assert sorted(map(str, report.problems)) == [f"[{id_}] cannot be written" for id_ in (11, 19, 3)]
    assert workers.contained == []


def test_a_load_is_done_only_once_all_its_batches_are(
    app: GraphinatorApp, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    monkeypatch.setattr(loader, "PROGRESS_SECONDS", 0.0)
    path = labels(tmp_path / "labels.xml", *map(record, range(1, 4)))
    runs, shown, left = Runs(redis), list[Progress](), list[tuple[str, BatchMeta]]()
    monkeypatch.setattr(sender_module, "send_batch", lambda _, *batch: left.append(batch))

    def show(progress: Progress) -> None:
        shown.append(progress)
        (run,) = runs
        assert run.reading == progress.reading
        if progress.reading.whole and left:
            workers.send_batch(app, *left.pop(0))

    (report,) = load(app, [path], show, lambda _: None)
    assert report.complete
    done = [(each.reading.done(each.tally), each.tally.read) for each in shown]
    assert [share for share, written in done if written < 3] != []
    assert all((share == 1) == (written == 3) for share, written in done)
    assert shown[-1].reading.started <= time.time()


def test_a_run_keeps_its_progress_over_time_and_ends_with_its_totals(
    app: GraphinatorApp, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    monkeypatch.setattr(loader, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(loader, "SAMPLE_SECONDS", 0.0)
    bad = "<label><name>whose</name></label>"
    path = labels(tmp_path / "labels.xml", *map(record, range(1, 4)), bad)
    (report,) = loaded(app, path)
    (run,) = Runs(redis)
    samples = Runs(redis).samples(run.name)
    done = [each.tally.read for each in samples]
    assert (done, done[-1], samples[-1].read) == (sorted(done), 4, 4)
    assert samples[-1].tally == report.tally == run.tally
    assert samples[-1].work == run.work == Work(4, 4 * 250, 4, 4 * 99)
    assert all(each.load_megabytes > 10 for each in samples)
    assert run.end is not None
    assert run.end.graph_before == run.end.graph_after
    assert run.end.graph_after is not None
    assert run.end.graph_after.nodes.keys() == set(NODES)


def test_a_load_gives_up_after_too_many_failed_batches(
    app: GraphinatorApp, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "PROGRESS_SECONDS", 0.0)
    path = labels(tmp_path / "labels.xml", *map(record, range(1, 101)))
    workers.fails = lambda ids: ids != [2]
    (report,) = loaded(app, path)
    # The one that was being filled goes too.
    assert workers.batches == [[id_] for id_ in range(1, 13)]
    assert report.tally == Tally(created=1)
    gave_up, *failed = map(str, report.problems)
    assert len(failed) == 11
    assert gave_up == "10 batches failed, the rest of the dump was not read"


def test_no_dump_is_planned_if_one_file_is_no_dump(
    app: GraphinatorApp, redis: Redis, workers: Workers, tmp_path: Path
) -> None:
    path = labels(tmp_path / "labels.xml", record(1))
    runs = Runs(redis)
    runs.plan("stalled", RunPlan(RecordType.LABELS, str(path), False, False, time.time(), "load:gone"))
    with pytest.raises(DumpError, match="No such file"):
        loaded(app, path, tmp_path / "deleted.xml")
    assert workers.batches == []
    assert [(run.name, run.state) for run in runs] == [("stalled", RunState.STALLED)]

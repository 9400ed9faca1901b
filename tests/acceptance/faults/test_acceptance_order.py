"""One order of acceptance: of two versions of a record the later accepted one counts."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from celery import Celery

from pipeline.model import RecordType
from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.crashing import CALL_MOMENTS
from tests.acceptance.faults.harness import (
    HURRIED,
    SMALL,
    runs,
    standing_still,
    start,
    wait_until,
)
from tests.acceptance.nodes import Setup
from tests.acceptance.test_updates import await_ingested, hand_over, ingest
from tests.integration.history import Plain, write_dump
from workers.state.keys import LOAD_LOCK
from workers.state.runs import Runs, RunState


def labels(version: str, ids: Iterable[int] = range(1, 101)) -> list[Plain]:
    return [{"id": id_, "name": f"{version} {id_}"} for id_ in ids]


@pytest.mark.parametrize("moment", CALL_MOMENTS)
def test_of_two_versions_the_later_accepted_one_counts_though_its_worker_is_killed_when(
    product: Product, celery_setup: Setup, tmp_path: Path, moment: str
) -> None:
    app, workers = celery_setup.app, celery_setup.worker_cluster
    assert hand_over(app, RecordType.LABELS, *labels("first"))["accepted"] == 100
    await_ingested(product)
    workers.scale(0)
    with workers.crashing(moment) as crashing:
        second = ingest(app, RecordType.LABELS, *labels("second")).delay()
        wait_until(crashing.has_ended, moment)
    # No worker redelivers the message of the second call before the third one is accepted.
    product.redis.set("unacked_mutex", "tests")
    workers.scale(1)
    assert hand_over(app, RecordType.LABELS, *labels("third", range(1, 51)))["accepted"] == 50
    product.redis.delete("unacked_mutex")
    # A call that nobody saw before is the latest one when it is redelivered.
    was_seen = moment != "a call is not seen"
    expected = {"a call is not seen": (100, 0), "a call is seen": (50, 50), "a call is accepted": (100, 0)}
    summary = second.get(timeout=BOUND_SECONDS)
    assert (summary["accepted"], summary["superseded"]) == expected[moment]
    await_ingested(product)
    newest = labels("third", range(1, 51)) if was_seen else labels("second", range(1, 51))
    dump = write_dump(tmp_path, RecordType.LABELS, newest + labels("second", range(51, 101)))
    assert product.graph_differences([], upstream=[dump]) == []
    wait_until(lambda: not product.redis.exists("unacked"), "every message is done with")


def test_a_resumed_load_is_the_load_that_was_begun(
    product: Product, celery_setup_app: Celery, releases: Path, tmp_path: Path
) -> None:
    product.load(releases, **SMALL)
    next_month = tmp_path / "releases.xml"
    next_month.write_bytes(releases.read_bytes().replace(b"<title>", b"<title>New: "))
    # Three records of the dump, and one that it lacks.
    records = [{"id": id_, "title": f"Handed over {id_}"} for id_ in (1, 2, 3, 999_999_999)]
    load = start(product, next_month)
    with standing_still(product, load):
        assert hand_over(celery_setup_app, RecordType.RELEASES, *records)["accepted"] == 4
        load.kill()
    load.communicate()
    product.redis.expire(LOAD_LOCK, 1)  # it would go by itself in 30 s
    await_ingested(product)
    resumed = product.run("resume", **HURRIED)
    assert resumed.returncode == 0, resumed.stderr
    handed_over = write_dump(tmp_path, RecordType.RELEASES, records, "upstream")
    assert product.graph_differences([next_month], upstream=[handed_over]) == []
    assert [run.state for run in runs(product)] == [RunState.FINISHED, RunState.FINISHED]


def test_a_load_that_a_later_one_has_overtaken_is_not_resumed_and_a_missing_dump_stops_no_other(
    product: Product, releases: Path, sample: list[Path], tmp_path: Path
) -> None:
    masters, elsewhere = tmp_path / "masters.xml.gz", tmp_path / "elsewhere"
    masters.write_bytes(sample[2].read_bytes())
    february = tmp_path / "february.xml"
    february.write_bytes(releases.read_bytes().replace(b"<title>", b"<title>February: "))
    for dump in (february, masters):
        load = product.start("load", dump, "--partial", "--json", **HURRIED, **SMALL)
        with standing_still(product, load):
            load.kill()
        load.communicate()
        product.redis.delete(LOAD_LOCK)  # it would go by itself in 30 s
    product.load(releases, "--partial", **HURRIED, **SMALL)
    masters.rename(elsewhere)
    refused = product.run("resume", **HURRIED)
    assert refused.returncode == 7
    assert f"not resumed: {february}: a later load of releases has begun" in refused.stdout
    (stalled,) = [run for run in runs(product) if run.state is RunState.STALLED]
    assert f"{masters}: the file cannot be opened" in refused.stderr
    assert f"graphinator resume --forget {stalled.name}" in refused.stderr
    Runs(product.redis).plan("labels-gone", msgspec.structs.replace(stalled.plan, path="/gone.xml"))
    elsewhere.rename(masters)
    assert product.run("resume", "--forget", "labels-gone").returncode == 0
    assert product.run("resume", "--forget", "labels-gone").returncode == 2
    assert product.run("resume", **HURRIED).returncode == 0
    assert product.graph_differences([masters, releases]) == []
    assert product.run("resume", **HURRIED).stdout == "no load is to be resumed\n"

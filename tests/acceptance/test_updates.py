"""Updates: dumps of later months, and records of upstream tasks."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.canvas import Signature
from celery.exceptions import InvalidTaskError

from pipeline.model import RecordType
from pipeline.records.accept import RecordsRefused
from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.harness import wait_until
from tests.acceptance.nodes import Setup
from tests.integration.history import draw_record, to_xml, write_dump
from workers.state.keys import IN_FLIGHT, INBOX, LOAD_LOCK, REJECTED_MESSAGES, STATISTICS
from workers.state.statistics import StatisticsState

ROOT = Path(__file__).parents[2]


def dump(folder: Path, record_type: RecordType, ids: range, seed: int) -> Path:
    """Records that refer to a few others, in one of four versions."""
    records = [{**draw_record(record_type, 100, seed + id_ % 4), "id": id_} for id_ in ids]
    for record in records:
        if "name" in record:
            record["name"] = f"{record_type.label} {record['id']}"
    folder.mkdir(exist_ok=True)
    return write_dump(folder, record_type, records)


def months(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write dumps of two months, with new, changed and vanished records."""
    return (
        [dump(folder / "a", record_type, range(1, 201), 0) for record_type in RecordType],
        [dump(folder / "b", record_type, range(5, 211), 1) for record_type in RecordType],
    )


def test_a_dump_over_an_older_one_gives_the_graph_of_the_newer_one_alone(
    product: Product, tmp_path: Path
) -> None:
    first, second = months(tmp_path)
    product.load(*first)
    assert product.graph_differences(first) == []
    result = product.load(*second, chunk_records=50)
    assert [result[name]["vanished"] for name in ("artists", "labels", "masters", "releases")] == [4] * 4
    assert product.graph_differences(second) == []
    assert product.run("finish", "--full").stdout == "rebuilt everything derived, counted the statistics\n"
    assert product.run("finish").stdout == "nothing to do: the statistics are fresh\n"
    assert product.graph_differences(second) == []
    again = product.load(*first)
    assert again["releases"]["vanished"] == 10
    assert product.graph_differences(first) == []
    assert product.leftovers() == set()


def test_the_setting_of_a_load_leaves_tracks_out_and_the_next_load_rewrites_releases(
    product: Product, tmp_path: Path
) -> None:
    dumps, _ = months(tmp_path)
    product.load(*dumps)
    result = product.load(*dumps, tracks=False)
    changed = [result[name]["changed"] for name in ("artists", "labels", "masters", "releases")]
    assert changed == [0, 0, 0, 200]
    assert product.graph_differences(dumps, tracks=False) == []
    verified = [product.run("verify", *dumps, tracks=tracks).returncode for tracks in (False, True)]
    assert verified == [0, 1]
    assert product.load(*dumps, tracks=False)["releases"]["unchanged"] == 200
    assert product.load(*dumps)["releases"]["changed"] == 200
    assert product.graph_differences(dumps) == []


def test_a_dump_that_lacks_too_much_removes_nothing_unless_told_to(product: Product, tmp_path: Path) -> None:
    whole = dump(tmp_path / "a", RecordType.LABELS, range(1, 101), 0)
    half = dump(tmp_path / "b", RecordType.LABELS, range(1, 51), 0)
    product.load(whole)
    ended = product.run("load", half, "--json")
    assert ended.returncode == 9
    assert "lacks 50 of the 100 labels" in ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert (result["labels"]["vanished"], result["complete"]) == (0, False)
    assert product.graph_differences([whole]) == []
    assert product.run("load", half, "--partial").returncode == 0
    assert product.graph_differences([whole]) == []
    assert product.run("load", half, "--allow-vanish").returncode == 0
    assert product.graph_differences([half]) == []


def test_a_record_whose_id_is_illegible_this_month_is_not_removed(product: Product, tmp_path: Path) -> None:
    whole = dump(tmp_path / "a", RecordType.MASTERS, range(1, 201), 0)
    product.load(whole)
    lines = whole.read_text().splitlines()
    # Without master 5, and with master 100 in a form that does not tell its id.
    broken, newer = lines[100].replace(" id='100'", ""), tmp_path / "masters.xml"
    newer.write_text("\n".join([*lines[:5], *lines[6:100], broken, *lines[101:]]))
    ended = product.run("load", newer)
    assert ended.returncode == 0
    assert "not removed, since the dump's illegible records may be these: 1 master" in ended.stdout
    rest = write_dump(tmp_path, RecordType.MASTERS, [])
    rest.write_text("\n".join([*lines[:5], *lines[6:]]))
    assert product.graph_differences([rest]) == []
    verified = product.run("verify", newer)
    assert verified.stdout.splitlines()[-2] == "the graph matches the dumps, except for 1 unreadable record"


def test_a_file_that_breaks_off_removes_nothing_and_the_other_types_are_finished(
    product: Product, tmp_path: Path
) -> None:
    artists = dump(tmp_path / "a", RecordType.ARTISTS, range(1, 41), 0)
    releases = dump(tmp_path / "a", RecordType.RELEASES, range(1, 41), 0)
    product.load(artists, releases)
    newer = dump(tmp_path / "b", RecordType.RELEASES, range(1, 41), 1)
    broken = tmp_path / "b" / "artists.xml"
    broken.write_bytes(artists.read_bytes()[:-400])
    ended = product.run("load", broken, newer, "--json")
    assert ended.returncode == 3
    result = json.loads(ended.stdout.splitlines()[-1])
    assert (result["artists"]["vanished"], result["complete"]) == (0, False)
    assert product.graph_differences([artists, newer]) == []


def test_verify_tells_what_differs(product: Product, tmp_path: Path) -> None:
    first, _ = months(tmp_path)
    product.load(*first)
    same = product.run("verify", *first)
    assert (same.returncode, same.stdout.splitlines()[-2]) == (0, "the graph matches the dumps")
    differs = product.run("verify", tmp_path / "b")
    assert differs.returncode == 1
    assert differs.stdout.splitlines()[-2] == "the graph differs from the dumps"
    compared, _, missing, _, extra, *_ = next(
        line.split()[1:] for line in differs.stdout.splitlines() if line.startswith("releases")
    )
    assert (compared, missing, extra) == ("206", "10", "4")


def ingest(app: Celery, record_type: RecordType, *records: object) -> "Signature[Any]":
    """Return a call of the task by its name."""
    return app.signature("graphinator.ingest", (record_type.value, records), queue="ingest")


def written(app: Celery, *call: object) -> "Signature[Any]":
    """Return the question for the records of a call."""
    return app.signature("graphinator.written", call, queue="ingest")


def hand_over(app: Celery, record_type: RecordType, *records: object) -> dict[str, Any]:
    """Hand records over and return the summary."""
    summary: dict[str, Any] = ingest(app, record_type, *records).delay().get(timeout=BOUND_SECONDS)
    return summary


def test_a_call_for_a_time_beyond_the_visibility_timeout_fails_at_once(
    product: Product, celery_setup: Setup
) -> None:
    late = ingest(celery_setup.app, RecordType.LABELS).set(
        countdown=product.stack.settings.visibility_timeout_seconds + 80
    )
    with pytest.raises(InvalidTaskError, match="its eta is further away than the visibility timeout, 720 s"):
        chain(late, written(celery_setup.app)).delay().get(timeout=BOUND_SECONDS)
    wait_until(lambda: product.redis.llen(REJECTED_MESSAGES) == 1, "the message is kept")


def await_ingested(product: Product) -> None:
    """Wait until all accepted records are written and a worker has counted the statistics."""
    statistics = StatisticsState(product.redis)

    def waiting(record_type: RecordType) -> int:
        return int(product.redis.hget(INBOX, f"{record_type}:records") or 0)

    deadline = time.monotonic() + BOUND_SECONDS
    while (
        any(map(waiting, RecordType))
        or product.redis.exists(IN_FLIGHT, LOAD_LOCK)
        or not statistics.get().is_fresh
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_another_celery_app_can_call_ingest_in_a_group_and_in_a_chain(
    celery_setup: Setup, product: Product, tmp_path: Path
) -> None:
    app = celery_setup.app
    records = {
        record_type: [draw_record(record_type, id_, id_ % 4) for id_ in range(1, 31)]
        for record_type in RecordType
    }
    calls = group(
        ingest(app, record_type, *part)
        for record_type, given in records.items()
        # As dictionaries, and as XML.
        for part in (given[:20], [to_xml(record_type, record) for record in given[20:]])
    )
    summaries = calls.delay().get(timeout=BOUND_SECONDS)
    assert [summary["accepted"] for summary in summaries] == [20, 10] * len(RecordType)
    older, newer = (draw_record(RecordType.RELEASES, 1, seed) for seed in (2, 3))
    records[RecordType.RELEASES][0] = newer
    call = chain(ingest(app, RecordType.RELEASES, older, newer), written(app))
    state = call.delay().get(timeout=BOUND_SECONDS)
    await_ingested(product)
    told = written(app, state).delay().get(timeout=BOUND_SECONDS)
    assert told == {
        "task_id": state["task_id"],
        "waiting": 0,
        "written": 1,
        "superseded": 1,
        "refused": 0,
    }
    handed = [write_dump(tmp_path, *given, f"upstream-{given[0]}") for given in records.items()]
    assert product.graph_differences([], upstream=handed) == []
    assert product.leftovers(cut_off=True) == set()


def test_a_call_with_a_bad_record_fails_and_keeps_the_others(
    celery_setup: Setup, product: Product, tmp_path: Path
) -> None:
    bad = ingest(celery_setup.app, RecordType.RELEASES, "<release>", {"id": 2}).delay()
    with pytest.raises(
        RecordsRefused, match=r"1 of 2 records refused, the others accepted: records\[0\]: line 1"
    ):
        bad.get(timeout=BOUND_SECONDS)
    await_ingested(product)
    kept = write_dump(tmp_path, RecordType.RELEASES, [{"id": 2}])
    assert product.graph_differences([], upstream=[kept]) == []
    assert "1 record" in product.run("status").stdout


def test_small_calls_become_one_batch_and_a_later_load_wins(
    product: Product, celery_setup_app: Celery, tmp_path: Path
) -> None:
    records = [{**draw_record(RecordType.MASTERS, 1, id_ % 4), "id": id_} for id_ in range(1, 31)]
    product.redis.set("graphinator:load", "load:another one")
    for record in records[:3]:
        assert hand_over(celery_setup_app, RecordType.MASTERS, record)["accepted"] == 1
    product.redis.delete("graphinator:load")
    await_ingested(product)
    assert product.redis.hget("graphinator:run:ingest-masters", "created") == b"3"
    older = write_dump(tmp_path, RecordType.MASTERS, [{"id": record["id"]} for record in records])
    product.load(older)
    assert product.graph_differences([older]) == []


def test_a_full_load_keeps_what_upstream_tasks_handed_over(
    product: Product, celery_setup_app: Celery, tmp_path: Path
) -> None:
    def releases(ids: range) -> list[dict[str, Any]]:
        return [{**draw_record(RecordType.RELEASES, 1, id_ % 4), "id": id_} for id_ in ids]

    def handed(ids: range) -> Path:
        return write_dump(tmp_path, RecordType.RELEASES, releases(ids), f"upstream{len(ids)}")

    january = write_dump(tmp_path, RecordType.RELEASES, releases(range(1, 31)), "january")
    february = write_dump(tmp_path, RecordType.RELEASES, releases(range(2, 31)), "february")
    product.load(january)
    records = [to_xml(RecordType.RELEASES, record) for record in releases(range(101, 132))]
    assert hand_over(celery_setup_app, RecordType.RELEASES, *records)["accepted"] == 31
    await_ingested(product)
    assert product.load(february)["releases"]["vanished"] == 1
    assert product.graph_differences([february], upstream=[handed(range(101, 132))]) == []
    verified = product.run("verify", february)
    assert (verified.returncode, verified.stdout.splitlines()[-2]) == (0, "the graph matches the dumps")
    # The dump of March brings most of them, with the same content: from then on they are its records.
    march = write_dump(
        tmp_path, RecordType.RELEASES, releases(range(2, 31)) + releases(range(101, 130)), "march"
    )
    assert product.load(march)["releases"]["changed"] == 29
    assert product.graph_differences([march], upstream=[handed(range(130, 132))]) == []
    assert product.load(february, "--allow-vanish")["releases"]["vanished"] == 29
    assert product.graph_differences([february], upstream=[handed(range(130, 132))]) == []


def test_a_worker_counts_the_statistics_when_they_have_been_stale_for_the_interval(
    product: Product, tmp_path: Path
) -> None:
    dump = write_dump(tmp_path, RecordType.RELEASES, [{"id": 1, "genres": ["Rock"], "styles": ["Punk"]}])
    product.load(dump)
    with product.driver() as driver, driver.session() as session:
        session.run("MATCH (style:Style) SET style.genre_count = 9").consume()
    assert product.graph_differences([dump]) != []
    product.redis.hset(STATISTICS, "stale", 1)
    await_ingested(product)
    assert product.graph_differences([dump]) == []


@pytest.mark.parametrize("page", ["docs/howto/upstream-tasks.md"])
def test_the_example_of_the_docs_runs(product: Product, tmp_path: Path, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    endpoints = product.endpoints()
    environment = product.environment() | {
        "REDIS_URL": endpoints.redis_url,
        "REDIS_PASSWORD_FILE": str(endpoints.redis_password_file),
    }
    script = tmp_path / "upstream.py"
    script.write_text(code, encoding="utf-8")
    with subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "celery",
            "-A",
            "upstream",
            "worker",
            "--pool=solo",
            "-n",
            "upstream",
        ],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as own_worker:
        try:
            ended = subprocess.run(
                [sys.executable, "-W", "ignore", script],
                env=environment,
                capture_output=True,
                text=True,
                timeout=BOUND_SECONDS,
                check=False,
            )
        finally:
            own_worker.terminate()
    assert ended.returncode == 0, ended.stderr
    summary, reported = ended.stdout.splitlines()
    assert "'record_type': 'labels', 'accepted': 2, 'superseded': 0, 'refused': []" in summary
    assert reported == "1 written, 1 refused"
    await_ingested(product)
    expected = tmp_path / "labels.xml"
    expected.write_text(
        "<labels><label><id>5</id><name>Svek</name></label><label><id>1</id><name>Planet E</name>"
        "<sublabels><label id='31405'>I Ner Zon Sounds</label></sublabels></label></labels>"
    )
    differences = product.graph_differences([], upstream=[expected])
    assert [line for line in differences if "31405" not in line] == []

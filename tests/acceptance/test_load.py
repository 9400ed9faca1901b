"""`graphinator load`, `status`, `up` and `demo` on real servers."""

import gzip
import json
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import IO, cast

import pytest
from celery import Celery
from celery.backends.redis import RedisBackend

from ops.stack import worker_process
from pipeline.model import RecordType
from tests.acceptance.conftest import BOUND_SECONDS, SAMPLE, Product
from tests.acceptance.nodes import Setup
from tests.oddities import BROKEN, broken, handmade, many_tracks, oversized
from tests.oracle import expected_graph
from workers.sender import send_batch
from workers.state.in_flight import BatchMeta, InFlight
from workers.state.keys import IN_FLIGHT
from workers.state.runs import Runs
from workers.state.statistics import StatisticsState
from workers.upstream.quarantine import Quarantine

COUNTS = ("read", "unchanged", "created", "changed", "quarantined")
TYPES = ("artists", "labels", "masters", "releases")


def counts(result: dict[str, dict[str, int]], record_type: str) -> tuple[int, ...]:
    return tuple(result[record_type][name] for name in COUNTS)


def test_the_sample_dumps_become_the_graph_of_the_model_and_a_second_load_writes_nothing(
    product: Product, sample: list[Path]
) -> None:
    result = product.load(SAMPLE)
    assert [counts(result, name) for name in TYPES] == [(1000, 0, 1000, 0, 0)] * 4
    assert result["complete"] is True
    assert product.graph_differences(sample) == []
    assert product.leftovers() == set()
    result = product.load(SAMPLE)
    assert [counts(result, name) for name in TYPES] == [(1000, 1000, 0, 0, 0)] * 4
    assert product.graph_differences(sample) == []


def test_each_record_type_is_loaded_by_any_number_of_workers_in_chunks_of_any_size(
    product: Product, celery_setup: Setup, sample: list[Path]
) -> None:
    sizes = ((1, 37, 3), (3, 250, 4), (1, 100, 1), (3, 50, 2))
    for dump, (number, chunk_records, chunks_per_batch) in zip(reversed(sample), sizes, strict=True):
        celery_setup.worker_cluster.scale(number)
        product.load(dump, chunk_records=chunk_records, chunks_per_batch=chunks_per_batch)
        for worker in celery_setup.worker_cluster.nodes[1:]:
            worker.assert_log_exists(f"{worker.hostname()} ready.")
    assert product.graph_differences(sample) == []
    assert product.leftovers() == set()


@pytest.mark.parametrize(
    ("workers", "chunk_records", "tracks"), [(2, 500, True), (3, 2, True), (2, 500, False)]
)
def test_odd_but_valid_dumps_are_loaded_and_bad_records_quarantined(
    product: Product, tmp_path: Path, workers: int, chunk_records: int, *, tracks: bool
) -> None:
    product.workers(workers)
    oddities = handmade(tmp_path)
    result = product.load(tmp_path, chunk_records=chunk_records, tracks=tracks)
    malformed = [raw for oddity in oddities for raw in oddity.malformed_raw]
    dumps = [oddity.path for oddity in oddities]
    assert product.graph_differences(dumps, malformed, tracks=tracks) == []
    for oddity in oddities:
        read = oddity.records + len(oddity.malformed)
        assert result[oddity.record_type]["read"] == read
        assert result[oddity.record_type]["quarantined"] == len(oddity.malformed)
        assert sum(counts(result, oddity.record_type)[1:]) == read
    again = product.load(tmp_path, chunk_records=chunk_records, tracks=tracks)
    assert sum(counts(again, name)[2] for name in TYPES) == 0
    assert product.graph_differences(dumps, malformed, tracks=tracks) == []
    exported = product.run("quarantine", "export")
    entries = [json.loads(line) for line in exported.stdout.splitlines()]
    assert sorted(entry["raw"] for entry in entries) == sorted(
        raw.decode("utf-8", "backslashreplace") for raw in malformed
    )
    assert all(entry["reason"] and entry["position"] >= 0 for entry in entries)


def test_a_changed_record_is_rewritten_exactly_and_one_that_comes_twice_counts_as_its_last_version(
    product: Product, tmp_path: Path
) -> None:
    before = tmp_path / "a_labels.xml"
    after = tmp_path / "b_labels.xml"
    before.write_text(
        "<labels>"
        "<label><id>1</id><name>One</name><profile>old</profile><sublabels><label id='2'>Two</label>"
        "<label id='3'>Three</label></sublabels></label>"
        "<label><id>2</id><name>Two</name><parentLabel id='1'>One</parentLabel></label>"
        "</labels>"
    )
    after.write_text(
        "<labels>"
        "<label><id>1</id><name>One</name><sublabels><label id='4'>Four</label></sublabels></label>"
        "<label><id>2</id><name>Two</name></label>"
        "<label><id>1</id><name>Uno</name><sublabels><label id='5'>Five</label></sublabels></label>"
        "</labels>"
    )
    product.load(before)
    assert product.graph_differences([before]) == []
    result = product.load(after, chunk_records=1)
    assert counts(result, "labels") == (3, 0, 0, 3, 0)
    assert product.graph_differences([before, after]) == []


def test_an_interrupted_load_is_finished_by_the_next_one(
    product: Product, sample: list[Path], tmp_path: Path
) -> None:
    releases = _slowly_read(sample[3], tmp_path)
    started = product.start("load", releases, "--json", chunk_records=1, chunks_per_batch=1)
    while not product.redis.zcard(IN_FLIGHT):
        assert started.poll() is None, started.communicate()
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=BOUND_SECONDS)
    assert started.returncode == 130
    assert "Traceback" not in errors
    result = product.load(releases)
    assert sum(counts(result, "releases")[1:]) == 1000
    assert product.graph_differences([sample[3]]) == []
    # Celery keeps the size of a chord whose messages were not sent.
    assert product.leftovers(cut_off=True) == set()


def _slowly_read(dump: Path, folder: Path) -> Path:
    """Return the dump as a plain file, which loads slowly in batches of one record."""
    path = folder / dump.name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(dump.read_bytes()))
    return path


def test_damage_inside_a_gzip_file_quarantines_nothing_and_is_undone_by_the_repaired_file(
    product: Product, sample: list[Path], tmp_path: Path
) -> None:
    whole = sample[3].read_bytes()
    path, told = tmp_path / "releases.xml.gz", set()
    for place in range(1, 6):
        damaged = bytearray(whole)
        damaged[len(damaged) * place // 6] ^= 0x10
        path.write_bytes(damaged)
        ended = product.run("load", path, "--json", "--partial", chunk_records=50)
        assert ended.returncode == 3
        told.add("the gzip data is corrupt" in ended.stderr and "get the file again" in ended.stderr)
        assert json.loads(ended.stdout.splitlines()[-1])["releases"]["read"] <= 1000
        assert len(Quarantine(product.redis, limit_bytes=0)) == 0
    assert told == {True}
    path.write_bytes(whole)
    product.load(path, "--allow-vanish")
    assert product.graph_differences([sample[3]]) == []


def test_a_second_load_at_the_same_time_is_refused_in_one_line(product: Product, sample: list[Path]) -> None:
    product.redis.set("graphinator:load", "another one", ex=600)
    ended = product.run("load", sample[0], "--json")
    assert ended.returncode == 5
    assert json.loads(ended.stdout)["complete"] is False
    assert ended.stderr.startswith("Error: another load is under way")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_file_ends_with_one_clear_line_and_what_came_before_the_fault_is_loaded(
    product: Product, tmp_path: Path, name: str
) -> None:
    file = broken(tmp_path, name)
    ended = product.run("load", file.path, "--json")
    assert ended.returncode == 3
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert name in errors[0]
    assert file.records == 0 or "at byte" in errors[0]
    assert "Traceback" not in ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["complete"] is False
    assert result["labels"]["created"] == result["labels"]["read"]
    if file.records >= 0:
        assert result["labels"]["read"] == file.records


def test_a_release_of_many_tracks_is_written_and_rewritten(product: Product, tmp_path: Path) -> None:
    for tracks in (6666, 6000):
        dump = many_tracks(tmp_path, tracks)
        product.load(dump.path)
        assert product.graph_differences([dump.path]) == []


def test_an_oversized_record_is_quarantined_and_the_rest_is_loaded(product: Product, tmp_path: Path) -> None:
    dump = oversized(tmp_path)
    result = product.load(dump.path)
    assert counts(result, "artists") == (3, 0, 2, 0, 1)
    assert product.graph_differences([dump.path], dump.malformed_raw) == []
    again = product.load(dump.path, record_bytes=6 << 20)
    assert counts(again, "artists") == (3, 2, 1, 0, 0)
    assert product.graph_differences([dump.path]) == []
    assert product.run("verify", dump.path, record_bytes=6 << 20).returncode == 0
    # The graph keeps the last version of a quarantined record; `verify` cannot compare it.
    assert counts(product.load(dump.path), "artists") == (3, 2, 0, 0, 1)
    assert product.graph_differences([dump.path]) == []
    unreadable = product.run("verify", dump.path)
    assert (unreadable.returncode, unreadable.stdout.splitlines()[-2]) == (
        1, "the graph matches the dumps, except for 1 unreadable record",
    )  # fmt: skip


def test_a_record_that_neo4j_refuses_is_quarantined_and_its_batch_is_written(
    product: Product, tmp_path: Path
) -> None:
    dump = tmp_path / "releases.xml"
    endless = f"<release id='2'><genres><genre>{'too long ' * 5000}</genre></genres></release>"
    dump.write_text(f"<releases><release id='1'/>{endless}<release id='3'/></releases>")
    result = product.load(dump)
    assert counts(result, "releases") == (3, 0, 2, 0, 1)
    assert product.graph_differences([dump], [endless.encode()]) == []
    assert "too large to index" in product.run("quarantine", "list").stdout


def test_a_batch_that_no_retry_helps_ends_the_load_with_its_reason(product: Product) -> None:
    batches = InFlight(product.redis)
    meta = BatchMeta(RecordType.LABELS, "spoilt-run", "labels.xml", [1])
    batches.store("spoilt", meta, [b"not compressed"])
    url = product.endpoints().broker_url()
    with Celery(broker=url, backend=url, loader="workers.celery_redis:Loader", set_as_current=False) as app:
        send_batch(app, "spoilt", meta)
        while len(batches):
            time.sleep(0.05)
        cast("RedisBackend", app.backend).client.close()
    assert any("ZstdError" in failure for failure in Runs(product.redis).progress("spoilt-run")[1])


def test_a_wrong_setting_is_one_line_that_names_the_variable(product: Product) -> None:
    ended = product.run("status", chunk_records="many")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[0].startswith("Error: GRAPHINATOR_CHUNK_RECORDS=many")
    assert len(ended.stderr.splitlines()) == 1


def test_status_shows_workers_and_the_size_of_the_graph(product: Product, sample: list[Path]) -> None:
    product.load(sample[0])
    status = json.loads(product.run("status", "--json").stdout)
    assert status["stack"]["workers"] == 2
    expected = Counter(label for label, _ in expected_graph(sample[:1]).nodes)
    assert {label: number for label, number in status["nodes"].items() if number} == expected
    assert status["batches_in_flight"] == 0
    assert status["statistics"]["state"] == "fresh"
    assert time.time() - status["statistics"]["at"] < 600
    printed = product.run("status").stdout
    assert "workers  2 of 2" in printed
    assert "statistics as of 20" in printed
    # A worker would count them again.
    product.workers(0)
    StatisticsState(product.redis).mark_stale()
    assert json.loads(product.run("status", "--json").stdout)["statistics"]["state"] == "stale"
    assert re.search("statistics stale since 20.*finish` updates them", product.run("status").stdout)


def test_status_names_missing_full_text_indexes_and_finish_creates_them(
    product: Product, sample: list[Path]
) -> None:
    product.load(sample[1])
    with product.driver() as driver:
        driver.execute_query("DROP INDEX label_name_text")
    assert json.loads(product.run("status", "--json").stdout)["missing_indexes"] == ["label_name_text"]
    assert "full-text indexes missing: label_name_text" in product.run("status").stdout
    product.run("finish")
    assert json.loads(product.run("status", "--json").stdout)["missing_indexes"] == []


def servers_of_ones_own(product: Product, home: Path, **settings: object) -> dict[str, object]:
    """Return settings that name the servers of the tests as one's own."""
    endpoints = product.endpoints()
    own = {
        "redis_url": endpoints.redis_url,
        "redis_password": endpoints.redis_password(),
        "neo4j_uri": endpoints.neo4j_uri,
        "neo4j_password": endpoints.password(),
    }
    return {"home": home, **own, **settings}


def test_status_lists_the_workers_of_ones_own_servers(product: Product, tmp_path: Path) -> None:
    printed = product.run("status", **servers_of_ones_own(product, tmp_path)).stdout
    names = sorted(worker_process.node_name(product.stack.home, number) for number in (1, 2))
    assert f"workers  {', '.join(names)}" in printed.splitlines()
    assert "stack" not in printed


def test_without_neo4j_status_shows_the_rest_and_verify_ends_within_seconds(
    product: Product, tmp_path: Path, sample: list[Path]
) -> None:
    settings = servers_of_ones_own(product, tmp_path, neo4j_uri="bolt://127.0.0.1:9")
    started = time.monotonic()
    assert product.run("verify", sample[1], **settings).returncode == 6
    ended = product.run("status", **settings)
    assert time.monotonic() - started < 30
    assert ended.returncode == 6
    assert "0 batches in flight" in ended.stdout
    fault = "Neo4j at bolt://127.0.0.1:9 does not answer (waited 3 s): Connection refused"
    assert ended.stdout.startswith(f"Warning: {fault}")
    (shown,) = product.run("status", "--check", **settings).stdout.splitlines()
    assert shown.startswith(fault)
    assert "batches_in_flight" in json.loads(product.run("status", "--json", **settings).stdout)


def test_a_wrong_password_of_redis_is_named(product: Product, tmp_path: Path, sample: list[Path]) -> None:
    settings = servers_of_ones_own(product, tmp_path, redis_password="nothing")
    ended = product.run("load", sample[0], **settings)
    assert ended.returncode == 8
    assert ended.stderr.startswith("Error: Redis refuses the login (")
    assert "nothing" not in ended.stderr


def test_a_load_asks_neo4j_before_its_first_batch(
    product: Product, tmp_path: Path, sample: list[Path]
) -> None:
    other = servers_of_ones_own(product, tmp_path, neo4j_database="another")
    ended = product.run("load", sample[1], **other)
    assert (ended.returncode, list(Runs(product.redis))) == (6, [])
    assert "another; GRAPHINATOR_NEO4J_DATABASE names the database" in ended.stderr


def test_a_load_waits_for_neo4j_until_it_is_interrupted(
    product: Product, tmp_path: Path, sample: list[Path]
) -> None:
    away = servers_of_ones_own(product, tmp_path, neo4j_uri="bolt://127.0.0.1:9")
    started = product.start("load", sample[1], **away)
    lines: list[str] = []
    while not lines or "waiting for Neo4j" not in lines[-1]:
        assert started.poll() is None
        lines.append(cast("IO[str]", started.stderr).readline())
    assert lines[0].startswith("Warning: Neo4j at bolt://127.0.0.1:9 does not answer (waited 3 s): ")
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=30)
    assert started.returncode == 130
    assert "Traceback" not in errors
    assert product.run("resume").returncode == 0
    assert product.graph_differences([sample[1]]) == []


def test_an_error_of_up_is_the_only_line(product: Product, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = product.run("--home", tmp_path / "file" / "home", "up")
    assert ended.returncode == 4
    assert ended.stderr.splitlines() == [f"Error: cannot make {tmp_path / 'file' / 'home'}: Not a directory"]


def test_demo_shows_the_graph_and_the_next_steps(product: Product) -> None:
    ended = product.run("demo", workers=2)
    assert ended.returncode == 0, ended.stderr
    for expected in ("1,000 Release", "label with most releases", "/browser/", "MATCH", "graphinator down"):
        assert expected in ended.stdout

"""`graphinator quarantine` lists, shows, exports, replays and purges records."""

import datetime
import json
import time
from pathlib import Path
from typing import Any

from celery import Celery

from ops.commands.quarantine import _lines
from pipeline.chunk import Rejected
from pipeline.model import RecordType
from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.harness import wait_until
from tests.acceptance.test_updates import await_ingested, hand_over, ingest
from workers.upstream.quarantine import Quarantine

BAD = "<label><id>1</id><name>R & B</name></label>"
#: Longer than what an index of Neo4j takes: the graph refuses it, not the reader.
ENDLESS = f"<release id='2'><genres><genre>{'too long ' * 5000}</genre></genres></release>"


def exported(product: Product) -> list[dict[str, Any]]:
    """All entries as `export` writes them, sorted by position."""
    lines = _lines(Quarantine(product.redis, limit_bytes=1 << 23))
    return sorted(map(json.loads, lines), key=lambda entry: entry["position"])


def add(product: Product, record_type: RecordType, *raws: str) -> list[str]:
    """Quarantine records that an older version could not read; return the ids of their entries."""
    rejected = [Rejected(place, "an old rule", raw.encode()) for place, raw in enumerate(raws)]
    Quarantine(product.redis, limit_bytes=1 << 23).add(record_type, "old.xml", rejected, "old-run")
    return [entry["entry"] for entry in exported(product) if entry["run"] == "old-run"]


def replay(product: Product, *arguments: str) -> tuple[str, list[str]]:
    """Replay and wait for the writes; return the result and the lines about entries."""
    ended = product.run("quarantine", "replay", *arguments)
    assert ended.returncode == 0, ended.stderr
    await_ingested(product)
    return ended.stdout.strip(), [line for line in ended.stderr.splitlines() if "waiting" not in line]


def dump(folder: Path, record_type: RecordType, *records: str) -> Path:
    path = folder / f"{record_type}.xml"
    path.write_text(f"<{record_type}>{''.join(records)}</{record_type}>")
    return path


def test_records_are_listed_shown_exported_and_purged(product: Product, tmp_path: Path) -> None:
    other = "<label><id>2</id><name>No end</label>"
    path = dump(tmp_path, RecordType.LABELS, BAD, other, "<label><name>Nobody</name></label>")
    product.load(path)
    headings, *listed = product.run("quarantine", "list").stdout.splitlines()
    assert headings.split() == ["entry", "type", "id", "times", "since", "place", "reason"]
    assert [[*line.split()[1:4], line.split()[5]] for line in listed] == [
        ["labels", "1", "1", "labels.xml:8"],
        ["labels", "2", "1", f"labels.xml:{8 + len(BAD)}"],
        ["labels", "-", "1", f"labels.xml:{8 + len(BAD) + len(other)}"],
    ]
    assert time.time() - datetime.datetime.fromisoformat(listed[0].split()[4]).timestamp() < 600
    first, second, third = (line.split()[0] for line in listed)
    shown = product.run("quarantine", "show", first)
    assert shown.stdout == BAD + "\n"
    assert f"label 1, from {path}, byte 8\nquarantined 1 time, first at 20" in shown.stderr
    assert product.run("quarantine", "show", "0").returncode == 2
    file = tmp_path / "exported.jsonl"
    file.touch(0o644)
    assert product.run("quarantine", "export", file).stdout == f"3 records exported to {file}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(product.run("quarantine", "export").stdout) == sorted(file.read_text())
    assert product.run("quarantine", "export", "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()
    nowhere = product.run("quarantine", "export", tmp_path / "no" / "file")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (4, 1)
    entries = {entry["entry"]: entry for entry in map(json.loads, file.read_text().splitlines())}
    assert set(entries) == {first, second, third}
    assert (entries[first]["raw"], entries[first]["record_id"], entries[first]["source"]) == (
        BAD,
        1,
        str(path),
    )
    assert product.run("quarantine", "purge", first, "0", "--yes").returncode == 2
    assert product.run("quarantine", "purge", first).returncode == 1
    assert len(exported(product)) == 3
    assert product.run("quarantine", "purge", first, "--yes").stdout == "1 record purged\n"
    assert [entry["entry"] for entry in exported(product)] == [second, third]
    assert product.run("quarantine", "purge", "--yes").stdout == "2 records purged\n"
    assert product.run("quarantine", "list").stdout == "nothing is quarantined\n"


def test_each_load_that_quarantines_a_record_counts_once(product: Product, tmp_path: Path) -> None:
    path = dump(tmp_path, RecordType.LABELS, BAD, BAD)
    product.load(path)
    (first,) = exported(product)
    product.load(path, chunk_records=1)
    (second,) = exported(product)
    assert (first["attempts"], second["attempts"]) == (1, 2)
    assert first["run"] != second["run"]
    assert first["at"] == second["at"]


def test_an_entry_is_removed_when_a_newer_version_of_its_record_is_written(
    product: Product, tmp_path: Path
) -> None:
    good = BAD.replace("&", "and")
    other, nobody = BAD.replace(">1<", ">2<"), "<label><name>Nobody</name></label>"
    product.load(dump(tmp_path, RecordType.LABELS, BAD, other, nobody))
    product.load(dump(tmp_path, RecordType.LABELS, good, other))
    left = [(2, 2), (None, 1)]
    assert [(entry["record_id"], entry["attempts"]) for entry in exported(product)] == left
    # The graph has the good version already: it is unchanged.
    broken = BAD.replace("R", "P")
    product.load(dump(tmp_path, RecordType.LABELS, broken), "--partial")
    assert len(exported(product)) == 3
    product.load(dump(tmp_path, RecordType.LABELS, good), "--partial")
    assert [(entry["record_id"], entry["attempts"]) for entry in exported(product)] == left
    # In one dump the broken version is the newer one.
    product.load(dump(tmp_path, RecordType.LABELS, good, broken), "--partial")
    assert len(exported(product)) == 3


def test_an_entry_is_removed_by_a_later_call_and_not_by_an_earlier_one(
    product: Product, celery_setup_app: Celery
) -> None:
    good = BAD.replace("&", "and")
    for first, second, left in ((BAD, good, 0), (good, BAD, 1)):
        product.redis.set("graphinator:load", "load:another one")  # so that they are written together
        for record in (first, second):
            ingest(celery_setup_app, RecordType.LABELS, record).delay().get(BOUND_SECONDS, propagate=False)
        assert len(exported(product)) == 1
        product.redis.delete("graphinator:load")
        await_ingested(product)
        assert len(exported(product)) == left


def test_a_replay_writes_well_formed_records_and_keeps_the_others(product: Product, tmp_path: Path) -> None:
    good = [f"<label><id>{id_}</id><name>Label {id_}</name></label>" for id_ in range(1, 6)]
    named, *_, bad = add(product, RecordType.LABELS, *good, BAD.replace(">1<", ">9<"))
    assert replay(product, named) == ("1 record replayed, 0 refused, 0 skipped", [])
    assert len(exported(product)) == 5
    counts, told = replay(product)
    assert counts == "4 records replayed, 1 refused, 0 skipped"
    assert [line.split()[:2] for line in told] == [[bad, "refused:"]]
    (entry,) = exported(product)
    assert (entry["entry"], entry["attempts"], entry["source"], entry["position"]) == (bad, 2, "old.xml", 5)
    assert entry["reason"].startswith("line 1, column")
    assert entry["run"].startswith("replay-")
    assert product.graph_differences([dump(tmp_path, RecordType.LABELS, *good)]) == []
    again = product.run("quarantine", "replay")
    assert (again.returncode, again.stdout) == (7, "0 records replayed, 1 refused, 0 skipped\n")
    assert product.run("quarantine", "replay", "0").returncode == 2
    assert product.run("quarantine", "purge", "--yes").returncode == 0
    assert replay(product) == ("0 records replayed, 0 refused, 0 skipped", [])
    assert product.leftovers() == set()


def test_a_dictionary_is_replayed_too(product: Product, tmp_path: Path) -> None:
    add(product, RecordType.LABELS, '{"id": 1, "name": " One "}')
    assert replay(product) == ("1 record replayed, 0 refused, 0 skipped", [])
    assert exported(product) == []
    one = dump(tmp_path, RecordType.LABELS, "<label><id>1</id><name>One</name></label>")
    assert product.graph_differences([one]) == []


def test_a_record_that_the_graph_refuses_again_is_the_same_entry(product: Product, tmp_path: Path) -> None:
    path = dump(tmp_path, RecordType.RELEASES, "<release id='1'/>", ENDLESS)
    product.load(path)
    (before,) = exported(product)
    for attempts in (2, 3):
        assert replay(product)[0] == "1 record replayed, 0 refused, 0 skipped"
        (entry,) = exported(product)
        newest = {name: entry[name] for name in ("run", "reason")}
        assert entry == {**before, **newest, "attempts": attempts}
        assert entry["run"].startswith("ingest-releases-")
        assert "too large to index" in entry["reason"]
    assert product.graph_differences([path], [ENDLESS.encode()]) == []


def test_a_replay_skips_records_that_the_graph_has_unless_told_to_overwrite(
    product: Product, tmp_path: Path
) -> None:
    newer = dump(tmp_path, RecordType.LABELS, "<label><id>1</id><name>New</name></label>")
    product.load(newer)
    older = "<label><id>1</id><name>Old</name></label>"
    # A stub is no record, so a replay fills it.
    stub = "<label><id>3</id><name>Three</name></label>"
    parent = "<label><id>2</id><name>Two</name><sublabels><label id='3'>Three</label></sublabels></label>"
    kept, _, _ = add(product, RecordType.LABELS, older, parent, stub)
    assert replay(product) == (
        "2 records replayed, 0 refused, 1 skipped",
        [f"{kept}  skipped: the graph has this record; --overwrite replaces it"],
    )
    expected = dump(tmp_path, RecordType.LABELS, "<label><id>1</id><name>New</name></label>", parent, stub)
    assert product.graph_differences([expected]) == []
    assert [(entry["entry"], entry["attempts"]) for entry in exported(product)] == [(kept, 1)]
    assert replay(product, kept, "--overwrite") == ("1 record replayed, 0 refused, 0 skipped", [])
    expected = dump(tmp_path, RecordType.LABELS, older, parent, stub)
    assert product.graph_differences([expected]) == []
    assert exported(product) == []


def test_of_several_versions_of_a_record_one_must_be_named(product: Product, tmp_path: Path) -> None:
    versions = [f"<label><id>1</id><name>{name}</name></label>" for name in ("One", "Uno")]
    one, two = add(product, RecordType.LABELS, *versions)
    counts, told = replay(product)
    assert counts == "0 records replayed, 0 refused, 2 skipped"
    assert {line.split()[0] for line in told} == {one, two}
    assert all("name the one to replay" in line for line in told)
    assert replay(product, two)[0] == "1 record replayed, 0 refused, 0 skipped"
    expected = dump(tmp_path, RecordType.LABELS, versions[1])
    assert product.graph_differences([expected]) == []
    assert replay(product)[0] == "0 records replayed, 0 refused, 1 skipped"


def test_a_replay_keeps_the_newer_version_of_an_earlier_call(
    product: Product, celery_setup_app: Celery, tmp_path: Path
) -> None:
    add(product, RecordType.LABELS, "<label><id>1</id><name>Old</name></label>")
    newest = "<label><id>1</id><name>New</name></label>"
    # The call waits in the inbox: the graph does not have its record yet.
    product.redis.set("graphinator:load", "load:another one")
    assert hand_over(celery_setup_app, RecordType.LABELS, newest)["accepted"] == 1
    busy = product.run("quarantine", "replay")
    assert (busy.returncode, "another load is under way" in busy.stderr) == (5, True)
    product.redis.delete("graphinator:load")
    assert replay(product) == ("0 records replayed, 0 refused, 0 skipped", [])
    assert exported(product) == []
    expected = dump(tmp_path, RecordType.LABELS, newest)
    assert product.graph_differences([], upstream=[expected]) == []


def test_an_entry_stays_until_its_record_is_written(product: Product) -> None:
    product.workers(0)
    add(product, RecordType.LABELS, "<label><id>1</id></label>")
    assert product.run("quarantine", "replay").stdout.startswith("1 record replayed")
    assert len(exported(product)) == 1
    product.workers(1)
    wait_until(lambda: not exported(product), "it is written")
    await_ingested(product)

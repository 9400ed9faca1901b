"""The quarantine, on the real Valkey."""

import pytest
from redis import Redis

from pipeline.chunk import Rejected
from pipeline.model import RecordType
from pipeline.records import normalise
from workers.state.in_flight import BatchMeta, InFlight
from workers.state.keys import PREFIX, QUARANTINE, QUARANTINE_BYTES
from workers.upstream.quarantine import (
    PAGE_ENTRIES,
    REMEMBERED_RUNS,
    Quarantine,
    entry_id,
)

BAD = Rejected(120, "mismatched tag", b"<label><id>7</id>\xff\x00</label>")


@pytest.fixture
def quarantine(redis: Redis) -> Quarantine:
    return Quarantine(redis, limit_bytes=10_000)


def counted_bytes(redis: Redis) -> int:
    """The total, which is the sum over the entries."""
    counted = int(redis.get(QUARANTINE_BYTES) or 0)
    entries = [key for key in redis.scan_iter(PREFIX + "quarantine:entry:*") if redis.type(key) == b"hash"]
    assert len(entries) == redis.zcard(QUARANTINE)
    assert counted == sum(int(redis.hget(key, "bytes") or 0) for key in entries)
    return counted


def test_an_entry_is_kept_whole_until_it_is_purged(quarantine: Quarantine, redis: Redis) -> None:
    assert quarantine.add(RecordType.LABELS, "labels.xml", [BAD], "run") == 0
    (entry,) = quarantine
    assert (entry.record_type, entry.record_id, entry.source, entry.position, entry.reason, entry.raw) == (
        RecordType.LABELS, 7, "labels.xml", BAD.position, BAD.reason, BAD.raw,
    )  # fmt: skip
    assert (entry.run, entry.attempts) == ("run", 1)
    assert quarantine.get(entry.entry_id) == entry
    assert quarantine.get("0") is None
    assert quarantine.purge() == 1
    assert len(quarantine) == counted_bytes(redis) == 0


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (b"<label><id>5</id>", 5),
        (b'{"id":5,"name":1}', 5),
        (b'{"id":true}', None),
        (b'{"id":', None),
        (b'{"id":' * 100_000, None),
        (b'{"name":"x"}', None),
        (b"[5]", None),
        (b"<label><id>five</id></label>", None),
    ],
)
def test_an_entry_has_the_record_id_if_it_is_legible(
    quarantine: Quarantine, raw: bytes, number: int | None
) -> None:
    quarantine.add(RecordType.LABELS, "ingest", [Rejected(-1, "bad", raw)], "run")
    assert [entry.record_id for entry in quarantine] == [number]


def test_the_same_record_is_one_entry_that_counts_the_runs_that_quarantined_it(
    quarantine: Quarantine, redis: Redis
) -> None:
    for run in ("one", "one", "two", "one", "two", "three"):
        again = Rejected(120, f"why {run} refuses it " * len(run), BAD.raw)
        quarantine.add(RecordType.LABELS, "labels.xml", [again], run)
        counted_bytes(redis)
    (entry,) = quarantine
    assert (entry.run, entry.attempts, entry.reason) == ("three", 3, "why three refuses it " * 5)
    for number in range(REMEMBERED_RUNS - 1):
        quarantine.add(RecordType.LABELS, "labels.xml", [BAD], f"more-{number}")
    quarantine.add(RecordType.LABELS, "labels.xml", [BAD], "three")
    assert [each.attempts for each in quarantine] == [3 + REMEMBERED_RUNS - 1]
    quarantine.add(RecordType.ARTISTS, "artists.xml", [BAD], "one")
    assert len(quarantine) == 2


def test_an_entry_keeps_its_first_time_and_the_place_in_the_last_dump(
    quarantine: Quarantine,
) -> None:
    quarantine.add(RecordType.LABELS, "a.xml", [BAD], "one")
    (first,) = quarantine
    quarantine.add(RecordType.LABELS, "b.xml", [Rejected(5, "bad", BAD.raw)], "two")
    quarantine.add(RecordType.LABELS, "ingest", [Rejected(-1, "worse", BAD.raw)], "three")
    (entry,) = quarantine
    assert (entry.source, entry.position, entry.reason) == ("b.xml", 5, "worse")
    assert entry.at == first.at


def test_a_new_version_of_the_mapping_keeps_the_ids_of_entries(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    quarantine.add(RecordType.LABELS, "labels.xml", [BAD], "one")
    (entry,) = quarantine
    salts = {record_type: salt + 256 for record_type, salt in normalise._SALTS.items()}
    monkeypatch.setattr(normalise, "_SALTS", salts)
    assert quarantine.get(entry.entry_id) == entry
    quarantine.add(RecordType.LABELS, "labels.xml", [BAD], "two")
    assert [each.attempts for each in quarantine] == [2]


def test_some_entries_are_purged_and_the_others_stay(quarantine: Quarantine, redis: Redis) -> None:
    records = [Rejected(index, "bad", b"<label>%d</label>" % index) for index in range(5)]
    quarantine.add(RecordType.LABELS, "labels.xml", records, "run")
    ids = [entry.entry_id for entry in sorted(quarantine, key=lambda entry: entry.position)]
    assert quarantine.purge([ids[0], ids[3], "0"]) == 2
    assert {entry.position for entry in quarantine} == {1, 2, 4}
    assert counted_bytes(redis) > 0
    assert quarantine.purge([]) == 0
    assert quarantine.purge(ids) == 3
    assert counted_bytes(redis) == 0


def test_a_full_quarantine_drops_new_records_and_counts_old_ones(redis: Redis) -> None:
    quarantine = Quarantine(redis, limit_bytes=10 * 1100)
    records = [Rejected(index, "bad", b"<label>%d</label>" % index) for index in range(50)]
    dropped = quarantine.add(RecordType.LABELS, "labels.xml", records, "one")
    assert 5 < dropped < 50
    assert len(quarantine) == 50 - dropped
    assert counted_bytes(redis) <= 10 * 1100
    # Old entries are counted; only the longer reason has no space.
    longer = [
        Rejected(index, "".join(map(chr, range(32, 900))), b"<label>%d</label>" % index)
        for index in range(50)
    ]
    assert quarantine.add(RecordType.LABELS, "labels.xml", longer, "two") == dropped
    assert quarantine.add(RecordType.LABELS, "labels.xml", longer, "two") == dropped
    assert {(entry.attempts, entry.reason) for entry in quarantine} == {(2, "bad")}
    assert counted_bytes(redis) <= 10 * 1100
    quarantine.purge()
    assert quarantine.add(RecordType.LABELS, "labels.xml", records[:1], "three") == 0


def test_only_the_holder_of_the_lease_removes_what_its_batch_has_written(
    quarantine: Quarantine, redis: Redis
) -> None:
    in_flight = InFlight(redis)
    in_flight.store("b", BatchMeta(RecordType.LABELS, "ingest-labels", "ingest", [1]), [])
    records = [Rejected(index, "bad", b"<label>%d</label>" % index) for index in range(3)]
    quarantine.add(RecordType.LABELS, "labels.xml", records, "load")
    quarantine.add(RecordType.LABELS, "ingest", records[:1], "b")
    ids = {entry.position: entry.entry_id for entry in quarantine}
    with in_flight.lease("b") as lease:
        assert lease is not None
        redis.delete(lease.key)
        quarantine.remove_written(lease, "b", ids.values())
        assert len(quarantine) == 3
        redis.set(lease.key, lease.token)
        quarantine.remove_written(lease, "b", [ids[0], ids[1], "0"])
    assert {entry.position for entry in quarantine} == {0, 2}
    counted_bytes(redis)


def test_entries_of_the_old_format_are_left_alone(quarantine: Quarantine, redis: Redis) -> None:
    redis.hset("graphinator:quarantine", "0123456789abcdef", b"header and entry")
    redis.set("graphinator:quarantine:bytes", 1 << 30)
    assert (len(quarantine), [*quarantine], quarantine.get("0123456789abcdef")) == (0, [], None)
    assert quarantine.add(RecordType.LABELS, "labels.xml", [BAD], "run") == 0
    assert quarantine.purge() == 1


def test_an_entry_that_is_removed_during_iteration_is_left_out(quarantine: Quarantine) -> None:
    records = [Rejected(index, "bad", b"<label>%d</label>" % index) for index in range(PAGE_ENTRIES + 2)]
    quarantine = Quarantine(quarantine._redis, limit_bytes=1 << 20)
    quarantine.add(RecordType.LABELS, "labels.xml", records, "run")
    entries = iter(quarantine)
    next(entries)
    quarantine.purge([entry_id(RecordType.LABELS, records[-1].raw)])
    assert [entry.position for entry in entries] == [*range(1, PAGE_ENTRIES + 1)]

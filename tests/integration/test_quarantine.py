"""Records that were set aside, on the real Valkey."""

from redis import Redis

from pipeline.model import RecordType, Rejected
from workers.quarantine import Quarantine

BAD = Rejected(120, "mismatched tag", b"<label>\xff\x00</label>")


def test_an_entry_is_kept_whole_until_it_is_cleared(redis: Redis) -> None:
    quarantine = Quarantine(redis, limit_bytes=10_000)
    assert quarantine.add(RecordType.LABELS, "labels.xml", [BAD]) == 0
    (entry,) = quarantine
    assert (entry.record_type, entry.source, entry.position, entry.reason, entry.raw) == (
        RecordType.LABELS, "labels.xml", BAD.position, BAD.reason, BAD.raw,
    )  # fmt: skip
    assert quarantine.get(entry.entry_id) == entry
    assert quarantine.get("0") is None
    quarantine.clear()
    assert len(quarantine) == 0


def test_the_same_record_delivered_again_is_one_entry(redis: Redis) -> None:
    quarantine = Quarantine(redis, limit_bytes=10_000)
    for _ in range(3):
        quarantine.add(RecordType.LABELS, "labels.xml", [BAD])
    assert len(quarantine) == 1
    quarantine.add(RecordType.ARTISTS, "artists.xml", [BAD])
    assert len(quarantine) == 2


def test_beyond_its_space_records_are_counted_and_not_kept(redis: Redis) -> None:
    quarantine = Quarantine(redis, limit_bytes=600)
    records = [Rejected(index, "bad", b"<label>%d</label>" % index) for index in range(50)]
    dropped = quarantine.add(RecordType.LABELS, "labels.xml", records)
    assert 0 < dropped < 50
    assert len(quarantine) == 50 - dropped
    quarantine.clear()
    assert quarantine.add(RecordType.LABELS, "labels.xml", records[:1]) == 0

"""Fingerprints tell versions of a record apart."""

import pytest
from xxhash import xxh3_64_intdigest

from pipeline.model import RecordType
from pipeline.records import fingerprint as module
from pipeline.records.fingerprint import (
    MAPPING_VERSION,
    NAMES_INCOMING,
    NAMES_OUTGOING,
    fingerprint,
    is_same_version,
)


def test_a_fingerprint_is_a_positive_integer_that_neo4j_can_hold_with_room_for_two_bits() -> None:
    prints = [fingerprint(RecordType.LABELS, b"%d" % number) for number in range(10_000)]
    assert all(0 < one < 2**63 and one % 4 == 0 for one in prints)
    assert min(prints) < 2**60
    assert max(prints) > 2**62
    assert len(set(prints)) == len(prints)


def test_the_same_bytes_have_the_same_fingerprint_in_every_process() -> None:
    digest = xxh3_64_intdigest(b"<label/>", MAPPING_VERSION << 8 | 1)
    assert fingerprint(RecordType.LABELS, b"<label/>") // 4 == digest // 8


def test_every_byte_and_the_record_type_count() -> None:
    assert fingerprint(RecordType.LABELS, b"<label/>") != fingerprint(RecordType.LABELS, b"<label />")
    assert len({fingerprint(record_type, b"same") for record_type in RecordType}) == len(RecordType)


def test_a_digest_of_0_becomes_a_fingerprint_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "xxh3_64_intdigest", lambda *_: 0)
    assert fingerprint(RecordType.LABELS, b"") == 4
    monkeypatch.setattr(module, "xxh3_64_intdigest", lambda *_: 2**64 - 1)
    assert fingerprint(RecordType.LABELS, b"") == 2**63 - 4


def test_versions_are_the_same_whatever_the_record_names() -> None:
    found = fingerprint(RecordType.LABELS, b"<label/>")
    assert all(is_same_version(found | bits, found) for bits in (0, NAMES_INCOMING, NAMES_OUTGOING))
    assert not is_same_version(found + 4, found)
    assert not is_same_version(None, found)

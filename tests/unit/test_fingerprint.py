"""Fingerprints tell versions of a record apart."""

import pytest
from xxhash import xxh3_64_intdigest

from pipeline.model import MAPPING_VERSION, RecordType
from pipeline.records import normalise as module
from pipeline.records.normalise import fingerprint


def test_a_fingerprint_is_a_positive_integer_that_neo4j_can_hold() -> None:
    prints = [fingerprint(RecordType.LABELS, b"%d" % number) for number in range(10_000)]
    assert all(0 < one < 2**63 for one in prints)
    assert max(prints) > 2**62
    assert len(set(prints)) == len(prints)


def test_the_same_bytes_have_the_same_fingerprint_in_every_process() -> None:
    digest = xxh3_64_intdigest(b"<label/>", MAPPING_VERSION << 8 | 1)
    assert fingerprint(RecordType.LABELS, b"<label/>") == digest >> 1


def test_every_byte_and_the_record_type_count() -> None:
    assert fingerprint(RecordType.LABELS, b"<label/>") != fingerprint(RecordType.LABELS, b"<label />")
    assert len({fingerprint(record_type, b"same") for record_type in RecordType}) == len(RecordType)


def test_a_digest_of_0_becomes_a_fingerprint_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "xxh3_64_intdigest", lambda *_: 0)
    assert fingerprint(RecordType.LABELS, b"") == 1


def test_the_same_bytes_from_an_upstream_task_are_another_version() -> None:
    prints = {
        fingerprint(record_type, b"same", upstream=upstream)
        for record_type in RecordType
        for upstream in (False, True)
    }
    assert len(prints) == 2 * len(RecordType)

"""The fingerprint of one version of a record; computed without parsing it."""

from xxhash import xxh3_64_intdigest

from pipeline.model import MAPPING_VERSION, RecordType

_SALTS = {record_type: MAPPING_VERSION << 8 | number for number, record_type in enumerate(RecordType)}


def fingerprint(record_type: RecordType, raw: bytes) -> int:
    """Return the salted XXH3 of a record's bytes: a positive integer below 2^63."""
    return xxh3_64_intdigest(raw, _SALTS[record_type]) >> 1 or 1

"""What tells an unchanged record from a changed one without parsing it.

A fingerprint is a positive integer below 2^63. All but its two lowest bits are a hash of the record's bytes. Those two
say something of the record that only parsing tells: whether it names any records of its own type that it shares
relationships with, in either direction. Why they are there: docs/decisions/shared-relationships.md.
"""

from xxhash import xxh3_64_intdigest

from pipeline.model import RecordType

#: Raised whenever the same record is to become other nodes, properties or relationships than before:
#: every node is then rewritten by the next load.
MAPPING_VERSION = 1

#: The record names members or sublabels: ends whose relationship points to it.
NAMES_INCOMING = 1
#: The record names groups or a parent label: ends that its own relationship points to.
NAMES_OUTGOING = 2

_FLAGS = NAMES_INCOMING | NAMES_OUTGOING
_SALTS = {record_type: MAPPING_VERSION << 8 | number for number, record_type in enumerate(RecordType)}


def fingerprint(record_type: RecordType, xml: bytes) -> int:
    """The XXH3 of a record's bytes, salted with the version of the mapping; its two lowest bits are 0, it is not."""
    return (xxh3_64_intdigest(xml, _SALTS[record_type]) >> 1 & ~_FLAGS) or _FLAGS + 1


def is_same_version(known: int | None, found: int) -> bool:
    """Whether two fingerprints are of the same version of a record; None stands for no version at all."""
    return known is not None and known | _FLAGS == found | _FLAGS

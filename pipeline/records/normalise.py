"""Fingerprints of raw records, and the rows of those whose fingerprint the graph lacks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from xxhash import xxh3_64_intdigest

from pipeline.chunk import Chunk, Rejected
from pipeline.model import MAPPING_VERSION, RecordType, Row
from pipeline.records.parse import Malformed, parse

_SALTS = {record_type: MAPPING_VERSION << 8 | number for number, record_type in enumerate(RecordType)}
#: Added to the salt of records that upstream tasks handed over.
_UPSTREAM = 1 << 7


def fingerprint(record_type: RecordType, raw: bytes, *, upstream: bool = False) -> int:
    """Return the fingerprint of one version of a record: a positive integer below 2^63.

    It is the salted XXH3 of the bytes, computed without parsing them. The same bytes have another one if an upstream
    task handed them over.
    """
    return xxh3_64_intdigest(raw, _SALTS[record_type] | (_UPSTREAM if upstream else 0)) >> 1 or 1


@dataclass(slots=True)
class Normalised:
    """The outcome for one chunk; every record is in exactly one of the four."""

    #: Rows that the graph lacks in this version, distinct by id; `known` is True if it has another one.
    rows: list[Row] = field(default_factory=list)
    #: Number of rows that are known.
    changed: int = 0
    #: Records that need no writing: already in the graph, or superseded within the chunk.
    unchanged: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def created(self) -> int:
        """Number of rows that are not known."""
        return len(self.rows) - self.changed


def normalise(chunk: Chunk, known: Mapping[int, int]) -> Normalised:
    """Return the rows that the graph lacks; `known` has its fingerprints by id.

    The last well-formed version of a record counts. Unchanged records are not parsed.
    """
    fingerprints = [
        fingerprint(chunk.record_type, record, upstream=chunk.upstream) for record in chunk.records
    ]
    wanted = [
        index
        for index, (record_id, print_) in enumerate(zip(chunk.ids, fingerprints, strict=True))
        if known.get(record_id) != print_
    ]
    if len(set(chunk.ids)) < len(chunk.ids):
        # A known version may follow one that is not known, or precede it.
        times = Counter(chunk.ids)
        wanted = sorted({*wanted, *(i for i, record_id in enumerate(chunk.ids) if times[record_id] > 1)})
    outcome = Normalised(unchanged=len(chunk.records) - len(wanted), rejected=list(chunk.rejected))
    rows: dict[int, Row] = {}
    for index, row in zip(
        wanted, parse(chunk.record_type, [chunk.records[index] for index in wanted]), strict=True
    ):
        if isinstance(row, Malformed):
            outcome.rejected.append(Rejected(chunk.positions[index], row.reason, chunk.records[index]))
            continue
        record_id = chunk.ids[index]
        outcome.unchanged += record_id in rows
        row["properties"]["fingerprint"] = fingerprints[index]
        if chunk.upstream:
            row["properties"]["upstream"] = True
        rows[record_id] = row
    for record_id, row in rows.items():
        if known.get(record_id) == row["properties"]["fingerprint"]:
            outcome.unchanged += 1
        else:
            row["known"] = record_id in known
            outcome.rows.append(row)
            outcome.changed += row["known"]
    return outcome

"""Rows of raw records, with their fingerprints."""

from xxhash import xxh3_64_intdigest

from pipeline.chunk import Chunk, Rejected
from pipeline.model import MAPPING_VERSION, RELATIONSHIPS, RecordType, Row
from pipeline.records.parse import Malformed, parse

_SALTS = {record_type: MAPPING_VERSION << 8 | number for number, record_type in enumerate(RecordType)}
#: Added to the salt of records that upstream tasks handed over.
_UPSTREAM = 1 << 7
#: Added for a graph without tracks, where the records of the type have any.
_WITHOUT_TRACKS = {
    record_type: any(each.of_tracks for each in relationships.values()) << 6
    for record_type, relationships in RELATIONSHIPS.items()
}


def fingerprint(record_type: RecordType, raw: bytes, *, upstream: bool = False, tracks: bool = True) -> int:
    """Return the fingerprint of one version of a record: a positive integer below 2^63.

    It is the salted XXH3 of the bytes, computed without parsing them. The same bytes have another one if an upstream
    task handed them over, or in a graph without tracks.
    """
    salt = _SALTS[record_type] | (_UPSTREAM if upstream else 0)
    return xxh3_64_intdigest(raw, salt if tracks else salt | _WITHOUT_TRACKS[record_type]) >> 1 or 1


def normalise(chunk: Chunk) -> tuple[list[Row], list[Rejected]]:
    """Return the rows of a chunk, distinct by id, and its rejected records.

    The last well-formed version of a record counts.
    """
    rows: dict[int, Row] = {}
    rejected = list(chunk.rejected)
    parsed = parse(chunk.record_type, chunk.records, tracks=chunk.tracks)
    for position, id_, raw, row in zip(chunk.positions, chunk.ids, chunk.records, parsed, strict=True):
        if isinstance(row, Malformed):
            rejected.append(Rejected(position, row.reason, raw))
            continue
        row["properties"]["fingerprint"] = fingerprint(
            chunk.record_type, raw, upstream=chunk.upstream, tracks=chunk.tracks
        )
        if chunk.upstream:
            row["properties"]["upstream"] = True
        rows[id_] = row
    return list(rows.values()), rejected

"""A chunk of raw records and what the graph knows of them → the rows that must be written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.model import Chunk, Rejected, Row
from pipeline.records.fingerprint import fingerprint, is_same_version
from pipeline.records.parse import Malformed, parse, to_row


@dataclass(slots=True)
class Normalised:
    """The outcome for one chunk; every record is in exactly one of the four."""

    #: Rows of records that the graph does not have in this version, distinct by id; `known` says if it has another.
    rows: list[Row] = field(default_factory=list)
    #: How many of the rows are of records that the graph has in another version.
    changed: int = 0
    #: Records that need no writing: already in the graph, or superseded within the chunk.
    unchanged: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def created(self) -> int:
        """How many of the rows are of records that the graph does not have at all."""
        return len(self.rows) - self.changed


def normalise(chunk: Chunk, known: Mapping[int, int]) -> Normalised:
    """The rows of those records of `chunk` that `known` (id → fingerprint in the graph) lacks.

    Of several versions of a record the last well-formed one counts. Only what is not known is parsed.
    """
    fingerprints = [fingerprint(chunk.record_type, record) for record in chunk.records]
    wanted = [
        index
        for index, (record_id, print_) in enumerate(zip(chunk.ids, fingerprints, strict=True))
        if not is_same_version(known.get(record_id), print_)
    ]
    if len(set(chunk.ids)) < len(chunk.ids):
        # A record that is known in an earlier version may stand behind one that is not, and the reverse.
        times = Counter(chunk.ids)
        wanted = sorted({*wanted, *(i for i, record_id in enumerate(chunk.ids) if times[record_id] > 1)})
    outcome = Normalised(unchanged=len(chunk.records) - len(wanted), rejected=list(chunk.rejected))
    newest: dict[int, int] = {}
    rows: dict[int, Row] = {}
    for index, record in zip(
        wanted, parse(chunk.record_type, [chunk.records[index] for index in wanted]), strict=True
    ):
        if isinstance(record, Malformed):
            outcome.rejected.append(Rejected(chunk.positions[index], record.reason, chunk.records[index]))
            continue
        record_id = chunk.ids[index]
        if record_id in newest:
            outcome.unchanged += 1
        newest[record_id] = fingerprints[index]
        rows[record_id] = to_row(record, fingerprints[index])
    for record_id, row in rows.items():
        if is_same_version(known.get(record_id), newest[record_id]):
            outcome.unchanged += 1
        else:
            row["known"] = record_id in known
            outcome.rows.append(row)
            outcome.changed += row["known"]
    return outcome

"""Raw records on their way from a dump to the graph."""

from dataclasses import dataclass, field, replace

from pyroaring import BitMap64

from pipeline.model import RecordType

#: Default size of the longest record that is accepted.
MAX_RECORD_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that goes to the quarantine with its raw text."""

    #: The record's first byte in the XML of the dump; -1 if it came from elsewhere.
    position: int
    reason: str
    #: The record's raw text; cut only if it exceeds the largest record allowed.
    raw: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of one dump, in its order; positions, ids and records are parallel lists."""

    record_type: RecordType
    #: The first byte of each record in the XML of the dump.
    positions: list[int]
    #: The Discogs id of each record, from 1.
    ids: list[int]
    #: The raw XML of each record, from `<` of its start tag to `>` of its end tag.
    records: list[bytes]
    #: Records between these that the reader rejected.
    rejected: list[Rejected] = field(default_factory=list)
    #: True for records that upstream tasks handed over.
    upstream: bool = False
    #: False for a graph without tracks: the process that makes the chunk decides, whatever the worker's setting is.
    tracks: bool = True

    def __len__(self) -> int:
        return len(self.ids) + len(self.rejected)

    def before(self, position: int) -> "Chunk":
        """Return the chunk without the records from this byte of the XML on."""
        kept = sum(each < position for each in self.positions)
        return replace(
            self,
            positions=self.positions[:kept],
            ids=self.ids[:kept],
            records=self.records[:kept],
            rejected=[each for each in self.rejected if each.position < position],
        )

    def extend(self, other: "Chunk") -> None:
        """Add the records of another chunk."""
        self.positions.extend(other.positions)
        self.ids.extend(other.ids)
        self.records.extend(other.records)
        self.rejected.extend(other.rejected)

    def without(self, ids: BitMap64 | set[int]) -> "Chunk":
        """Return the chunk without the records of these ids."""
        kept = [index for index, id_ in enumerate(self.ids) if id_ not in ids]
        return replace(
            self,
            positions=[self.positions[index] for index in kept],
            ids=[self.ids[index] for index in kept],
            records=[self.records[index] for index in kept],
        )

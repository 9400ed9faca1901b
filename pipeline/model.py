"""The words that all parts share: record types, chunks, rows."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: One record as parameters of a write: `{"id": int, "properties": {...}, <relationships>: [...]}`.
Row = dict[str, Any]


class RecordType(StrEnum):
    """A Discogs record type; its value is the root element of a dump of that type."""

    ARTISTS = "artists"
    LABELS = "labels"
    MASTERS = "masters"
    RELEASES = "releases"

    @property
    def element(self) -> str:
        """The XML element of one record: `artist`, `label`, `master`, `release`."""
        return self.value[:-1]

    @property
    def label(self) -> str:
        """The node label of one record: `Artist`, `Label`, `Master`, `Release`."""
        return self.value[:-1].capitalize()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot become a node: set aside with its raw text, never lost."""

    #: Where the record starts, in bytes of XML from the start of the dump; -1 if it came from elsewhere.
    position: int
    reason: str
    #: The record's raw text, whole but for one that exceeds the largest record allowed.
    raw: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some records of one dump, in its order; positions, ids and records are parallel lists."""

    record_type: RecordType
    #: Where each record starts, in bytes of XML from the start of the dump.
    positions: list[int]
    #: The Discogs id of each record, from 1.
    ids: list[int]
    #: The raw XML of each record, from `<` of its start tag to `>` of its end tag.
    records: list[bytes]
    #: Records between these that were set aside while reading.
    rejected: list[Rejected] = field(default_factory=list)

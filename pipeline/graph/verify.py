"""Comparison of a dump with the graph, chunk by chunk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from neo4j import AsyncManagedTransaction, unit_of_work
from pyroaring import BitMap64

from pipeline.chunk import Chunk
from pipeline.errors import GraphinatorError
from pipeline.graph.assertions import Stored, read_stored
from pipeline.graph.cypher import statement
from pipeline.graph.driver import Bulk, Driver, graph_errors
from pipeline.graph.lookup import find_vanished
from pipeline.model import NODES, RELATIONSHIPS, Assertion, RecordType, Row
from pipeline.reader.ids import DumpIds
from pipeline.records.normalise import fingerprint
from pipeline.records.parse import Malformed, parse

#: Records by id, and the shared relationships of these: start, end, and the records of upstream tasks that assert it.
Found: TypeAlias = tuple[dict[int, Stored], Iterable[tuple[int, int, list[int]]]]

#: With more differing records than this, the dump and the graph have little in common.
MOST_DIFFERENT = 1_000_000


class TooDifferent(GraphinatorError):
    """The graph holds another dump, or none."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Numbers of records and relationships in which the graph differs from a dump."""

    #: Records that were compared.
    records: int
    #: Records of the dump that cannot be read, or are too long.
    unreadable: int = 0
    missing: int = 0
    changed: int = 0
    #: Records of the type that the dump lacks; no upstream task handed them over, and no illegible record may be them.
    extra: int = 0
    relationships_missing: int = 0
    relationships_extra: int = 0

    @property
    def differs(self) -> bool:
        """Return True if a record that was compared differs, or one is extra."""
        return bool(
            self.missing + self.changed + self.extra + self.relationships_missing + self.relationships_extra
        )

    @property
    def any(self) -> bool:
        """Return True if the graph differs, or a record cannot be read."""
        return self.differs or self.unreadable > 0


@dataclass(frozen=True, slots=True)
class _Fault:
    is_missing: bool
    is_changed: bool
    relationships_missing: int
    relationships_extra: int
    #: Shared relationships that the record asserts and the graph lacks.
    pairs_missing: frozenset[int]


class Verification:
    """The comparison of the dumps of one type with the graph.

    `read` and `compare` each chunk, then take the `differences`.
    """

    def __init__(self, record_type: RecordType) -> None:
        self._record_type = record_type
        #: Ids in the dump, and those of compared records among them.
        self._ids, self._compared = DumpIds(), BitMap64()
        self._unreadable = 0
        self._faults: dict[int, _Fault] = {}
        #: Relationships that two records share, in the dump and in the graph: both ends' ids as one number.
        self._asserted, self._present = BitMap64(), BitMap64()
        #: Those in the graph that records of upstream tasks assert, with the ids of these records.
        self._upstream: dict[int, set[int]] = {}

    @graph_errors()
    async def read(self, driver: Driver, chunk: Chunk) -> Found:
        """Read what the graph has of some records, for `compare`. Raises GraphUnavailable or GraphRejected."""
        async with await driver.session(database=driver.database) as session:
            return await session.execute_read(_read_records, self._record_type, chunk.ids)

    def compare(self, chunk: Chunk, in_graph: Found) -> None:
        """Compare some records with the graph; the last readable version of a record counts.

        It computes for so long that an event loop should do other things meanwhile. Raises TooDifferent.
        """
        found, shared = in_graph
        self._ids.add(chunk)
        self._unreadable += len(chunk.rejected)
        for start, end, upstream in shared:
            self._present.add(_pair(start, end))
            if upstream:
                self._upstream.setdefault(_pair(start, end), set()).update(upstream)
        parsed = parse(self._record_type, chunk.records, tracks=chunk.tracks)
        for raw, row in zip(chunk.records, parsed, strict=True):
            if isinstance(row, Malformed):
                self._unreadable += 1
            else:
                row["properties"]["fingerprint"] = fingerprint(self._record_type, raw, tracks=chunk.tracks)
                self._compare(row, found.get(row["id"]))
        if len(self._faults) > MOST_DIFFERENT:
            raise TooDifferent(
                f"more than {MOST_DIFFERENT:,} {self._record_type} differ: load the dump before it is compared"
            )

    def _compare(self, row: Row, stored: Stored | None) -> None:
        self._compared.add(row["id"])
        self._faults.pop(row["id"], None)
        expected = set(row["assertions"])
        found = set() if stored is None else set(stored.assertions)
        self._asserted.update(self._pairs(row["id"], expected))
        fault = _Fault(
            stored is None,
            stored is not None and self._properties(stored) != self._expected(row, stored),
            sum(not self._is_shared(each) for each in expected - found),
            sum(not self._is_shared(each) for each in found - expected),
            frozenset(self._pairs(row["id"], expected - found)),
        )
        if fault != _NO_FAULT:
            self._faults[row["id"]] = fault

    def _properties(self, stored: Stored) -> dict[str, Any]:
        """Return the properties that a record defines."""
        names = {"id", "fingerprint", *(each.name for each in NODES[self._record_type.label].properties)}
        return {name: value for name, value in stored.properties.items() if name in names}

    @staticmethod
    def _expected(row: Row, stored: Stored) -> dict[str, Any]:
        """Return the properties of a row.

        A record of an upstream task has another fingerprint for the same content.
        """
        properties: dict[str, Any] = row["properties"]
        if stored.properties.get("upstream"):
            return {**properties, "fingerprint": stored.properties["fingerprint"]}
        return properties

    def _is_shared(self, assertion: Assertion) -> bool:
        return RELATIONSHIPS[self._record_type][assertion[0]].shared

    def _pairs(self, id_: int, assertions: Iterable[Assertion]) -> Iterator[int]:
        """Iterate over the shared relationships among the assertions of a record."""
        for field, key, _ in filter(self._is_shared, assertions):
            incoming = RELATIONSHIPS[self._record_type][field].incoming
            yield _pair(int(key), id_) if incoming else _pair(id_, int(key))

    def _is_extra(self, pair: int, unread: BitMap64) -> bool:
        """Return False if an upstream or unread record may assert the pair."""
        return all(id_ in self._ids.ids for id_ in self._upstream.get(pair, ())) and not (
            pair >> 32 in unread or pair & 0xFFFF_FFFF in unread
        )

    async def differences(self, driver: Driver, *, partial: bool = False) -> Differences:
        """Return all differences.

        A full dump may lack records of upstream tasks, a partial one any record.

        Raises GraphUnavailable or GraphRejected.
        """
        faults = self._faults.values()
        extra = 0
        relationships_extra = sum(fault.relationships_extra for fault in faults)
        if not partial:
            lacking = (await find_vanished(driver, self._record_type, self._ids.ids.__contains__)).ids
            missing = lacking.copy()
            self._ids.spare(missing)
            extra = len(missing)
            unread = self._ids.ids - self._compared | lacking - missing
            extra_pairs = self._present - self._asserted
            relationships_extra += sum(self._is_extra(pair, unread) for pair in extra_pairs)
        return Differences(
            records=len(self._compared),
            unreadable=self._unreadable,
            missing=sum(fault.is_missing for fault in faults),
            changed=sum(fault.is_changed for fault in faults),
            extra=extra,
            relationships_missing=sum(fault.relationships_missing for fault in faults)
            + len({pair for fault in faults for pair in fault.pairs_missing}),
            relationships_extra=relationships_extra,
        )


_NO_FAULT = _Fault(False, False, 0, 0, frozenset())


def _pair(start: int, end: int) -> int:
    """Return both ids as one number; ids above 32 bits may collide."""
    return (start << 32 ^ end) & 0xFFFF_FFFF_FFFF_FFFF


@unit_of_work(timeout=120)
async def _read_records(tx: AsyncManagedTransaction, record_type: RecordType, ids: list[int]) -> Found:
    found = await read_stored(tx, record_type, ids, with_properties=True)
    pairs: list[tuple[int, int, list[int]]] = []
    for type_ in sorted({each.type for each in RELATIONSHIPS[record_type].values() if each.shared}):
        text = statement("shared_pairs", label=record_type.label, type=type_)
        record = await (await tx.run(text, ids=Bulk(ids))).single(strict=True)
        pairs += record["pairs"]
    return found, pairs

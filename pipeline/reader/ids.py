"""The ids that a dump contains, and those that its illegible records may have."""

from collections.abc import Iterator
from typing import Self

import msgspec
from pyroaring import BitMap64

from pipeline.chunk import Chunk
from pipeline.elements import MAX_INTEGER
from pipeline.records.accept import legible_id


class DumpIds:
    """The ids of a dump, which `add` takes chunk by chunk.

    A record without a legible id leaves a gap. Dumps are in the order of ids, so its id lies between those of the
    legible records before and after it. Where these are in another order, nothing is known of it.
    """

    def __init__(self) -> None:
        #: The legible ids of all records, rejected ones too: a few MB for a whole dump, whose ids lie close together.
        self.ids = BitMap64()
        #: Lowest and highest id of each gap.
        self._gaps: list[tuple[int, int]] = []
        self._last = 0
        self._in_gap = False

    def add(self, chunk: Chunk) -> None:
        """Add the ids of the next chunk."""
        if not chunk.rejected and not self._in_gap:
            self.ids.update(chunk.ids)
            self._last = chunk.ids[-1] if chunk.ids else self._last
            return
        for id_ in _in_order(chunk):
            if id_ is not None:
                self.ids.add(id_)
                self._end_gap(id_)
                self._last = id_
            elif not self._in_gap:
                # Up to the end of the dump, unless a legible record follows.
                self._gaps.append((self._last + 1, MAX_INTEGER))
                self._in_gap = True

    def spare(self, missing: BitMap64) -> int:
        """Take those out of `missing` that an illegible record may be; return their number."""
        before = len(missing)
        for lowest, highest in self._gaps:
            if missing:
                missing.remove_range(lowest, min(highest, missing.max()) + 1)
        return before - len(missing)

    def pack(self) -> bytes:
        """Return the ids as bytes."""
        return msgspec.msgpack.encode((self.ids.serialize(), self._gaps))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Return the ids that `pack` gave."""
        found = cls()
        ids, found._gaps = msgspec.msgpack.decode(packed, type=tuple[bytes, list[tuple[int, int]]])
        found.ids = BitMap64.deserialize(ids)
        return found

    def _end_gap(self, id_: int) -> None:
        if self._in_gap:
            self._in_gap = False
            lowest, _ = self._gaps.pop()
            if lowest < id_:
                self._gaps.append((lowest, id_ - 1))


def _in_order(chunk: Chunk) -> Iterator[int | None]:
    """Iterate over the ids of all records of a chunk; None for an illegible one."""
    found: list[tuple[int, int | None]] = [*zip(chunk.positions, chunk.ids, strict=True)]
    found += [(each.position, legible_id(chunk.record_type, each.raw)) for each in chunk.rejected]
    found.sort(key=lambda each: each[0])
    return (id_ for _, id_ in found)

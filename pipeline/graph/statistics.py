"""The counts on Genre, Style, Label and Artist nodes: kept with each change, or counted anew.

A load that changes little keeps them as it goes: a release's change says by how much they change, and only for the
pairs of ends that it touches must the graph be asked whether another release supports them too. A load that changes much
leaves them alone and has everything counted once, in the end. docs/decisions/statistics.md says when which.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from neo4j import AsyncManagedTransaction

from pipeline.graph.cypher import statement
from pipeline.graph.driver import execute
from pipeline.graph.relationships import Link, Stored, links_of
from pipeline.model import Row

#: Node labels that have counts, in the order in which nodes are locked: the relationship from releases, and the key.
COUNTED = {"Artist": ("BY", "id"), "Label": ("ON", "id"), "Genre": ("IS", "name"), "Style": ("IS", "name")}

End = tuple[str, int | str]


@dataclass(frozen=True, slots=True)
class Version:
    """What one version of a release contributes to the counts."""

    year: int | None
    ends: frozenset[End]

    @classmethod
    def of(cls, year: int | None, links: Iterable[Link]) -> "Version":
        """The version with this year and these relationships."""
        return cls(year, frozenset((link.label, link.key) for link in links if link.label in COUNTED))

    def pairs(self) -> Iterator[tuple[End, End]]:
        """Each genre or style with each artist or label."""
        kinds = [end for end in self.ends if COUNTED[end[0]][0] == "IS"]
        others = [end for end in self.ends if COUNTED[end[0]][0] != "IS"]
        return ((kind, other) for kind in kinds for other in others)


NOTHING = Version(None, frozenset())


class Upkeep:
    """Keeps the counts right over the changes of one transaction: `begin` before them, `end` after them."""

    def __init__(self) -> None:
        self._pairs: set[tuple[End, End]] = set()
        self._ends: dict[End, _Shift] = defaultdict(_Shift)

    def add(self, changes: Iterable[tuple[Version, Version]]) -> None:
        """Note each release before and after, `NOTHING` where it is not there."""
        for before, after in changes:
            if before == after:
                continue
            self._pairs |= set(before.pairs()) ^ set(after.pairs())
            for end in before.ends:
                self._ends[end].lose(before.year)
            for end in after.ends:
                self._ends[end].gain(after.year)

    async def begin(self, tx: AsyncManagedTransaction) -> None:
        """Lock what is counted, and take away what the pairs count for before the changes."""
        if not self._ends:
            return
        keys = {f"{label.lower()}s": [key for own, key in self._ends if own == label] for label in COUNTED}
        await execute(
            tx, statement("lock_counted"), **{name: sorted(values) for name, values in keys.items()}
        )
        await self._count_pairs(tx, -1)

    async def end(self, tx: AsyncManagedTransaction) -> None:
        """Add what the pairs count for after the changes, and the ends' own counts."""
        if not self._ends:
            return
        await self._count_pairs(tx, 1)
        for label, (type_, key) in COUNTED.items():
            ends = [shift.row(end[1]) for end, shift in self._ends.items() if end[0] == label]
            if ends:
                await execute(tx, statement("shift_counts", label=label, type=type_, key=key), ends=ends)

    async def _count_pairs(self, tx: AsyncManagedTransaction, sign: int) -> None:
        for kind in ("Genre", "Style"):
            pairs: dict[Any, dict[str, list[Any]]] = defaultdict(lambda: {"Artist": [], "Label": []})
            for (own, name), (label, id_) in self._pairs:
                if own == kind:
                    pairs[name][label].append(id_)
            rows = [[name, ids["Artist"], ids["Label"]] for name, ids in pairs.items()]
            if rows:
                await execute(tx, statement("count_pairs", kind=kind), pairs=rows, sign=sign)


class _Shift:
    """By how much one node's counts change."""

    def __init__(self) -> None:
        self._releases = 0
        self._lost: list[int] = []
        self._gained: list[int] = []

    def lose(self, year: int | None) -> None:
        self._releases -= 1
        self._lost += [] if year is None else [year]

    def gain(self, year: int | None) -> None:
        self._releases += 1
        self._gained += [] if year is None else [year]

    def row(self, key: int | str) -> list[Any]:
        return [key, self._releases, min(self._lost, default=None), min(self._gained, default=None)]


def stored_version(stored: Stored | None) -> Version:
    """What the graph's version of a release contributes."""
    return NOTHING if stored is None else Version.of(stored.year, stored.links)


def new_version(row: Row | None) -> Version:
    """What a row of a release will contribute."""
    return NOTHING if row is None else Version.of(row["properties"].get("year"), links_of(row))

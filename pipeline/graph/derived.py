"""Parts of the graph that follow from the records: SAME_AS, PART_OF, referred nodes, statistics.

The transaction that takes away the last reason for a relationship or node deletes it. Statistics are counted once a
load has ended.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from neo4j import AsyncManagedTransaction

from pipeline.graph.batch import Pair, derived_of
from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, execute, graph_errors, run_alone
from pipeline.model import DERIVED, NODES, RELATIONSHIPS, Assertion, RecordType


def _same_as(assertions: Iterable[Assertion]) -> set[Pair]:
    """Pairs of a credited name and the id of its artist."""
    return {
        (name, artist_id)
        for field, name, properties in assertions
        if field == "credits" and (artist_id := properties[_ARTIST_ID])
    }


def _part_of(assertions: Iterable[Assertion]) -> set[Pair]:
    """Pairs of a style and the genre of a record that has exactly one."""
    names: dict[str, list[Any]] = {"genres": [], "styles": []}
    for field, key, _ in assertions:
        if field in names:
            names[field].append(key)
    (genres, styles) = names.values()
    return {(style, genres[0]) for style in styles} if len(genres) == 1 else set()


_ARTIST_ID = [each.name for each in RELATIONSHIPS[RecordType.RELEASES]["credits"].properties].index(
    "artist_id"
)
#: Awaited before each statement that writes; raises where another process may have taken the work over.
Check = Callable[[], Awaitable[None]]
#: The pairs that the assertions of one record imply, by type.
_IMPLIED: dict[str, Callable[[Collection[Assertion]], set[Pair]]] = {"SAME_AS": _same_as, "PART_OF": _part_of}
#: Labels of nodes that records refer to.
_REFERRED = {each.label for fields in RELATIONSHIPS.values() for each in fields.values()}


class DerivedChanges:
    """Derived relationships and nodes that one transaction may add or delete."""

    def __init__(self) -> None:
        #: Pairs that a record begins to imply, by type.
        self.new: dict[str, set[Pair]] = {each.type: set() for each in DERIVED}
        self._lost: dict[str, set[Pair]] = {each.type: set() for each in DERIVED}
        self._locked: set[str] = set()
        self._nodes: dict[str, set[Any]] = defaultdict(set)

    def note(
        self, record_type: RecordType, before: Collection[Assertion], after: Collection[Assertion]
    ) -> None:
        """Note the assertions of a record before and after this transaction."""
        for field, key, _ in set(before).difference(after) if before else ():
            self._nodes[RELATIONSHIPS[record_type][field].label].add(key)
        for derived in derived_of(record_type):
            implied = _IMPLIED[derived.type]
            earlier: set[Pair] = implied(before) if before else set()
            now = implied(after)
            self.new[derived.type] |= now - earlier
            if before and derived.type == "PART_OF":
                self._locked.update(style for style, _ in now - earlier)
            self._lost[derived.type] |= earlier - now

    def note_nodes(self, label: str, keys: Iterable[int | str]) -> None:
        """Note nodes whose record is removed."""
        self._nodes[label].update(keys)

    async def lock(self, tx: AsyncManagedTransaction) -> None:
        """Lock the styles whose PART_OF a changed record begins to imply."""
        await execute(tx, statement("lock_styles"), names=sorted(self._locked))

    async def withdraw(self, tx: AsyncManagedTransaction) -> None:
        """Delete what has lost its last reason."""
        for each in DERIVED:
            lost = sorted(self._lost[each.type])
            await execute(tx, statement(f"withdraw_{each.type.lower()}"), lost=lost)
            self._nodes[each.end].update(end for _, end in lost)
        for label, node in NODES.items():
            text = statement("delete_orphans", label=label, key=node.key)
            await execute(tx, text, lost=sorted(self._nodes[label]))


@graph_errors()
async def rebuild(driver: Driver, before: Check | None = None) -> None:
    """Rebuild SAME_AS and PART_OF, and delete all orphans. Nothing may write to the graph meanwhile.

    Idempotent, and of bounded memory: the server commits in parts.
    Raises GraphUnavailable, after which it may be repeated, or GraphRejected.
    """
    for action in ("assert", "settle"):
        for each in DERIVED:
            await run_alone(driver, statement(f"{action}_{each.type.lower()}"), before=before)
    for label in sorted(_REFERRED):
        await run_alone(driver, statement("settle_orphans", label=label), before=before)


@graph_errors()
async def count(driver: Driver, before: Check | None = None) -> None:
    """Count all statistics. Nothing may write to the graph meanwhile.

    Idempotent, and of bounded memory: the server commits in parts, and writes only what has changed.
    Raises GraphUnavailable, after which it may be repeated, or GraphRejected.
    """
    for label, node in NODES.items():
        if node.counted_over:
            text = statement("count_releases", label=label, type=node.counted_over)
            await run_alone(driver, text, before=before)
    artists, labels = await _count_ends(driver, "Artist"), await _count_ends(driver, "Label")
    counts = [[*kind, artists.get(kind), labels.get(kind)] for kind in sorted(artists.keys() | labels.keys())]
    await run_alone(driver, statement("set_end_counts"), before=before, counts=counts)
    for label, node in NODES.items():
        for name, type_ in node.degrees:
            text = statement("count_degrees", label=label, type=type_, property=name)
            await run_alone(driver, text, before=before)


async def _count_ends(driver: Driver, label: str) -> dict[tuple[str, str], int]:
    """Return the number of artists or labels by label and name of genre or style."""
    (row,) = await run_alone(driver, statement("count_ends", label=label, type=NODES[label].counted_over))
    return {(kind, name): number for kind, name, number in row["counts"]}

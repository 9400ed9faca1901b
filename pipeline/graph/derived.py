"""What lives only while a record supports it, and is taken away in the transaction that took the support away.

SAME_AS and PART_OF follow from other relationships; stubs, genres, styles and persons live by their relationships.
The opposite, asserting what records support, is done by the writer with each record.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from neo4j import AsyncManagedTransaction

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, execute, graph_errors, run_alone
from pipeline.graph.relationships import Link

#: Labels of nodes that live by their relationships alone, or by them until a record defines them, with their keys.
ORPHANABLE = {
    "Master": "id", "Artist": "id", "Label": "id", "Genre": "name", "Style": "name", "Person": "name",
}  # fmt: skip


@graph_errors()
async def rebuild(driver: Driver) -> None:
    """Rebuild SAME_AS and PART_OF, and delete all orphans. Nothing may write to the graph meanwhile.

    Idempotent, and of bounded memory: the server commits in parts.
    Raises GraphUnavailable, after which it may be repeated, or GraphRejected.
    """
    for name in ("assert_same_as", "assert_part_of", "settle_same_as", "settle_part_of"):
        await run_alone(driver, statement(name))
    for label in ORPHANABLE:
        await run_alone(driver, statement("settle_orphans", label=label))


class Support:
    """What may have lost its support in one transaction: gathered with the changes, looked at after them."""

    def __init__(self) -> None:
        self._same_as: set[tuple[Any, int]] = set()
        self._part_of: set[tuple[str, str]] = set()
        self._new_part_of: set[tuple[str, str]] = set()
        self._nodes: dict[str, set[Any]] = defaultdict(set)

    def lose(self, before: Iterable[Link], after: Iterable[Link]) -> None:
        """Note what a record asserted before, and what it asserts now."""
        before, after = set(before), set(after)
        for link in before - after:
            self._nodes[link.label].add(link.key)
            if link.type == "CREDITED_ON" and link.properties[2]:
                self._same_as.add((link.key, link.properties[2]))
                self._nodes["Artist"].add(link.properties[2])
        self._part_of |= _part_of(before) - _part_of(after)
        self._new_part_of |= _part_of(after) - _part_of(before)

    def lose_nodes(self, label: str, keys: Iterable[int | str]) -> None:
        """Note nodes that may have lost their last relationship, or the record that defined them."""
        self._nodes[label].update(keys)

    async def hold(self, tx: AsyncManagedTransaction) -> None:
        """Hold still the styles whose genre these records begin to support, before they say so."""
        await execute(tx, statement("lock_styles"), names=sorted({style for style, _ in self._new_part_of}))

    async def settle(self, tx: AsyncManagedTransaction) -> None:
        """Remove what is supported no more."""
        await execute(tx, statement("withdraw_same_as"), lost=sorted(self._same_as))
        await execute(tx, statement("withdraw_part_of"), lost=sorted(self._part_of))
        for label, key in ORPHANABLE.items():
            lost = sorted(self._nodes[label])
            await execute(tx, statement("delete_orphans", label=label, key=key), lost=lost)


def _part_of(links: Iterable[Link]) -> set[tuple[str, str]]:
    """The styles of a record that has exactly one genre, each with it."""
    names: dict[str, list[Any]] = {"Genre": [], "Style": []}
    for link in links:
        if link.type == "IS":
            names[link.label].append(link.key)
    return {(style, names["Genre"][0]) for style in names["Style"]} if len(names["Genre"]) == 1 else set()

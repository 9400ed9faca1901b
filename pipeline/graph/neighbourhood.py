"""The neighbourhood of a node: a bounded part of the graph around it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neo4j import AsyncManagedTransaction, unit_of_work
from neo4j.graph import Relationship

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, graph_errors
from pipeline.graph.search import Found, described
from pipeline.model import DERIVED, NODES, RELATIONSHIPS

_ALL = [each for fields in RELATIONSHIPS.values() for each in fields.values()]
#: Properties that are kept for writing.
_FLAGS = frozenset(each.flag for each in _ALL if each.shared)


@dataclass(frozen=True, slots=True)
class Link:
    """A relationship between two nodes, which are given by their places."""

    type: str
    start: int
    end: int
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a node's relationships of one type and direction that was read."""

    type: str
    incoming: bool
    shown: int
    total: int


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """A part of the graph around its first node."""

    nodes: list[Found]
    links: list[Link]
    parts: list[Part]
    #: The statement that returns it, to be pasted into Neo4j Browser.
    cypher: str


@graph_errors()
async def neighbourhood(driver: Driver, label: str, key: int | str, limit: int) -> Neighbourhood | None:
    """Return a node, its neighbours and what these refer to, or None without the node.

    `limit` is for the relationships of the node of each type and direction.
    """
    async with await driver.session(database=driver.database) as session:
        return await session.execute_read(_neighbourhood, label, key, limit)


@unit_of_work(timeout=60)
async def _neighbourhood(
    tx: AsyncManagedTransaction, label: str, key: int | str, limit: int
) -> Neighbourhood | None:
    kinds, identifiers = _kinds(label), {"label": label, "key": NODES[label].key}
    steps = (f"MATCH {_pattern(kind, 'first', 'near')} RETURN first, near LIMIT $limit" for kind in kinds)
    text = statement("explore", steps="\n  UNION ALL\n  ".join(steps), **identifiers)
    graph = await (await tx.run(text, key=key, limit=limit)).graph()
    nodes = [*graph.nodes]
    if not nodes:
        return None
    degrees = ", ".join(f"COUNT {{ {_pattern(kind)} }}" for kind in kinds)
    counted = await tx.run(statement("degrees", degrees=degrees, **identifiers), key=key)
    totals = (await counted.single(strict=True))["degrees"]
    places = {node.element_id: place for place, node in enumerate(nodes)}
    links = [_link(each, places) for each in graph.relationships]
    shown = Counter(
        (each.type, incoming)
        for each in links
        for incoming in (False, True)
        if (each.end if incoming else each.start) == 0
    )
    parts = [Part(*kind, shown[kind], total) for kind, total in zip(kinds, totals, strict=True)]
    return Neighbourhood(await described(tx, nodes), links, parts, _with_values(text, key, limit))


def _kinds(label: str) -> list[tuple[str, bool]]:
    """Return the types of a label's relationships, with True for those that lead to it."""
    ends = [(each.type, *each.ends) for each in _ALL] + [
        (each.type, each.start, each.end) for each in DERIVED
    ]
    kinds = (
        (type_, incoming) for type_, *both in ends for incoming in (False, True) if both[incoming] == label
    )
    return [*dict.fromkeys(kinds)]


def _pattern(kind: tuple[str, bool], relationship: str = "", end: str = "") -> str:
    type_, incoming = kind
    arrow = f"[{relationship}:{type_}]"
    return f"(centre)<-{arrow}-({end})" if incoming else f"(centre)-{arrow}->({end})"


def _link(relationship: Relationship, places: Mapping[str, int]) -> Link:
    start, end = (places[node.element_id] for node in relationship.nodes if node is not None)
    properties = {name: value for name, value in relationship.items() if name not in _FLAGS}
    return Link(relationship.type, start, end, properties)


def _with_values(text: str, key: int | str, limit: int) -> str:
    """Return the statement with its parameters filled in: it needs none."""
    # JSON escapes a text as Cypher does. The key comes last, for it may contain anything.
    return text.replace("$limit", str(limit)).replace("$key", json.dumps(key, ensure_ascii=False))

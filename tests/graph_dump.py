"""A Neo4j database in the shape of `tests.oracle`, and its differences from it."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import neo4j

from tests.oracle import AnyInteger, Graph, NodeKey, OneOf, Properties

#: Labels whose nodes are told apart by `id`; those of the others by `name`.
_BY_ID = frozenset({"Artist", "Label", "Master", "Release"})
_LABELS = _BY_ID | {"Genre", "Style", "Person"}
#: Properties computed after an import; the oracle says nothing of them.
STATISTICS = frozenset(
    {
        *("release_count", "appearance_count", "artist_count", "label_count"),
        *("style_count", "genre_count", "first_year"),
    }
)

_Key = TypeVar("_Key", bound=tuple[object, ...])

#: In one row: for every row the driver, in its debug mode, looks at who reads it.
_NODES = "MATCH (n) RETURN collect([elementId(n), labels(n), properties(n)]) AS all"
_RELATIONSHIPS = (
    "MATCH (a)-[r]->(b) RETURN collect([elementId(a), type(r), elementId(b), properties(r)]) AS all"
)


#: The flags of a relationship that two records may assert (docs/decisions/shared-relationships.md).
FLAGS = ("asserted_by_start", "asserted_by_end")


async def read_graph(
    session: neo4j.AsyncSession, *, ignoring: frozenset[str] = STATISTICS, flags: bool = False
) -> Graph:
    """Read all nodes and relationships; node properties in `ignoring` are left out.

    Relationships that two records share come without their flags, unless `flags` is True.

    What does not fit the shape lands in `faults`: a node with another label than those of the graph model or
    without a key, two nodes with one key.
    """
    nodes = (await (await session.run(_NODES)).single(strict=True))["all"]
    relationships = (await (await session.run(_RELATIONSHIPS)).single(strict=True))["all"]
    return _graph(nodes, relationships, ignoring, flags=flags)


def read_graph_at_once(
    session: neo4j.Session, *, ignoring: frozenset[str] = STATISTICS, flags: bool = False
) -> Graph:
    """As `read_graph`, by a sync session."""
    nodes, relationships = (session.run(text).single(strict=True)["all"] for text in (_NODES, _RELATIONSHIPS))
    return _graph(nodes, relationships, ignoring, flags=flags)


def _graph(
    nodes: list[list[Any]], relationships: list[list[Any]], ignoring: frozenset[str], *, flags: bool
) -> Graph:
    graph = Graph()
    keys: dict[str, NodeKey] = {}
    for element_id, labels, properties in nodes:
        label = labels[0] if len(labels) == 1 else "+".join(sorted(labels))
        key = properties.get("id" if label in _BY_ID else "name")
        if label not in _LABELS or not isinstance(key, int | str):
            graph.faults.append(f"a node that the model does not know: {labels} {properties}")
            key = element_id
        node: NodeKey = (label, key)
        if node in graph.nodes:
            graph.faults.append(f"a second node {node}: {properties}")
        keys[element_id] = node
        graph.nodes[node] = {name: value for name, value in properties.items() if name not in ignoring}
    for start, kind, end, properties in relationships:
        graph.relationships.setdefault((kind, keys[start], keys[end]), []).append(
            {name: value for name, value in properties.items() if flags or name not in FLAGS}
        )
    return graph


def differences(expected: Graph, actual: Graph, limit: int = 50) -> list[str]:
    """Return at most `limit` differences of two graphs, one line each, and count the rest."""
    found = list(_differences(expected, actual))
    if len(found) > limit:
        return [*found[:limit], f"… and {len(found) - limit:,} more differences"]
    return found


def _differences(expected: Graph, actual: Graph) -> Iterator[str]:
    yield from actual.faults
    nodes = ({key: [properties] for key, properties in graph.nodes.items()} for graph in (expected, actual))
    yield from _compare("node", *nodes)
    yield from _compare("relationship", expected.relationships, actual.relationships)


def _compare(
    what: str, expected: Mapping[_Key, list[Properties]], actual: Mapping[_Key, list[Properties]]
) -> Iterator[str]:
    for key in {**expected, **actual}:
        missing, unexpected = _unmatched(expected.get(key, []), actual.get(key, []))
        if len(missing) == len(unexpected) == 1:
            yield from (f"{what} {_name(key)} {each}" for each in _of_properties(missing[0], unexpected[0]))
        else:
            yield from (f"missing {what} {_name(key)}: {properties}" for properties in missing)
            yield from (f"unexpected {what} {_name(key)}: {properties}" for properties in unexpected)


def _unmatched(
    expected: list[Properties], actual: list[Properties]
) -> tuple[list[Properties], list[Properties]]:
    """Leave out pairs that agree."""
    missing, unexpected = [], list(actual)
    for properties in expected:
        found = next((each for each in unexpected if not any(_of_properties(properties, each))), None)
        if found is None:
            missing.append(properties)
        else:
            unexpected.remove(found)
    return missing, unexpected


def _of_properties(expected: Properties, found: Properties) -> Iterator[str]:
    for name in {**expected, **found}:
        if name not in found:
            yield f"has no {name}, expected {expected[name]!r}"
        elif name not in expected:
            yield f"has {name}={found[name]!r}, expected none"
        elif not _agree(expected[name], found[name]):
            yield f"has {name}={found[name]!r}, expected {expected[name]!r}"


def _agree(expected: object, found: object) -> bool:
    if isinstance(expected, OneOf | AnyInteger):
        return expected.allows(found)
    return type(expected) is type(found) and expected == found


def _name(key: tuple[object, ...]) -> str:
    if isinstance(key[0], str) and len(key) == 2:
        return f"{key[0]} {key[1]!r}"
    kind, start, end = key
    return f"{start} -{kind}-> {end}"

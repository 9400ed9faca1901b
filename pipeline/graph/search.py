"""Nodes by an approximate name, from the full-text indexes."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neo4j import AsyncManagedTransaction, unit_of_work
from neo4j.graph import Node as Neo4jNode

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, graph_errors
from pipeline.graph.schema import TEXT_INDEXES
from pipeline.model import NODES

#: Full-text indexes by label.
INDEXES = dict(zip((each.label for each in NODES.values() if each.text_index), TEXT_INDEXES, strict=True))
#: Hits that are read of each index, the best ones.
HITS = 100


@dataclass(frozen=True, slots=True)
class Found:
    """A node as it is listed and drawn."""

    label: str
    #: Its `id`, or its `name` where that is the key.
    key: int | str
    name: str
    releases: int


@graph_errors()
async def search(driver: Driver, text: str, labels: Sequence[str]) -> list[Found]:
    """Return the nodes that are called `text`, those with most releases first.

    Without any, return those with all its words, or else with similar words. A label without its full-text index is left
    out.
    """
    found: list[Found] = []
    async with await driver.session(database=driver.database) as session:
        for query in queries(text):
            if not found:
                found = await session.execute_read(_search, query, [INDEXES[label] for label in labels])
    exact = [each for each in found if is_called(each, text)]
    # Names of artists are unique, and a person has that of an artist: it is the same one.
    artists = {each.name for each in exact if each.label == "Artist"}
    exact = [each for each in exact if each.label != "Person" or each.name not in artists]
    return sorted(exact or found, key=lambda each: -each.releases)


def is_called(found: Found, text: str) -> bool:
    """Return True if the name is `text`, but for case, accents and white space."""
    return _folded(found.name) == _folded(text)


def _folded(text: str) -> str:
    letters = filter(lambda each: not unicodedata.combining(each), unicodedata.normalize("NFKD", text))
    return " ".join("".join(letters).casefold().split())


def queries(text: str) -> list[str]:
    """Return the Lucene queries for all words as they are, and for similar words."""
    exact = ('"' + re.sub(r'(["\\])', r"\\\1", word) + '"' for word in text.split())
    # Lower case, since AND, OR and NOT are operators. A longer word may differ in more letters, two at most.
    similar = (f"{word.lower()}~{min(len(word) // 3, 2)}" for word in re.findall(r"\w+", text))
    return [query for words in (exact, similar) if (query := " ".join(f"+{word}" for word in words))]


@unit_of_work(timeout=60)
async def _search(tx: AsyncManagedTransaction, query: str, indexes: Sequence[str]) -> list[Found]:
    present = (await (await tx.run(statement("text_indexes"))).single(strict=True))["names"]
    found: list[Neo4jNode] = []
    for index in indexes:
        if index in present:
            hits = await tx.run(statement("search"), index=index, words=query, limit=HITS)
            found += (await hits.single(strict=True))["nodes"]
    return await described(tx, found)


async def described(tx: AsyncManagedTransaction, nodes: Iterable[Neo4jNode]) -> list[Found]:
    """Return the nodes with their names and numbers of releases, in the same order."""
    by_id = {node.element_id: node for node in nodes}
    result = await tx.run(statement("releases_of"), ids=[*by_id])
    releases = dict((await result.single(strict=True))["numbers"])
    return [_found(node, releases[id_]) for id_, node in by_id.items()]


def _found(node: Neo4jNode, releases: int) -> Found:
    (label,) = node.labels
    key: Any = node[NODES[label].key]
    return Found(label, key, node.get("name") or node.get("title") or f"{label} {key}", releases)

"""What Neo4j makes of the product's statements, as far as tests without a server need it.

Each statement's answer is written down once more, in Python, over a dictionary of nodes and one of relationships.
The integration tests run the product over these answers and over the real Neo4j and expect the same of both.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from pipeline.graph.cypher import statement, statements
from pipeline.graph.derived import ORPHANABLE
from pipeline.graph.relationships import OWN_TYPES
from pipeline.graph.schema import UNIQUE_KEYS
from pipeline.graph.statistics import COUNTED
from tests.fakes.server import Answer, Effect, FakeServer, Store

#: (label, id or name)
Key = tuple[str, Any]
#: (type, start, end, what tells it from others between the same nodes)
Edge = tuple[str, Key, Key, Any]

NUMBERED = ("Artist", "Label", "Master", "Release")
NAMED = ("Genre", "Style", "Person")
SHARED = (("Artist", "MEMBER_OF"), ("Label", "SUBLABEL_OF"))
TYPES = (
    "ALIAS_OF",
    "BY",
    "CREDITED_ON",
    "DERIVED_FROM",
    "IS",
    "MEMBER_OF",
    "ON",
    "PART_OF",
    "SAME_AS",
    "SUBLABEL_OF",
)


class Graph:
    """The store of a fake server, as nodes and relationships."""

    def __init__(self, store: Store) -> None:
        self.nodes: dict[Key, dict[str, Any]] = store.setdefault("nodes", {})
        self.edges: dict[Edge, dict[str, Any]] = store.setdefault("edges", {})

    def merge(self, label: str, key: Any) -> dict[str, Any]:
        """The node with this key, made where there is none."""
        name = "name" if label in NAMED else "id"
        return self.nodes.setdefault((label, key), {name: key})

    def relate(self, type_: str, start: Key, end: Key, *, tell_apart: Any = None, **properties: Any) -> int:
        """Create a relationship if both of its ends exist; how many were created."""
        edge = (type_, start, end, tell_apart)
        if start not in self.nodes or end not in self.nodes or edge in self.edges:
            return 0
        self.edges[edge] = {name: value for name, value in properties.items() if value is not None}
        return 1

    def delete(self, edges: Iterable[Edge]) -> int:
        """Remove relationships; how many."""
        return len([self.edges.pop(edge) for edge in list(edges)])

    def of(self, key: Key, *types: str) -> list[Edge]:
        """The relationships of a node, either way, of these types or of all."""
        return [edge for edge in self.edges if key in edge[1:3] and (not types or edge[0] in types)]


Act = Callable[[Graph, Mapping[str, Any]], Effect]


def answer_for_product(server: FakeServer) -> None:
    """Register the answers to all statements of the product."""
    for text, answer in answers_for_product().items():
        server.answer(text, answer)


def answers_for_product() -> dict[str, Answer]:
    """The answers by the text of their statement."""
    acts = {**dict.fromkeys(statements("schema"), _nothing), **_acts()}
    return {text: _over_graph(act) for text, act in acts.items()}


def _over_graph(act: Act) -> Answer:
    return lambda store, parameters: act(Graph(store), parameters)


def _acts() -> dict[str, Act]:
    acts: dict[str, Act] = {
        statement("await_indexes"): _nothing,
        statement("unique_keys"): _unique_keys,
        statement("delete_releases"): _delete_releases,
        statement("delete_links"): _delete_links,
        statement("create_aliases"): _create_aliases,
        statement("assert_same_as"): _assert_same_as,
        statement("assert_part_of"): _assert_part_of,
        statement("lock_counted"): _lock_counted,
    }
    for name in ("settle", "withdraw"):
        acts |= {
            statement(f"{name}_same_as"): _withdraw_same_as,
            statement(f"{name}_part_of"): _withdraw_part_of,
        }
    for record_type, types in OWN_TYPES.items():
        for name in ("stored", "whole"):
            text = statement(f"{name}_records", label=record_type.label, types=types)
            acts[text] = _stored_records(record_type.label, types.split("|"), whole=name == "whole")
    for label in NUMBERED:
        acts |= {
            statement("fingerprints", label=label): _fingerprints(label),
            statement("fingerprints_range", label=label): _fingerprints(label),
            statement("record_ids", label=label): _record_ids(label),
            statement("set_properties", label=label): _set_properties(label),
            statement("remove_records", label=label): _remove_records(label),
            statement("lock_records", label=label): _merge_numbered(label),
        }
    for label in ("Master", "Release"):
        acts[statement("write_records", label=label)] = _write_records(label)
    for label, type_ in SHARED:
        acts |= {
            statement("lock_shared", label=label, type=type_): _nothing,
            statement("withdraw_shared", label=label, type=type_): _withdraw_shared(label, type_),
            statement("assert_shared", label=label, type=type_): _assert_shared(label, type_),
            statement("simplify_shared", label=label, type=type_): _nothing,
            statement("shared_pairs", label=label, type=type_): _shared_pairs(label, type_),
        }
    for label, key in ORPHANABLE.items():
        acts[statement("count_nodes", label=label)] = _count_nodes(label)
        acts[statement("settle_orphans", label=label)] = _delete_orphans(label)
        acts[statement("delete_orphans", label=label, key=key)] = _delete_orphans(label)
    acts[statement("count_nodes", label="Release")] = _count_nodes("Release")
    for type_ in TYPES:
        acts[statement("count_relationships", type=type_)] = _count_edges(type_)
    for topic in ("artist", "group", "label", "oldest_release", "person", "style"):
        acts[statement(f"highlight_{topic}")] = _nothing
    return acts | _counting()


def _counting() -> dict[str, Act]:
    """The statistics: whatever the statement, the fake counts all that it names anew, and so is never wrong."""
    acts: dict[str, Act] = {}
    for label, (type_, key) in COUNTED.items():
        count = _count_releases(label, type_)
        acts[statement("count_releases", label=label, type=type_)] = count
        acts[statement("shift_counts", label=label, type=type_, key=key)] = count
    for kind, other in (("Genre", "Style"), ("Style", "Genre")):
        ends = {"Artist": "BY", "Label": "ON"}
        for label, type_ in ends.items():
            acts[statement("count_ends", label=label, type=type_, kind=kind)] = _count_ends(
                label, type_, kind
            )
        acts[statement("set_end_counts", kind=kind)] = _set_end_counts(kind)
        acts[statement("count_pairs", kind=kind)] = _nothing_or_pairs(kind)
        name = f"{other.lower()}_count"
        acts[statement("count_part_of", label=kind, other=other, property=name)] = _count_part_of(kind, name)
    return acts


def _nothing(_graph: Graph, _: Mapping[str, Any]) -> Effect:
    return Effect()


def _unique_keys(_graph: Graph, _: Mapping[str, Any]) -> Effect:
    return Effect([{"keys": sorted(UNIQUE_KEYS)}])


def _count_nodes(label: str) -> Act:
    return lambda graph, _: Effect([{"number": sum(key[0] == label for key in graph.nodes)}])


def _count_edges(type_: str) -> Act:
    return lambda graph, _: Effect([{"number": sum(edge[0] == type_ for edge in graph.edges)}])


def _fingerprints(label: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        def wanted(id_: int) -> bool:
            return id_ in p["ids"] if "ids" in p else bool(p["lowest"] <= id_ <= p["highest"])

        prints = {
            node["id"]: node["fingerprint"]
            for key, node in graph.nodes.items()
            if key[0] == label and "fingerprint" in node and wanted(node["id"])
        }
        return Effect([{"ids": list(prints), "fingerprints": list(prints.values())}])

    return answer


def _record_ids(label: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        ids = sorted(
            id_
            for (kind, id_), node in graph.nodes.items()
            if kind == label and "fingerprint" in node and id_ > p["after"]
        )
        return Effect([{"ids": ids[: p["limit"]]}])

    return answer


def _shared_pairs(label: str, type_: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        edges = {edge for id_ in p["ids"] for edge in graph.of((label, id_), type_)}
        return Effect([{"pairs": [[edge[1][1], edge[2][1]] for edge in edges]}])

    return answer


def _stored_records(label: str, types: list[str], *, whole: bool) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        records = []
        for id_ in p["ids"]:
            node: Key = (label, id_)
            if "fingerprint" not in graph.nodes.get(node, {}):
                continue
            links = []
            for edge in graph.of(node, *types):
                if edge[1] != node and edge[0] != "CREDITED_ON":
                    continue
                end = edge[2] if edge[1] == node else edge[1]
                says = graph.edges[edge]
                names = ("catalog_numbers", "role", "category", "artist_id")
                link = [edge[0], *end, *(says.get(name) for name in names)]
                links.append(link if whole else [str(edge), *link])
            about = [graph.nodes[node]] if whole else [id_, graph.nodes[node].get("year")]
            records.append([*about, links])
        return Effect([{"records": records}])

    return answer


def _delete_links(graph: Graph, p: Mapping[str, Any]) -> Effect:
    return Effect(relationships_deleted=graph.delete(edge for edge in graph.edges if str(edge) in p["links"]))


def _change(node: dict[str, Any], properties: Mapping[str, Any]) -> None:
    """`SET n += properties`."""
    node |= properties
    for name in [name for name, value in node.items() if value is None]:
        del node[name]


def _set_properties(label: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        for row in p["rows"]:
            _change(graph.nodes[label, row["id"]], row["properties"])
        return Effect()

    return answer


def _remove_records(label: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        for id_ in p["ids"]:
            _change(graph.nodes[label, id_], p["nothing"])
        return Effect()

    return answer


def _merge_numbered(label: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        for end in p["ends"]:
            node = graph.merge(label, end["id"])
            if "fingerprint" not in node and end["name"] is not None:
                node["name"] = end["name"]
        return Effect()

    return answer


def _write_records(label: str) -> Act:
    def answer(graph: Graph, parameters: Mapping[str, Any]) -> Effect:
        p = parameters["batch"]
        _merge_numbered("Artist")(graph, {"ends": p["artists"]})
        _merge_numbered("Label")(graph, {"ends": p["labels"]})
        for kind, keys in (
            ("Master", "masters"),
            ("Genre", "genres"),
            ("Style", "styles"),
            ("Person", "persons"),
        ):
            for key in p[keys]:
                graph.merge(kind, key)
        records: list[Key] = [(label, properties["id"]) for properties in p["records"]]
        graph.nodes |= {key: dict(properties) for key, properties in zip(records, p["records"], strict=True)}

        def end(kind: str, place: int) -> Key:
            at = p[f"{kind.lower()}s"][place]
            return kind, at["id"] if kind in {"Artist", "Label"} else at

        for record, place in p["by"]:
            graph.relate("BY", records[record], end("Artist", place))
        for record, place, numbers in p["on"]:
            graph.relate("ON", records[record], end("Label", place), catalog_numbers=numbers)
        for record, place in p["derived_from"]:
            graph.relate("DERIVED_FROM", records[record], end("Master", place))
        for kind in ("Genre", "Style"):
            for record, place in p[f"is_{kind.lower()}"]:
                graph.relate("IS", records[record], end(kind, place))
        for place, record, role, category, artist_id in p["credited_on"]:
            graph.relate(
                "CREDITED_ON",
                end("Person", place),
                records[record],
                tell_apart=(role, artist_id),
                role=role,
                category=category,
                artist_id=artist_id,
            )
        for person, artist in p["same_as"]:
            graph.relate("SAME_AS", end("Person", person), end("Artist", artist))
        for style, genre in p["part_of"]:
            graph.relate("PART_OF", end("Style", style), end("Genre", genre))
        return Effect()

    return answer


def _delete_releases(graph: Graph, p: Mapping[str, Any]) -> Effect:
    for id_ in p["ids"]:
        graph.delete(graph.of(("Release", id_)))
        graph.nodes.pop(("Release", id_), None)
    return Effect()


def _create_aliases(graph: Graph, p: Mapping[str, Any]) -> Effect:
    aliases = [(row["id"], each["id"]) for row in p["rows"] for each in row["aliases"]]
    for start, end in aliases:
        graph.relate("ALIAS_OF", ("Artist", start), ("Artist", end))
    return Effect()


def _withdraw_shared(label: str, type_: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        mine = {(label, id_) for id_ in p["ids"]}
        lost = []
        for edge in [edge for edge in graph.edges if edge[0] == type_ and mine & set(edge[1:3])]:
            graph.edges[edge]["asserted_by"] -= mine
            if not graph.edges[edge]["asserted_by"]:
                del graph.edges[edge]
                lost += [key for _, key in edge[1:3]]
        return Effect([{"lost": lost}])

    return answer


def _assert_shared(label: str, type_: str) -> Act:
    """Neo4j keeps who asserts a relationship more sparingly; what follows from it is the same."""

    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        for pair in p["pairs"]:
            ends = (label, pair["start"]), (label, pair["end"])
            graph.relate(type_, *ends, asserted_by=set())
            by = set(ends) if pair["sole"] is None else {(label, pair["sole"])}
            graph.edges[cast("Edge", (type_, *ends, None))]["asserted_by"] |= by
        return Effect()

    return answer


def _delete_orphans(label: str) -> Act:
    """Of all nodes with the label: what a statement does not ask for has its support."""

    def answer(graph: Graph, _: Mapping[str, Any]) -> Effect:
        orphans = [
            key
            for key, node in graph.nodes.items()
            if key[0] == label and "fingerprint" not in node and not graph.of(key)
        ]
        for key in orphans:
            del graph.nodes[key]
        return Effect(nodes_deleted=len(orphans))

    return answer


def _credited(graph: Graph) -> set[tuple[Key, Any]]:
    return {
        (edge[1], node["artist_id"])
        for edge, node in graph.edges.items()
        if edge[0] == "CREDITED_ON" and "artist_id" in node
    }


def _assert_same_as(graph: Graph, _: Mapping[str, Any]) -> Effect:
    for person, artist_id in _credited(graph):
        graph.merge("Artist", artist_id)
        graph.relate("SAME_AS", person, ("Artist", artist_id))
    return Effect()


def _withdraw_same_as(graph: Graph, _: Mapping[str, Any]) -> Effect:
    credited = _credited(graph)
    idle = [edge for edge in graph.edges if edge[0] == "SAME_AS" and (edge[1], edge[2][1]) not in credited]
    return Effect(relationships_deleted=graph.delete(idle))


def _styled(graph: Graph) -> set[tuple[Key, Key]]:
    """The styles of records with exactly one genre, each with it."""
    supported = set()
    for record in {edge[1] for edge in graph.edges if edge[0] == "IS"}:
        ends = [edge[2] for edge in graph.of(record, "IS")]
        genres = [end for end in ends if end[0] == "Genre"]
        if len(genres) == 1:
            supported |= {(end, genres[0]) for end in ends if end[0] == "Style"}
    return supported


def _assert_part_of(graph: Graph, _: Mapping[str, Any]) -> Effect:
    for style, genre in _styled(graph):
        graph.relate("PART_OF", style, genre)
    return Effect()


def _withdraw_part_of(graph: Graph, _: Mapping[str, Any]) -> Effect:
    supported = _styled(graph)
    idle = [edge for edge in graph.edges if edge[0] == "PART_OF" and edge[1:3] not in supported]
    return Effect(relationships_deleted=graph.delete(idle))


def _lock_counted(graph: Graph, p: Mapping[str, Any]) -> Effect:
    for label in COUNTED:
        for key in p[f"{label.lower()}s"]:
            graph.merge(label, key)
    return Effect()


def _releases(graph: Graph, end: Key, type_: str) -> list[Key]:
    return [edge[1] for edge in graph.of(end, type_) if edge[2] == end and edge[1][0] == "Release"]


def _count_releases(label: str, type_: str) -> Act:
    def answer(graph: Graph, _: Mapping[str, Any]) -> Effect:
        for key, node in graph.nodes.items():
            if key[0] == label:
                releases = _releases(graph, key, type_)
                years = [graph.nodes[each]["year"] for each in releases if "year" in graph.nodes[each]]
                _change(
                    node, {"release_count": len(releases) or None, "first_year": min(years, default=None)}
                )
        return Effect()

    return answer


def _ends(graph: Graph, label: str, type_: str, kind: str) -> dict[str, int]:
    counts = {}
    for key in graph.nodes:
        if key[0] == kind:
            releases = set(_releases(graph, key, "IS"))
            counts[key[1]] = sum(
                bool(releases & set(_releases(graph, end, type_))) for end in graph.nodes if end[0] == label
            )
    return counts


def _count_ends(label: str, type_: str, kind: str) -> Act:
    return lambda graph, _: Effect(
        [{"counts": [list(each) for each in _ends(graph, label, type_, kind).items()]}]
    )


def _set_end_counts(kind: str) -> Act:
    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        for name, artists, labels in p["counts"]:
            _change(graph.nodes[kind, name], {"artist_count": artists or None, "label_count": labels or None})
        return Effect()

    return answer


def _nothing_or_pairs(kind: str) -> Act:
    """Before the changes nothing, after them everything anew."""

    def answer(graph: Graph, p: Mapping[str, Any]) -> Effect:
        if p["sign"] > 0:
            artists, labels = _ends(graph, "Artist", "BY", kind), _ends(graph, "Label", "ON", kind)
            counts = [[name, artists[name], labels[name]] for name in artists]
            _set_end_counts(kind)(graph, {"counts": counts})
        return Effect()

    return answer


def _count_part_of(label: str, property_: str) -> Act:
    def answer(graph: Graph, _: Mapping[str, Any]) -> Effect:
        for key, node in graph.nodes.items():
            if key[0] == label:
                _change(node, {property_: len(graph.of(key, "PART_OF")) or None})
        return Effect()

    return answer

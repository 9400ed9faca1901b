"""The picture of a neighbourhood, as a specification of Vega."""

import json
from importlib.resources import files
from typing import Any

from pipeline.graph.neighbourhood import Link, Neighbourhood
from pipeline.graph.search import Found
from pipeline.model import NODES, RecordType

_COLOURS = dict(
    zip(NODES, ("#5b9bd5", "#2f6db3", "#e8743b", "#3aa676", "#b07aa1", "#cf9fc4", "#d9a300"), strict=True)
)
#: Labels whose nodes have a page on Discogs, with their names in its address.
_PAGES = {each.label: each.element for each in RecordType}


def discogs_url(node: Found) -> str | None:
    """Return the address of a node's page on Discogs, or None if it has none."""
    return f"https://www.discogs.com/{_PAGES[node.label]}/{node.key}" if node.label in _PAGES else None


def picture(part: Neighbourhood) -> dict[str, Any]:
    """Return the specification with the nodes and relationships of a neighbourhood."""
    spec: dict[str, Any] = json.loads((files(__package__) / "graph.vega.json").read_text(encoding="utf-8"))
    links, nodes, _ = spec["data"]
    links["values"] = _lines(part)
    nodes["values"] = [_node(place, each) for place, each in enumerate(part.nodes)]
    shown = {each.label for each in part.nodes}
    (colours,) = spec["scales"]
    colours["domain"], colours["range"] = zip(
        *((label, colour) for label, colour in _COLOURS.items() if label in shown), strict=True
    )
    return spec


def _node(place: int, node: Found) -> dict[str, Any]:
    releases = {} if node.label == "Release" else {"releases": f"{node.releases:,}"}
    return {
        "id": place,
        "label": node.label,
        "key": node.key,
        "name": node.name,
        "releases": node.releases,
        "url": discogs_url(node),
        "tooltip": {"title": node.name, node.label: node.key, **releases},
    }


def _lines(part: Neighbourhood) -> list[dict[str, Any]]:
    """Return the lines between nodes.

    All relationships from one node to another share a line: they would hide each other.
    """
    found: dict[tuple[int, int], list[Link]] = {}
    for link in part.links:
        found.setdefault((link.start, link.end), []).append(link)
    return [
        {
            "source": start,
            "target": end,
            "relationships": [{"type": link.type, "properties": link.properties} for link in links],
            "tooltip": {
                "title": f"{part.nodes[start].name} → {part.nodes[end].name}",
                **{
                    link.type if number == 1 else f"{link.type} ({number})": _text(link.properties)
                    for number, link in enumerate(links, 1)
                },
            },
        }
        for (start, end), links in found.items()
    ]


def _text(properties: dict[str, Any]) -> str:
    values = {
        name: ", ".join(value) if isinstance(value, list) else value for name, value in properties.items()
    }
    return "; ".join(f"{name}: {value}" for name, value in values.items())

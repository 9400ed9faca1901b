"""The expected graph of some dumps, computed from the graph model alone.

Independent of the product on purpose: the standard library only, whole files in memory, ElementTree.
What it returns is compared with what `tests.graph_dump` reads out of Neo4j.

A graph is two dictionaries. Nodes: `(label, key) -> properties`, the key being the node's `id` or `name`.
Relationships: `(type, start node, end node) -> properties of each`, for several may differ in properties alone.
Where the contract leaves a value open, an expectation stands in its place: `OneOf` for the name of a stub and
for a category that is not clear, `AnyInteger` for a fingerprint.
"""

import gzip
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.role_categories import CATEGORIES, CATEGORY_OF_ROLE

NodeKey = tuple[str, int | str]
RelationshipKey = tuple[str, NodeKey, NodeKey]
Properties = dict[str, object]
#: By type and ends, the properties of each.
Relationships = dict[RelationshipKey, list[Properties]]

_Key = TypeVar("_Key")

#: The root element of a dump and the label of the nodes that its records define.
LABELS = {"artists": "Artist", "labels": "Label", "masters": "Master", "releases": "Release"}


@dataclass(frozen=True, slots=True)
class OneOf:
    """Stands for any one of some values."""

    values: frozenset[str]

    def allows(self, value: object) -> bool:
        """Return True for one of the values."""
        return value in self.values


@dataclass(frozen=True, slots=True)
class AnyInteger:
    """Stands for an integer that is there, whatever its value."""

    def allows(self, value: object) -> bool:
        """Return True for an integer other than 0."""
        return isinstance(value, int) and not isinstance(value, bool) and value != 0


@dataclass(slots=True)
class Graph:
    """Nodes and relationships; `faults` lists the parts of a database that do not fit."""

    nodes: dict[NodeKey, Properties] = field(default_factory=dict)
    relationships: Relationships = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to another record, with the name that it gives."""

    node: NodeKey
    name: str | None


@dataclass(slots=True)
class Facts:
    """The newest version of one record."""

    node: NodeKey
    properties: Properties
    relationships: Relationships = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    genres: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    def relate(self, kind: str, start: NodeKey, end: NodeKey, properties: Properties | None = None) -> None:
        """Assert a relationship, once however often a record says it."""
        known = self.relationships.setdefault((kind, start, end), [])
        if (properties or {}) not in known:
            known.append(properties or {})

    def refer(self, label: str, id_: str, name: str = "") -> NodeKey | None:
        """Refer to the record with this id; 0 refers to nothing."""
        key = _id(id_)
        if not key:
            return None
        self.references.append(Reference((label, key), name or None))
        return label, key


def expected_graph(
    dumps: Sequence[Path],
    malformed: Iterable[bytes] = (),
    upstream: Sequence[Path] = (),
    *,
    tracks: bool = True,
) -> Graph:
    """Return the graph of these dumps; the last occurrence of a record counts.

    `malformed` is the raw text of every record that is planted as a bad one: it counts for nothing anywhere. The
    records in the files `upstream` are handed over by upstream tasks after that. Without `tracks` nothing counts that
    stands in a tracklist.
    """
    newest: dict[NodeKey, Facts] = {}
    planted = list(malformed)
    for dump in (*dumps, *upstream):
        for facts in records(dump, planted, tracks=tracks):
            newest[facts.node] = facts
            if dump in upstream:
                facts.properties["upstream"] = True
    graph = Graph()
    references: dict[NodeKey, set[str]] = {}
    for facts in newest.values():
        graph.nodes[facts.node] = facts.properties
        graph.relationships.update(facts.relationships)
        for reference in facts.references:
            names = references.setdefault(reference.node, set())
            if reference.name is not None:
                names.add(reference.name)
    for node, names in references.items():
        if node not in newest:
            graph.nodes[node] = stub(node, names)
    _derive(graph, newest.values())
    return graph


def add_statistics(graph: Graph) -> Graph:
    """Add the statistics to the nodes of a graph."""
    ends: dict[NodeKey, list[NodeKey]] = {}
    reached: dict[NodeKey, list[NodeKey]] = {}
    parts: dict[NodeKey, int] = {}
    appearances: dict[NodeKey, int] = {}
    for kind, start, end in graph.relationships:
        if start[0] == "Release" and kind in {"BY", "ON", "IS"}:
            ends.setdefault(start, []).append(end)
            reached.setdefault(end, []).append(start)
        elif kind == "PART_OF":
            parts[start] = parts.get(start, 0) + 1
            parts[end] = parts.get(end, 0) + 1
        elif kind == "APPEARS_ON":
            appearances[start] = appearances.get(start, 0) + 1
    for node, properties in graph.nodes.items():
        releases = reached.get(node, [])
        years = [int(str(year)) for each in releases if (year := graph.nodes[each].get("year"))]
        computed: Properties = {"release_count": len(releases), "first_year": min(years, default=0)}
        if node[0] in {"Genre", "Style"}:
            others = {end for release in releases for end in ends[release]}
            computed["artist_count"] = sum(end[0] == "Artist" for end in others)
            computed["label_count"] = sum(end[0] == "Label" for end in others)
            computed["style_count" if node[0] == "Genre" else "genre_count"] = parts.get(node, 0)
        if node[0] == "Artist":
            computed["appearance_count"] = appearances.get(node, 0)
        if node[0] in {"Genre", "Style", "Label", "Artist"}:
            properties.update(_present(**computed))
    return graph


def stub(node: NodeKey, names: set[str]) -> Properties:
    """Return the properties of a stub that has these names in references."""
    label, key = node
    properties: Properties = {"id": key}
    if names:
        properties["title" if label == "Master" else "name"] = OneOf(frozenset(names))
    return properties


def _derive(graph: Graph, facts: Iterable[Facts]) -> None:
    """Add SAME_AS, PART_OF, and the nodes that have only a name."""
    for (kind, start, _), credits_ in list(graph.relationships.items()):
        if kind == "CREDITED_ON":
            for artist_id in (credit["artist_id"] for credit in credits_ if "artist_id" in credit):
                assert isinstance(artist_id, int)
                graph.relationships["SAME_AS", start, ("Artist", artist_id)] = [{}]
    for record in facts:
        if len(record.genres) == 1:
            for style in record.styles:
                genre = record.genres[0]
                graph.relationships["PART_OF", ("Style", style), ("Genre", genre)] = [{}]
    for _, start, end in graph.relationships:
        for node in (start, end):
            if node[0] in {"Genre", "Style", "Person"}:
                graph.nodes[node] = {"name": node[1]}


def records(dump: Path, malformed: Iterable[bytes] = (), *, tracks: bool = True) -> Iterator[Facts]:
    """Iterate over the well-formed records of a dump, repeated ids included."""
    raw = dump.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        raw = gzip.decompress(raw)
    for bad in malformed:
        raw = raw.replace(bad, b"")
    root = ET.fromstring(clean(raw))
    if not tracks:
        for release in root.findall("release"):
            for tracklist in release.findall("tracklist"):
                release.remove(tracklist)
    read = {"Artist": _artist, "Label": _label, "Master": _master, "Release": _release}[LABELS[root.tag]]
    for element in root.findall(root.tag[:-1]):
        yield read(element)


_FORBIDDEN_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
#: Comments and CDATA come first: a character reference inside them is text.
_TOKENS = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|&#(?:x([0-9a-fA-F]+)|([0-9]+));", re.DOTALL)


def clean(raw: bytes) -> bytes:
    """XML without the characters, raw or as references, that are outside the range XML allows."""

    def kept(token: re.Match[bytes]) -> bytes:
        hexadecimal, decimal = token.groups()
        if hexadecimal is None and decimal is None:
            return token[0]
        code = int(hexadecimal, 16) if hexadecimal else int(decimal)
        return token[0] if _is_legal(code) else b""

    return _TOKENS.sub(kept, _FORBIDDEN_BYTES.sub(b"", raw))


def _is_legal(code: int) -> bool:
    """The production `Char` of XML 1.0."""
    return (
        code in {0x9, 0xA, 0xD}
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )


def _artist(element: ET.Element) -> Facts:
    node = ("Artist", _own_id(_text(element, "id")))
    facts = Facts(
        node,
        _present(
            id=node[1],
            name=_text(element, "name"),
            real_name=_text(element, "realname"),
            profile=_text(element, "profile"),
            data_quality=_text(element, "data_quality"),
            urls=_texts(element, "urls/url"),
            name_variations=_texts(element, "namevariations/name"),
            fingerprint=AnyInteger(),
        ),
    )
    for alias in _refer(facts, "Artist", element.findall("aliases/name")):
        facts.relate("ALIAS_OF", node, alias)
    for group in _refer(facts, "Artist", element.findall("groups/name")):
        facts.relate("MEMBER_OF", node, group)
    for member in _refer(facts, "Artist", element.findall("members/name")):
        facts.relate("MEMBER_OF", member, node)
    return facts


def _label(element: ET.Element) -> Facts:
    node = ("Label", _own_id(_text(element, "id")))
    facts = Facts(
        node,
        _present(
            id=node[1],
            name=_text(element, "name"),
            contact_info=_text(element, "contactinfo"),
            profile=_text(element, "profile"),
            data_quality=_text(element, "data_quality"),
            urls=_texts(element, "urls/url"),
            fingerprint=AnyInteger(),
        ),
    )
    for parent in _refer(facts, "Label", element.findall("parentLabel")):
        facts.relate("SUBLABEL_OF", node, parent)
    for sublabel in _refer(facts, "Label", element.findall("sublabels/label")):
        facts.relate("SUBLABEL_OF", sublabel, node)
    return facts


def _master(element: ET.Element) -> Facts:
    node = ("Master", _own_id(element.get("id", "")))
    facts = Facts(
        node,
        _present(
            id=node[1],
            title=_text(element, "title"),
            year=_year(_text(element, "year")),
            data_quality=_text(element, "data_quality"),
            main_release=_id(_text(element, "main_release")),
            fingerprint=AnyInteger(),
        ),
    )
    _by(facts, element)
    _is(facts, element)
    return facts


def _release(element: ET.Element) -> Facts:
    node = ("Release", _own_id(element.get("id", "")))
    tracks = list(_tracks(element.findall("tracklist/track")))
    formats = [item for item in element.findall("formats/format") if _attribute(item, "name")]
    identifiers = [
        (_attribute(item, "type"), _attribute(item, "description"), _attribute(item, "value"))
        for item in element.findall("identifiers/identifier")
    ]
    facts = Facts(
        node,
        _present(
            id=node[1],
            title=_text(element, "title"),
            year=_year(_text(element, "released")),
            released=_text(element, "released"),
            country=_text(element, "country"),
            formats=[_attribute(item, "name") for item in formats],
            format_details=[_format_details(item) for item in formats],
            status=_attribute(element, "status"),
            data_quality=_text(element, "data_quality"),
            notes=_text(element, "notes"),
            tracks=[_text(track, "title") for track in tracks],
            track_positions=[_text(track, "position") for track in tracks],
            track_durations=[_text(track, "duration") for track in tracks],
            barcodes=_distinct(
                re.sub("[^0-9]", "", value) for kind, _, value in identifiers if kind == "Barcode"
            ),
            identifiers=_distinct(
                f"{kind} ({description}): {value}" if description else f"{kind}: {value}"
                for kind, description, value in identifiers
                if kind and value
            ),
            fingerprint=AnyInteger(),
        ),
    )
    _by(facts, element)
    _is(facts, element)
    _on(facts, element)
    _appears_on(facts, _at_tracks(tracks, "artists/artist"))
    credits_ = [(_text(artist, "tracks"), artist) for artist in element.findall("extraartists/artist")]
    _credited_on(facts, [*credits_, *_at_tracks(tracks, "extraartists/artist")])
    _involves(facts, element)
    _in_series(facts, element)
    if master := facts.refer("Master", _text(element, "master_id")):
        facts.relate("DERIVED_FROM", node, master)
    return facts


def _tracks(elements: Iterable[ET.Element]) -> Iterator[ET.Element]:
    """Iterate over tracks, each with its sub-tracks behind it, without headings."""
    says = ("artists/artist", "extraartists/artist", "sub_tracks/track")
    for track in elements:
        if _text(track, "position") or any(track.find(path) is not None for path in says):
            yield track
        yield from _tracks(track.findall("sub_tracks/track"))


def _at_tracks(tracks: Iterable[ET.Element], path: str) -> Iterator[tuple[str, ET.Element]]:
    """Iterate over artists of tracks, each with the track's position, else its number."""
    for number, track in enumerate(tracks, 1):
        for element in track.findall(path):
            yield _text(track, "position") or str(number), element


def _format_details(element: ET.Element) -> str:
    """Return what a format has beside its name: `2 ×, LP, Album, Gatefold`."""
    quantity = _id(element.get("qty", ""))
    descriptions = [(item.text or "").strip() for item in element.findall("descriptions/description")]
    details = [f"{quantity} ×" if quantity > 1 else "", *descriptions, _attribute(element, "text")]
    return ", ".join(filter(None, details))


def _by(facts: Facts, element: ET.Element) -> None:
    for position, artist in enumerate(element.findall("artists/artist"), 1):
        node = facts.refer("Artist", _text(artist, "id"), _text(artist, "name"))
        if node and ("BY", facts.node, node) not in facts.relationships:
            facts.relate(
                "BY",
                facts.node,
                node,
                _present(position=position, credited_as=_text(artist, "anv"), join=_text(artist, "join")),
            )


def _is(facts: Facts, element: ET.Element) -> None:
    facts.genres = _texts(element, "genres/genre")
    facts.styles = _texts(element, "styles/style")
    for label, names in (("Genre", facts.genres), ("Style", facts.styles)):
        for name in names:
            facts.relate("IS", facts.node, (label, name))


def _on(facts: Facts, element: ET.Element) -> None:
    catalog_numbers: dict[NodeKey, list[str]] = {}
    for label in element.findall("labels/label"):
        if node := facts.refer("Label", _attribute(label, "id"), _attribute(label, "name")):
            catalog_numbers.setdefault(node, []).append(_attribute(label, "catno"))
    for node, numbers in catalog_numbers.items():
        facts.relate("ON", facts.node, node, _present(catalog_numbers=_distinct(numbers)))


def _appears_on(facts: Facts, artists: Iterable[tuple[str, ET.Element]]) -> None:
    """Relate the artists of tracks, each given with the position of its track."""
    said = [
        (node, track, _text(artist, "anv"))
        for track, artist in artists
        if (node := facts.refer("Artist", _text(artist, "id"), _text(artist, "name")))
    ]
    for node, properties in _merged(said).items():
        facts.relate("APPEARS_ON", node, facts.node, properties)


def _credited_on(facts: Facts, artists: Iterable[tuple[str, ET.Element]]) -> None:
    """Relate credited persons, each given with the tracks of the credit."""
    said = [
        ((name, role, detail, _id(_text(artist, "id"))), tracks, _text(artist, "anv"))
        for tracks, artist in artists
        for role, detail in split_roles(_text(artist, "role"))
        if role and (name := _text(artist, "name"))
    ]
    for (name, role, detail, artist_id), properties in _merged(said).items():
        facts.refer("Artist", str(artist_id), name)
        category = CATEGORY_OF_ROLE.get(role.lower()) or OneOf(CATEGORIES)
        credit = _present(role=role, detail=detail, category=category, artist_id=artist_id)
        facts.relate("CREDITED_ON", ("Person", name), facts.node, credit | properties)


def _merged(said: Iterable[tuple[_Key, str, str]]) -> dict[_Key, Properties]:
    """Return by key `tracks` and `credited_as` of all that was said with this key."""
    tracks: dict[_Key, list[str]] = {}
    spellings: dict[_Key, list[str]] = {}
    for key, track, spelling in said:
        tracks.setdefault(key, []).append(track)
        spellings.setdefault(key, []).append(spelling)
    return {
        key: _present(tracks=_distinct(tracks[key]), credited_as=sorted(_distinct(spellings[key])))
        for key in tracks
    }


def split_roles(text: str) -> list[tuple[str, str]]:
    """Split a text into roles, each with the text of its brackets.

    Commas outside brackets separate roles. An unclosed bracket lasts to the end of the text, one that was not opened
    is dropped.
    """
    roles: list[str] = [""]
    brackets: list[list[str]] = [[]]
    depth = 0
    for character in text:
        if character == "]" and depth <= 1:
            depth = 0
        elif character == "[" and depth == 0:
            depth = 1
            brackets[-1].append("")
        elif depth:
            depth += {"[": 1, "]": -1}.get(character, 0)
            brackets[-1][-1] += character
        elif character == ",":
            roles.append("")
            brackets.append([])
        else:
            roles[-1] += character
    details = (", ".join(filter(None, map(str.strip, each))) for each in brackets)
    return [(" ".join(role.split()), detail) for role, detail in zip(roles, details, strict=True)]


def _involves(facts: Facts, element: ET.Element) -> None:
    for company in element.findall("companies/company"):
        if node := facts.refer("Label", _text(company, "id"), _text(company, "name")):
            role, catalog_number = _text(company, "entity_type_name"), _text(company, "catno")
            facts.relate("INVOLVES", facts.node, node, _present(role=role, catalog_number=catalog_number))


def _in_series(facts: Facts, element: ET.Element) -> None:
    for series in element.findall("series/series"):
        if node := facts.refer("Label", _attribute(series, "id"), _attribute(series, "name")):
            facts.relate("IN_SERIES", facts.node, node, _present(number=_attribute(series, "catno")))


def _refer(facts: Facts, label: str, elements: Iterable[ET.Element]) -> Iterator[NodeKey]:
    """Iterate over the nodes that elements like `<name id="7">Someone</name>` refer to."""
    for element in elements:
        if (label, _id(_attribute(element, "id"))) == facts.node:
            continue
        if node := facts.refer(label, _attribute(element, "id"), (element.text or "").strip()):
            yield node


def _present(**properties: object) -> Properties:
    return {name: value for name, value in properties.items() if value not in ("", 0, [], None)}


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _attribute(element: ET.Element, name: str) -> str:
    return element.get(name, "").strip()


def _texts(element: ET.Element, path: str) -> list[str]:
    return _distinct((item.text or "").strip() for item in element.findall(path))


def _distinct(values: Iterable[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


def _own_id(text: str) -> int:
    number = _id(text)
    if not number:
        raise ValueError(f"a record without an id that is not planted as malformed: {text!r}")
    return number


def _id(text: str) -> int:
    """Return the number; 0 for any other text."""
    return int(text) if re.fullmatch(r"[0-9]+", text.strip()) else 0


def _year(text: str) -> int:
    """The four digits that the text begins with; 0 where it does not."""
    digits = re.match(r"[0-9]{4}", text)
    return int(digits[0]) if digits else 0

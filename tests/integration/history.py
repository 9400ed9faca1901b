"""Small dumps and calls of upstream tasks, with the newest version of each record."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pipeline.model import RecordType
from tests.oracle import Graph, add_statistics, expected_graph

#: A record in its plain form.
Plain = dict[str, Any]
IDS = range(1, 8)


def draw_record(record_type: RecordType, id_: int, seed: int) -> Plain:
    """Draw a record that refers to few others; names follow from ids, as in Discogs."""
    draw = random.Random(f"{record_type} {id_} {seed}")
    draw_of = {
        RecordType.ARTISTS: _artist,
        RecordType.LABELS: _label,
        RecordType.MASTERS: _master,
        RecordType.RELEASES: _release,
    }
    record = {"id": id_, **draw_of[record_type](draw, id_)}
    return {name: value for name, value in record.items() if value}


def _some(draw: random.Random, kind: str, own: int = 0, most: int = 3) -> list[Plain]:
    ids = draw.sample([id_ for id_ in IDS if id_ != own], draw.randint(0, most))
    return [{"id": id_, "name": f"{kind} {id_}"} for id_ in ids]


def _artist(draw: random.Random, id_: int) -> Plain:
    return {
        "name": f"Artist {id_}",
        "profile": draw.choice([None, "old", "new"]),
        "urls": draw.sample(["u", "v", "w"], draw.randint(0, 2)),
        "aliases": _some(draw, "Artist", id_),
        "groups": _some(draw, "Artist", id_),
        "members": _some(draw, "Artist", id_),
    }


def _label(draw: random.Random, id_: int) -> Plain:
    return {
        "name": f"Label {id_}",
        "contact_info": draw.choice([None, "here"]),
        "parents": _some(draw, "Label", id_, 1),
        "sublabels": _some(draw, "Label", id_),
    }


def _kinds(draw: random.Random) -> Plain:
    return {
        "genres": draw.sample(["Rock", "Pop", "Jazz"], draw.choice([0, 1, 1, 2])),
        "styles": draw.sample(["Punk", "Bop", "Disco"], draw.randint(0, 2)),
    }


def _master(draw: random.Random, id_: int) -> Plain:
    return {
        "title": f"Master {id_}",
        "year": draw.choice([None, 1990, 1991]),
        "artists": _some(draw, "Artist"),
        **_kinds(draw),
    }


def _release(draw: random.Random, id_: int) -> Plain:
    labels = [
        {**label, "catalog_numbers": draw.sample(["A", "B"], draw.randint(0, 2))}
        for label in _some(draw, "Label")
    ]
    credited = [*_some(draw, "Artist"), {"id": 0, "name": "Somebody"}]
    return {
        "title": f"Release {id_}",
        "released": draw.choice([None, "1990", "1991-05-00", "1992"]),
        "formats": draw.choice([[], ["LP", "LP"]]),
        "artists": _some(draw, "Artist"),
        "labels": labels,
        "master": draw.choice([None, 1, 2, 3]),
        "credits": [
            {"name": each["name"], "role": draw.choice(["Producer", "Mastered By"]), "artist_id": each["id"]}
            for each in draw.sample(credited, draw.randint(0, len(credited)))
        ],
        **_kinds(draw),
    }


def to_xml(record_type: RecordType, record: Plain) -> str:
    """The record as it stands in a dump."""
    return {
        RecordType.ARTISTS: _artist_xml,
        RecordType.LABELS: _label_xml,
        RecordType.MASTERS: _master_xml,
        RecordType.RELEASES: _release_xml,
    }[record_type](record)


def _element(tag: str, value: object) -> str:
    return f"<{tag}>{escape(str(value))}</{tag}>" if value else ""


def _list(tag: str, child: str, values: list[str]) -> str:
    return f"<{tag}>{''.join(_element(child, value) for value in values)}</{tag}>" if values else ""


def _named(tag: str, child: str, references: list[Plain]) -> str:
    children = (f"<{child} id='{each['id']}'>{escape(each['name'])}</{child}>" for each in references)
    return f"<{tag}>{''.join(children)}</{tag}>" if references else ""


def _artist_xml(record: Plain) -> str:
    parts = [_element("id", record["id"]), _element("name", record.get("name"))]
    parts += [_element("profile", record.get("profile")), _list("urls", "url", record.get("urls", []))]
    parts += [_named(tag, "name", record.get(tag, [])) for tag in ("aliases", "groups", "members")]
    return f"<artist>{''.join(parts)}</artist>"


def _label_xml(record: Plain) -> str:
    parts = [_element("id", record["id"]), _element("name", record.get("name"))]
    parts += [_element("contactinfo", record.get("contact_info"))]
    parts += [
        f"<parentLabel id='{each['id']}'>{each['name']}</parentLabel>" for each in record.get("parents", [])
    ]
    parts += [_named("sublabels", "label", record.get("sublabels", []))]
    return f"<label>{''.join(parts)}</label>"


def _artists_xml(tag: str, artists: list[Plain]) -> str:
    children = (
        "<artist>"
        + _element("id", each.get("artist_id", each.get("id")))
        + _element("name", each["name"])
        + _element("role", each.get("role"))
        + "</artist>"
        for each in artists
    )
    return f"<{tag}>{''.join(children)}</{tag}>"


def _kinds_xml(record: Plain) -> str:
    return _list("genres", "genre", record.get("genres", [])) + _list(
        "styles", "style", record.get("styles", [])
    )


def _master_xml(record: Plain) -> str:
    parts = [_element("title", record.get("title")), _element("year", record.get("year"))]
    parts += [_artists_xml("artists", record.get("artists", [])), _kinds_xml(record)]
    return f"<master id='{record['id']}'>{''.join(parts)}</master>"


def _release_xml(record: Plain) -> str:
    labels = [
        f"<label id='{label['id']}' name={quoteattr(label['name'])} catno={quoteattr(number)}/>"
        for label in record.get("labels", [])
        for number in label["catalog_numbers"] or [""]
    ]
    parts = [_element("title", record.get("title")), _element("released", record.get("released"))]
    parts += ["<formats>", *(f"<format name='{name}'/>" for name in record.get("formats", [])), "</formats>"]
    parts += [_artists_xml("artists", record.get("artists", [])), "<labels>", *labels, "</labels>"]
    parts += [_element("master_id", record.get("master")), _kinds_xml(record)]
    parts += [_artists_xml("extraartists", record.get("credits", []))]
    return f"<release id='{record['id']}'>{''.join(parts)}</release>"


def write_dump(folder: Path, record_type: RecordType, records: list[Plain], name: str = "dump") -> Path:
    """A dump of these records, in this order."""
    path = folder / f"{name}_{record_type}.xml"
    lines = (to_xml(record_type, record) for record in records)
    path.write_text(f"<{record_type}>\n" + "\n".join(lines) + f"\n</{record_type}>\n", encoding="utf-8")
    return path


@dataclass
class Newest:
    """The newest version of each record, from a dump or from upstream tasks."""

    dumped: dict[RecordType, dict[int, Plain]] = field(
        default_factory=lambda: {record_type: {} for record_type in RecordType}
    )
    upstream: dict[RecordType, dict[int, Plain]] = field(
        default_factory=lambda: {record_type: {} for record_type in RecordType}
    )

    def load(self, record_type: RecordType, records: list[Plain], *, partial: bool) -> None:
        """Load a dump; of several versions of a record the last one counts."""
        if not partial:
            self.dumped[record_type] = {}
        self._bring(self.dumped, self.upstream, record_type, records)

    def ingest(self, record_type: RecordType, records: list[Plain]) -> None:
        """Take records from an upstream task."""
        self._bring(self.upstream, self.dumped, record_type, records)

    @staticmethod
    def _bring(
        to: dict[RecordType, dict[int, Plain]],
        other: dict[RecordType, dict[int, Plain]],
        record_type: RecordType,
        records: list[Plain],
    ) -> None:
        for record in records:
            to[record_type][record["id"]] = record
            other[record_type].pop(record["id"], None)

    def graph(self, folder: Path) -> Graph:
        """Return the graph that the independent oracle expects."""
        dumps, upstream = (
            [
                write_dump(folder, record_type, list(records.values()), name)
                for record_type, records in newest.items()
            ]
            for name, newest in (("dumped", self.dumped), ("upstream", self.upstream))
        )
        return add_statistics(expected_graph(dumps, upstream=upstream))

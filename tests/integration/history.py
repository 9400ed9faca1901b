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


def _artists(draw: random.Random) -> list[Plain]:
    """Draw main artists."""
    return [
        _full(
            {
                **artist,
                "credited_as": draw.choice([None, f"A. {artist['id']}"]),
                "join": draw.choice([None, "&"]),
            }
        )
        for artist in _some(draw, "Artist")
    ]


def _master(draw: random.Random, id_: int) -> Plain:
    return {
        "title": f"Master {id_}",
        "year": draw.choice([None, 1990, 1991]),
        "artists": _artists(draw),
        **_kinds(draw),
    }


#: Parallel lists.
FORMATS: list[tuple[list[str], list[str]]] = [([], []), (["LP", "LP"], ["2 ×, Album", ""]), (["CD"], [""])]
#: Identifiers with their barcode.
IDENTIFIERS = {"Barcode: 4 2 >": "42", "Barcode (Text): 43": "43", "Matrix / Runout (Side A): 44": ""}


def _release(draw: random.Random, id_: int) -> Plain:
    labels = [
        {**label, "catalog_numbers": draw.sample(["A", "B"], draw.randint(0, 2))}
        for label in _some(draw, "Label")
    ]
    companies = [
        _full({**label, "role": draw.choice(["Pressed By", "Made By", None]), "catalog_number": number})
        for label in _some(draw, "Label")
        for number in draw.sample(["A", "B", None], draw.randint(1, 2))
    ]
    series = [_full({**label, "number": draw.choice(["1", "2", None])}) for label in _some(draw, "Label")]
    formats, details = draw.choice(FORMATS)
    identifiers = draw.sample([*IDENTIFIERS], draw.randint(0, len(IDENTIFIERS)))
    return {
        "title": f"Release {id_}",
        "released": draw.choice([None, "1990", "1991-05-00", "1992"]),
        "formats": formats,
        "format_details": details,
        "identifiers": identifiers,
        "barcodes": [barcode for each in identifiers if (barcode := IDENTIFIERS[each])],
        "artists": _artists(draw),
        "labels": labels,
        "companies": companies,
        "series": series,
        "master": draw.choice([None, 1, 2, 3]),
        **_tracks(draw),
        **_kinds(draw),
    }


def _tracks(draw: random.Random) -> Plain:
    """Draw tracks with their artists, and all credits of a release.

    A track without position has artist 1, or else it is a heading.
    """
    positions = draw.choice([[], ["A1"], ["A1", "", "B"]])
    names = [position or str(number) for number, position in enumerate(positions, 1)]

    def said(names: list[str], id_: int) -> Plain:
        chosen = draw.sample(names, draw.randint(1, len(names)))
        tracks = [name for name in names if name in chosen]
        spelled = [f"{id_} {number}" for number in range(draw.randint(0, len(tracks)))]
        return {"tracks": tracks, "credited_as": spelled}

    def first(said: Plain) -> int:
        """Return the index of the first track, the order in the XML."""
        return next((names.index(name) for name in said.get("tracks", []) if name in names), -1)

    artists = [{**artist, **said(names, artist["id"])} for artist in _some(draw, "Artist") if names]
    if "" in positions:
        everywhere = {"id": 1, "name": "Artist 1", "tracks": names}
        artists = [everywhere, *(artist for artist in artists if artist["id"] != 1)]
    credited = []
    for each in [*_some(draw, "Artist"), {"id": 0, "name": "Somebody"}]:
        for role, detail in draw.sample(_ROLES, draw.randint(0, 2)):
            whole = {"tracks": draw.choice([[], [PRINTED]]), "credited_as": draw.choice([[], ["An Alias"]])}
            at = said(names, each["id"]) if names and draw.random() < 0.5 else whole
            credited.append(
                {"name": each["name"], "artist_id": each["id"], "role": role, "detail": detail, **at}
            )
    return {
        "tracks": [f"Track {name}" for name in names],
        "track_positions": positions,
        "track_durations": [draw.choice(["", "1:00"]) for _ in names],
        "appearances": sorted(map(_full, artists), key=first),
        "credits": sorted(map(_full, credited), key=first),
    }


#: The tracks of a credit of a release, as printed.
PRINTED = "1, 3 to 10"
_ROLES = [("Producer", None), ("Producer", "Live"), ("Mastered By", None), ("Mixed By", "Dub, Live")]


def _full(values: Plain) -> Plain:
    """Return the values without empty ones."""
    return {name: value for name, value in values.items() if value or name == "id"}


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


def _artist_of(name: str, **values: object) -> str:
    """An artist as releases and masters have it."""
    return f"<artist>{_element('name', name)}{''.join(map(_element, values, values.values()))}</artist>"


def _artists_xml(artists: list[Plain]) -> str:
    children = (
        _artist_of(each["name"], id=each["id"], anv=each.get("credited_as"), join=each.get("join"))
        for each in artists
    )
    return f"<artists>{''.join(children)}</artists>"


def _credit_xml(credit: Plain, **values: object) -> str:
    role = f"{credit['role']} [{credit['detail']}]" if "detail" in credit else credit["role"]
    return _artist_of(credit["name"], id=credit.get("artist_id", 0), role=role, **values)


def _of_track(name: str, said: Plain) -> dict[str, object]:
    """Return the spelling at a track; each spelling stands at one track."""
    spelled = dict(zip(said["tracks"], said.get("credited_as", []), strict=False))
    return {"anv": spelled.get(name)}


def _tracks_xml(record: Plain) -> str:
    """The tracklist; of each second release, the first track has the others as sub-tracks."""
    positions = record.get("track_positions", [])
    names = [position or str(number) for number, position in enumerate(positions, 1)]
    appearances, credits_ = record.get("appearances", []), record.get("credits", [])
    tracks = []
    for number, (name, position) in enumerate(zip(names, positions, strict=True)):
        artists = [
            _artist_of(each["name"], id=each["id"], **_of_track(name, each))
            for each in appearances
            if name in each["tracks"]
        ]
        credited = [
            _credit_xml(each, **_of_track(name, each)) for each in credits_ if name in each.get("tracks", [])
        ]
        title, duration = record["tracks"][number], record["track_durations"][number]
        parts = [_element("position", position), _element("title", title), _element("duration", duration)]
        parts += ["<artists>", *artists, "</artists><extraartists>", *credited, "</extraartists>"]
        tracks.append("".join(parts))
    if tracks and record["id"] % 2:
        subs = "".join(f"<track>{track}</track>" for track in tracks[1:])
        tracks = [f"{tracks[0]}<sub_tracks>{subs}</sub_tracks>"]
    return f"<tracklist>{''.join(f'<track>{track}</track>' for track in tracks)}</tracklist>"


def _kinds_xml(record: Plain) -> str:
    return _list("genres", "genre", record.get("genres", [])) + _list(
        "styles", "style", record.get("styles", [])
    )


def _master_xml(record: Plain) -> str:
    parts = [_element("title", record.get("title")), _element("year", record.get("year"))]
    parts += [_artists_xml(record.get("artists", [])), _kinds_xml(record)]
    return f"<master id='{record['id']}'>{''.join(parts)}</master>"


def _release_xml(record: Plain) -> str:
    labels = [
        f"<label id='{label['id']}' name={quoteattr(label['name'])} catno={quoteattr(number)}/>"
        for label in record.get("labels", [])
        for number in label["catalog_numbers"] or [""]
    ]
    credits_ = [
        _credit_xml(each, tracks="".join(each.get("tracks", [])), anv="".join(each.get("credited_as", [])))
        for each in record.get("credits", [])
        if each.get("tracks", [PRINTED]) == [PRINTED]
    ]
    parts = [_element("title", record.get("title")), _element("released", record.get("released"))]
    parts += ["<formats>", *map(_format_xml, record.get("formats", []), record.get("format_details", []))]
    parts += ["</formats><identifiers>", *map(_identifier_xml, record.get("identifiers", []))]
    parts += ["</identifiers>", _artists_xml(record.get("artists", [])), "<labels>", *labels, "</labels>"]
    parts += [_element("master_id", record.get("master")), _kinds_xml(record)]
    parts += ["<extraartists>", *credits_, "</extraartists>", _tracks_xml(record)]
    parts += ["<companies>", *map(_company_xml, record.get("companies", [])), "</companies>"]
    parts += ["<series>", *map(_series_xml, record.get("series", [])), "</series>"]
    return f"<release id='{record['id']}'>{''.join(parts)}</release>"


def _format_xml(name: str, details: str) -> str:
    quantity, _, others = details.rpartition(" ×, ")
    return f"<format name='{name}' qty='{quantity or 1}' text='{others}'/>"


def _identifier_xml(identifier: str) -> str:
    kind, _, value = identifier.partition(": ")
    kind, _, description = kind.removesuffix(")").partition(" (")
    return f"<identifier type='{kind}' description='{description}' value={quoteattr(value)}/>"


def _company_xml(company: Plain) -> str:
    parts = [_element("id", company["id"]), _element("name", company["name"])]
    parts += [_element("catno", company.get("catalog_number"))]
    parts += [_element("entity_type_name", company.get("role"))]
    return f"<company>{''.join(parts)}</company>"


def _series_xml(series: Plain) -> str:
    return (
        f"<series id='{series['id']}' name={quoteattr(series['name'])} catno='{series.get('number', '')}'/>"
    )


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

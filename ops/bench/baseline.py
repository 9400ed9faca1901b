"""The baseline: the common way to load dumps into Neo4j, without Celery.

    python -m ops.bench.baseline URI USER PASSWORD_FILE DUMP… [--text-indexes]

A competent programmer's first version: `iterparse` turns each record into a dictionary and compares its SHA-256 with
the stored one. New and changed records are merged, 100 per transaction, with one UNWIND … MERGE statement for the
records and one for each type of relationship. Ids are integers, the unique constraints exist, the driver has its Rust
extension, and rows hold only what the statements need.

It does less than our loader: it derives no SAME_AS, PART_OF or category, counts no statistics, removes no relationship
or record that a dump has lost, and stops at the first malformed record. Values that are part of a MERGE are stored
empty where a record has none, because MERGE takes no null.
"""

import gzip
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import click
import msgspec
import neo4j
from lxml import etree

from ops.bench import cypher
from pipeline.graph.schema import TEXT_INDEXES
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump

BATCH_RECORDS = 100

#: Commas between roles, and the brackets of a role.
_COMMA, _BRACKETS = re.compile(r",(?![^\[]*\])"), re.compile(r"\s*\[([^\]]*)\]")

#: One record as a dictionary, or one row of a statement.
Values = dict[str, Any]


def statement(name: str, label: str = "Record") -> str:
    """Return the text of a `.cypher` file of the benchmark, for records of this label."""
    text = resources.files(cypher).joinpath(f"{name}.cypher").read_text(encoding="utf-8")
    return text.replace(":Record", f":{label}")


def parse(dump: Path, record_type: RecordType) -> Iterator[Values]:
    """Yield the records of a dump in order, each with the SHA-256 of its content."""
    read = _READERS[record_type]
    with gzip.open(dump) as file:
        for _, element in etree.iterparse(file, events=("end",), tag=record_type.element):
            root = element.getparent()
            if root is None or root.getparent() is not None:
                continue  # a label within a label
            record = read(element)
            record["sha256"] = hashlib.sha256(msgspec.json.encode(record)).hexdigest()
            yield record
            element.clear()
            while element.getprevious() is not None:
                del root[0]


def _artist(element: etree._Element) -> Values:
    return {
        "id": int(element.findtext("id") or 0),
        "name": _text(element, "name"),
        "real_name": _text(element, "realname"),
        "profile": _text(element, "profile"),
        "data_quality": _text(element, "data_quality"),
        "urls": _texts(element, "urls/url"),
        "name_variations": _texts(element, "namevariations/name"),
        "groups": _references(element, "groups/name"),
        "members": _references(element, "members/name"),
        "aliases": _references(element, "aliases/name"),
    }


def _label(element: etree._Element) -> Values:
    return {
        "id": int(element.findtext("id") or 0),
        "name": _text(element, "name"),
        "contact_info": _text(element, "contactinfo"),
        "profile": _text(element, "profile"),
        "data_quality": _text(element, "data_quality"),
        "urls": _texts(element, "urls/url"),
        "parents": _references(element, "parentLabel"),
        "sublabels": _references(element, "sublabels/label"),
    }


def _master(element: etree._Element) -> Values:
    return {
        "id": int(element.get("id", "0")),
        "title": _text(element, "title"),
        "year": int(element.findtext("year") or 0) or None,
        "main_release": int(element.findtext("main_release") or 0),
        "data_quality": _text(element, "data_quality"),
        "artists": _main_artists(element),
        "genres": [{"name": name} for name in _texts(element, "genres/genre")],
        "styles": [{"name": name} for name in _texts(element, "styles/style")],
    }


def _release(element: etree._Element) -> Values:
    released = _text(element, "released")
    master = int(element.findtext("master_id") or 0)
    tracks = list(_tracks(element.iterfind("tracklist/track")))
    identifiers = [
        (item.get("type", ""), item.get("description", "").strip(), item.get("value", "").strip())
        for item in element.iterfind("identifiers/identifier")
    ]
    return {
        "id": int(element.get("id", "0")),
        "title": _text(element, "title"),
        "status": element.get("status"),
        "year": int(released[:4]) if released[:4].isdigit() else None,
        "released": released,
        "country": _text(element, "country"),
        "notes": _text(element, "notes"),
        "data_quality": _text(element, "data_quality"),
        "formats": [item.get("name") for item in element.iterfind("formats/format")],
        "format_details": [_format_details(item) for item in element.iterfind("formats/format")],
        "tracks": [_text(track, "title") for _, track in tracks],
        "track_positions": [_text(track, "position") for _, track in tracks],
        "track_durations": [_text(track, "duration") for _, track in tracks],
        "barcodes": _distinct(
            re.sub(r"\D", "", value) for kind, _, value in identifiers if kind == "Barcode"
        ),
        "identifiers": _distinct(
            f"{kind} ({description}): {value}" if description else f"{kind}: {value}"
            for kind, description, value in identifiers
            if value
        ),
        "masters": [{"id": master}] if master else [],
        "artists": _main_artists(element),
        "appearances": _appearances(tracks),
        "labels": _labels(element),
        "companies": [
            {
                **_person(item),
                "role": _text(item, "entity_type_name"),
                "catalog_number": _text(item, "catno"),
            }
            for item in element.iterfind("companies/company")
            if _person(item)["id"]
        ],
        "series": [
            {"id": int(item.get("id", "0")), "name": item.get("name"), "number": item.get("catno", "")}
            for item in element.iterfind("series/series")
        ],
        "genres": [{"name": name} for name in _texts(element, "genres/genre")],
        "styles": [{"name": name} for name in _texts(element, "styles/style")],
        "credits": _credits(element, tracks),
    }


def _tracks(elements: Iterable[etree._Element]) -> Iterator[tuple[str, etree._Element]]:
    """Yield tracks and sub-tracks with their position, or else their number."""
    number = 0
    for track in elements:
        for each in (track, *track.iterfind("sub_tracks/track")):
            position = _text(each, "position")
            if position or any(
                each.find(tag) is not None for tag in ("artists", "extraartists", "sub_tracks")
            ):
                number += 1
                yield position or str(number), each


def _format_details(element: etree._Element) -> str:
    quantity, text = element.get("qty", "1"), element.get("text", "").strip()
    descriptions = _texts(element, "descriptions/description")
    return ", ".join(
        [*([] if quantity == "1" else [f"{quantity} ×"]), *descriptions, *([text] if text else [])]
    )


def _main_artists(element: etree._Element) -> list[Values]:
    artists: dict[int, Values] = {}
    for position, item in enumerate(element.iterfind("artists/artist"), 1):
        artist = {**_person(item), "position": position, "join": _text(item, "join") or None}
        artists.setdefault(artist["id"], {**artist, "credited_as": _text(item, "anv") or None})
    return [artist for id_, artist in artists.items() if id_]


def _appearances(tracks: list[tuple[str, etree._Element]]) -> list[Values]:
    """Return the artists of tracks, each with all of its tracks."""
    artists: dict[int, Values] = {}
    for position, track in tracks:
        for item in track.iterfind("artists/artist"):
            artist = {**_person(item), "tracks": [], "credited_as": []}
            _add(artists.setdefault(artist["id"], artist), position, item)
    return [artist for id_, artist in artists.items() if id_]


def _labels(element: etree._Element) -> list[Values]:
    labels: dict[str, Values] = {}
    for item in element.iterfind("labels/label"):
        id_, number = item.get("id", "0"), item.get("catno", "").strip()
        label = labels.setdefault(id_, {"id": int(id_), "name": item.get("name"), "catalog_numbers": []})
        if number and number not in label["catalog_numbers"]:
            label["catalog_numbers"].append(number)
    return [label for label in labels.values() if label["id"]]


def _credits(element: etree._Element, tracks: list[tuple[str, etree._Element]]) -> list[Values]:
    """Return the credits of the release and its tracks, one a role."""
    printed = [(_text(item, "tracks"), item) for item in element.iterfind("extraartists/artist")]
    printed += [
        (position, item) for position, track in tracks for item in track.iterfind("extraartists/artist")
    ]
    credits_: dict[tuple[Any, ...], Values] = {}
    for position, item in printed:
        person = _person(item)
        for part in _COMMA.split(_text(item, "role")):
            role, detail = _BRACKETS.sub("", part).strip(), ", ".join(_BRACKETS.findall(part))
            if person["name"] and role:
                credit = {"name": person["name"], "artist_id": person["id"], "role": role, "detail": detail}
                key = tuple(credit.values())
                _add(credits_.setdefault(key, {**credit, "tracks": [], "credited_as": []}), position, item)
    return list(credits_.values())


def _add(said: Values, position: str, item: etree._Element) -> None:
    """Add a track, and the spelling there, to an appearance or a credit."""
    said["tracks"] = _distinct([*said["tracks"], position])
    said["credited_as"] = sorted(_distinct([*said["credited_as"], _text(item, "anv")]))


def _person(element: etree._Element) -> Values:
    return {"id": int(element.findtext("id") or 0), "name": _text(element, "name")}


def _references(element: etree._Element, path: str) -> list[Values]:
    own = int(element.findtext("id") or 0)
    found = [{"id": int(item.get("id", "0")), "name": item.text} for item in element.iterfind(path)]
    return [reference for reference in found if reference["id"] not in (0, own)]


def _text(element: etree._Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _texts(element: etree._Element, path: str) -> list[str]:
    return _distinct((item.text or "").strip() for item in element.iterfind(path))


def _distinct(values: Iterable[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


_READERS: dict[RecordType, Callable[[etree._Element], Values]] = {
    RecordType.ARTISTS: _artist,
    RecordType.LABELS: _label,
    RecordType.MASTERS: _master,
    RecordType.RELEASES: _release,
}
#: The relationships of each type, written in this order.
_RELATED = {
    RecordType.ARTISTS: ("groups", "members", "aliases"),
    RecordType.LABELS: ("parents", "sublabels"),
    RecordType.MASTERS: ("artists", "genres", "styles"),
    RecordType.RELEASES: (
        "artists",
        "appearances",
        "labels",
        "masters",
        "genres",
        "styles",
        "credits",
        "companies",
        "series",
    ),
}


class Writer:
    """Writes batches of records of one type."""

    def __init__(self, record_type: RecordType) -> None:
        self._hashes = statement("hashes", record_type.label)
        self._related = _RELATED[record_type]
        self._statements = {name: statement(name, record_type.label) for name in ("records", *self._related)}

    def write(self, transaction: neo4j.ManagedTransaction, batch: list[Values]) -> int:
        """Write the new and changed records of the batch; return their number."""
        found = transaction.run(self._hashes, ids=[record["id"] for record in batch])
        hashes = {each["id"]: each["sha256"] for each in found}
        changed = [record for record in batch if hashes.get(record["id"]) != record["sha256"]]
        rows = self._rows(changed)
        for name, text in self._statements.items():
            if rows[name]:
                transaction.run(text, rows=rows[name]).consume()
        return len(changed)

    def _rows(self, records: Iterable[Values]) -> dict[str, list[Values]]:
        """Build the rows of each statement."""
        rows: dict[str, list[Values]] = {name: [] for name in self._statements}
        for record in records:
            properties = {name: value for name, value in record.items() if name not in self._related}
            rows["records"].append({"id": record["id"], "properties": properties})
            for name in self._related:
                rows[name] += [{"record": record["id"], **each} for each in record[name]]
        return rows


def load(session: neo4j.Session, dump: Path) -> tuple[RecordType, Values]:
    """Load a dump the common way; skip unchanged records by their hash."""
    started = time.perf_counter()
    read = written = 0
    with open_dump(dump) as opened:
        record_type = opened.record_type
    writer, records = Writer(record_type), parse(dump, record_type)
    while batch := list(islice(records, BATCH_RECORDS)):
        read += len(batch)
        written += session.execute_write(writer.write, batch)
    return record_type, {"read": read, "written": written, "seconds": time.perf_counter() - started}


@click.command()
@click.argument("uri")
@click.argument("user")
@click.argument("password_file", type=click.Path(path_type=Path))
@click.argument("dumps", type=click.Path(path_type=Path), nargs=-1)
@click.option("--text-indexes", is_flag=True, help="Create the full-text indexes at the end.")
def main(uri: str, user: str, password_file: Path, dumps: tuple[Path, ...], *, text_indexes: bool) -> None:
    """Load dumps the common way; print a line of JSON."""
    login = user, password_file.read_text(encoding="utf-8").strip()
    with (
        neo4j.GraphDatabase.driver(uri, auth=login, notifications_min_severity="OFF") as driver,
        driver.session(database="neo4j") as session,
    ):
        loaded = dict(load(session, dump) for dump in dumps)
        if text_indexes:
            for text in TEXT_INDEXES.values():
                session.run(text).consume()
            session.run("CALL db.awaitIndexes(3600)").consume()
    click.echo(json.dumps(loaded))


if __name__ == "__main__":
    main()

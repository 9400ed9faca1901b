"""The baseline: the common way to load dumps into Neo4j, without Celery.

    python -m ops.bench.baseline URI USER PASSWORD_FILE DUMP… [--text-indexes]

A competent programmer's first version: `iterparse` turns each record into a dictionary and compares its SHA-256 with
the stored one. New and changed records are merged, 100 per transaction, with one UNWIND … MERGE statement for the
records and one for each type of relationship. Ids are integers, the unique constraints exist, the driver has its Rust
extension, and rows hold only what the statements need.

It does less than our loader: it derives no SAME_AS, PART_OF or category, counts no statistics, removes no relationship
or record that a dump has lost, and stops at the first malformed record.
"""

import gzip
import hashlib
import json
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
        "name": element.findtext("name"),
        "real_name": element.findtext("realname"),
        "profile": element.findtext("profile"),
        "data_quality": element.findtext("data_quality"),
        "urls": _texts(element, "urls/url"),
        "name_variations": _texts(element, "namevariations/name"),
        "groups": _references(element, "groups/name"),
        "members": _references(element, "members/name"),
        "aliases": _references(element, "aliases/name"),
    }


def _label(element: etree._Element) -> Values:
    return {
        "id": int(element.findtext("id") or 0),
        "name": element.findtext("name"),
        "contact_info": element.findtext("contactinfo"),
        "profile": element.findtext("profile"),
        "data_quality": element.findtext("data_quality"),
        "urls": _texts(element, "urls/url"),
        "parents": _references(element, "parentLabel"),
        "sublabels": _references(element, "sublabels/label"),
    }


def _master(element: etree._Element) -> Values:
    return {
        "id": int(element.get("id", "0")),
        "title": element.findtext("title"),
        "year": int(element.findtext("year") or 0) or None,
        "main_release": int(element.findtext("main_release") or 0),
        "data_quality": element.findtext("data_quality"),
        "artists": [_credit(item) for item in element.iterfind("artists/artist")],
        "genres": [{"name": name} for name in _texts(element, "genres/genre")],
        "styles": [{"name": name} for name in _texts(element, "styles/style")],
    }


def _release(element: etree._Element) -> Values:
    released = element.findtext("released") or ""
    master = int(element.findtext("master_id") or 0)
    return {
        "id": int(element.get("id", "0")),
        "title": element.findtext("title"),
        "status": element.get("status"),
        "year": int(released[:4]) if released[:4].isdigit() else None,
        "released": released or None,
        "country": element.findtext("country"),
        "notes": element.findtext("notes"),
        "data_quality": element.findtext("data_quality"),
        "formats": [item.get("name") for item in element.iterfind("formats/format")],
        "masters": [{"id": master}] if master else [],
        "artists": [_credit(item) for item in element.iterfind("artists/artist")],
        "labels": [
            {"id": int(item.get("id", "0")), "name": item.get("name"), "catalog_numbers": [item.get("catno")]}
            for item in element.iterfind("labels/label")
        ],
        "genres": [{"name": name} for name in _texts(element, "genres/genre")],
        "styles": [{"name": name} for name in _texts(element, "styles/style")],
        "credits": [
            {"name": credit["name"], "role": item.findtext("role"), "artist_id": credit["id"]}
            for item in element.iterfind("extraartists/artist")
            if (credit := _credit(item))["name"] and item.findtext("role")
        ],
    }


def _credit(element: etree._Element) -> Values:
    return {"id": int(element.findtext("id") or 0), "name": element.findtext("name")}


def _references(element: etree._Element, path: str) -> list[Values]:
    return [{"id": int(item.get("id", "0")), "name": item.text} for item in element.iterfind(path)]


def _texts(element: etree._Element, path: str) -> list[str]:
    return [item.text for item in element.iterfind(path) if item.text]


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
    RecordType.RELEASES: ("artists", "labels", "masters", "genres", "styles", "credits"),
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

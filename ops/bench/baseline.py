"""The baseline: the common way to load releases into Neo4j, without Celery.

A competent programmer's first version: `iterparse` turns each record into a dictionary and compares its SHA-256 with
the stored one. New and changed records are merged, 100 per transaction, with one UNWIND … MERGE statement for the
releases and one for each type of relationship. Ids are integers, the unique constraints exist, the driver has its Rust
extension, and rows hold only what the statements need.

It does less than our loader: it derives no SAME_AS, PART_OF or category, removes no relationship that a changed release
has lost, and stops at the first malformed record.
"""

import gzip
import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import neo4j
from lxml import etree

from ops.bench import cypher

BATCH_RECORDS = 100

#: One release as a dictionary, or one row of a statement.
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of one load."""

    read: int
    written: int
    seconds: float

    @property
    def rate(self) -> float:
        """Return records per second."""
        return self.read / self.seconds


def statement(name: str) -> str:
    """Return the text of a `.cypher` file of the benchmark."""
    return resources.files(cypher).joinpath(f"{name}.cypher").read_text(encoding="utf-8")


#: The seven writes of a batch, in their order.
_WRITES = {
    name: statement(name)
    for name in ("releases", "artists", "labels", "masters", "genres", "styles", "credits")
}
_HASHES = statement("hashes")


def load(dump: Path, uri: str, user: str, password: str) -> Loaded:
    """Load a dump of releases the common way; skip unchanged ones by their hash."""
    started = time.perf_counter()
    read = written = 0
    with (
        neo4j.GraphDatabase.driver(uri, auth=(user, password), notifications_min_severity="OFF") as driver,
        driver.session(database="neo4j") as session,
    ):
        releases = parse(dump)
        while batch := list(islice(releases, BATCH_RECORDS)):
            read += len(batch)
            written += session.execute_write(_write_batch, batch)
    return Loaded(read, written, time.perf_counter() - started)


def parse(dump: Path) -> Iterator[Values]:
    """Yield the releases of a dump in order, each with the SHA-256 of its content."""
    with gzip.open(dump) as file:
        for _, element in etree.iterparse(file, events=("end",), tag="release"):
            release = _release(element)
            release["sha256"] = hashlib.sha256(msgspec.json.encode(release)).hexdigest()
            yield release
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]


def _release(element: etree._Element) -> Values:
    released = element.findtext("released") or ""
    return {
        "id": int(element.get("id", "0")),
        "title": element.findtext("title"),
        "status": element.get("status"),
        "year": int(released[:4]) if released[:4].isdigit() else None,
        "released": released or None,
        "country": element.findtext("country"),
        "notes": element.findtext("notes"),
        "data_quality": element.findtext("data_quality"),
        "master_id": int(element.findtext("master_id") or 0),
        "formats": [item.get("name") for item in element.iterfind("formats/format")],
        "genres": [item.text for item in element.iterfind("genres/genre")],
        "styles": [item.text for item in element.iterfind("styles/style")],
        "artists": [_artist(item) for item in element.iterfind("artists/artist")],
        "extraartists": [_artist(item) for item in element.iterfind("extraartists/artist")],
        "labels": [dict(item.attrib) for item in element.iterfind("labels/label")],
    }


def _artist(element: etree._Element) -> Values:
    return {
        "id": int(element.findtext("id") or 0),
        "name": element.findtext("name"),
        "role": element.findtext("role"),
    }


def _write_batch(transaction: neo4j.ManagedTransaction, batch: list[Values]) -> int:
    """Write the new and changed releases of the batch; return their number."""
    hashes = {}
    for found in transaction.run(_HASHES, ids=[release["id"] for release in batch]):
        hashes[found["id"]] = found["sha256"]
    changed = [release for release in batch if hashes.get(release["id"]) != release["sha256"]]
    if changed:
        rows = _rows(changed)
        for name, write in _WRITES.items():
            if rows[name]:
                transaction.run(write, rows=rows[name]).consume()
    return len(changed)


_PROPERTIES = ("title", "year", "released", "country", "formats", "status", "data_quality", "notes", "sha256")


def _rows(releases: Iterable[Values]) -> dict[str, list[Values]]:
    """Build the rows of the seven statements."""
    rows: dict[str, list[Values]] = {name: [] for name in _WRITES}
    for release in releases:
        key = release["id"]
        properties = {name: release[name] for name in _PROPERTIES}
        rows["releases"].append({"id": key, "properties": properties})
        for artist in release["artists"]:
            rows["artists"].append({"release": key, "id": artist["id"], "name": artist["name"]})
        for label in release["labels"]:
            rows["labels"].append(
                {
                    "release": key,
                    "id": int(label["id"]),
                    "name": label["name"],
                    "catalog_numbers": [label["catno"]],
                }
            )
        if release["master_id"]:
            rows["masters"].append({"release": key, "id": release["master_id"]})
        rows["genres"].extend({"release": key, "name": name} for name in release["genres"])
        rows["styles"].extend({"release": key, "name": name} for name in release["styles"])
        for artist in release["extraartists"]:
            if artist["name"] and artist["role"]:
                rows["credits"].append(
                    {
                        "release": key,
                        "name": artist["name"],
                        "role": artist["role"],
                        "artist_id": artist["id"],
                    }
                )
    return rows

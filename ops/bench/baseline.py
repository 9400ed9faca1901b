"""The common way to load releases into Neo4j, as a measure for ours; no Celery, no worker, one session.

What a competent programmer writes first: `iterparse` turns each record into a dictionary, its SHA-256 is compared
with the one stored, and what is new or changed is merged, 100 records a transaction, with one
UNWIND … MERGE statement for the releases and one for each kind of relationship. Ids are integers, the unique constraints are in
place, the driver has its Rust extension, and the rows hold what the statements need and nothing else.

It does less than our own loader: it derives no SAME_AS, PART_OF or category, removes nothing that a changed
release no longer says, and stops at the first malformed record.
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
    """What one load did, and how long it took."""

    read: int
    written: int
    seconds: float

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.read / self.seconds


def statement(name: str) -> str:
    """The text of a `.cypher` file of the benchmark."""
    return resources.files(cypher).joinpath(f"{name}.cypher").read_text(encoding="utf-8")


#: The seven writes of a batch, in their order.
_WRITES = {
    name: statement(name)
    for name in ("releases", "artists", "labels", "masters", "genres", "styles", "credits")
}
_HASHES = statement("hashes")


def load(dump: Path, uri: str, user: str, password: str) -> Loaded:
    """Load a dump of releases the common way; unchanged ones are recognised by their hash."""
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
    """The releases of a dump, in its order, each with the SHA-256 of its content."""
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
    """Write the releases of the batch that are new or changed; how many those were."""
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
    """The rows of the seven statements."""
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

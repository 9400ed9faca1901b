"""Next month's dump: a few records changed, a few new, a few gone.

Changes are those that editors of Discogs make most: the vote on a record's data, and its relationships (one style more;
the aliases of an artist or the parent of a label removed).
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from isal import isal_zlib

from ops.bench.generator import GZIP
from pipeline.model import RecordType
from pipeline.reader.dump import Dump, open_dump

#: Shares of the records of the month before.
CHANGED, NEW, VANISHED = 0.02, 0.01, 0.005

_VOTE = re.compile(rb"(?<=<data_quality>)[^<]*")
_NEXT_VOTE = b"Complete And Correct", b"Correct"
_STYLE = b"<style>Field Recording</style></styles>"
_RELATED = {
    RecordType.ARTISTS: (re.compile(rb"<aliases>.*</aliases>"), b""),
    RecordType.LABELS: (re.compile(rb"<parentLabel .*</parentLabel>"), b""),
    RecordType.MASTERS: (re.compile(rb"</styles>"), _STYLE),
    RecordType.RELEASES: (re.compile(rb"</styles>"), _STYLE),
}


@dataclass(frozen=True, slots=True)
class Month:
    """A dump, with its differences from the month before."""

    path: Path
    records: int
    changed: int
    new: int
    vanished: int


def next_month(longer: Path, before: int, path: Path, seed: int) -> Month:
    """Write the month after the one with the first `before` records of `longer`.

    `longer` must have at least `before` x (1 + NEW) records: the rest are the new ones. The same seed gives the same
    bytes.
    """
    chance = random.Random(seed).random
    counts = {"same": 0, "changed": 0, "new": 0, "vanished": 0}
    compressor = isal_zlib.compressobj(1, wbits=GZIP)
    with open_dump(longer) as dump, path.open("wb") as file:
        root = dump.record_type.encode()
        file.write(compressor.compress(b"<%b>\n" % root))
        for number, record in enumerate(islice(_records(dump), round(before * (1 + NEW)))):
            fate, text = "new", record
            if number < before:
                fate, text = _fate(dump.record_type, record, chance(), by_vote=chance() < 0.5)
            counts[fate] += 1
            if fate != "vanished":
                file.write(compressor.compress(text + b"\n"))
        file.write(compressor.compress(b"</%b>\n" % root))
        file.write(compressor.flush())
    records = counts["same"] + counts["changed"] + counts["new"]
    return Month(path, records, counts["changed"], counts["new"], counts["vanished"])


def _records(dump: Dump) -> Iterator[bytes]:
    for chunk in dump.chunks(1000, 2**22):
        yield from chunk.records


def _fate(record_type: RecordType, record: bytes, drawn: float, *, by_vote: bool) -> tuple[str, bytes]:
    if drawn < VANISHED:
        return "vanished", record
    if drawn >= VANISHED + CHANGED:
        return "same", record
    pattern, replacement = _RELATED[record_type]
    text = record if by_vote else pattern.sub(replacement, record, count=1)
    if text == record:
        text = _VOTE.sub(lambda vote: _NEXT_VOTE[vote[0] == _NEXT_VOTE[0]], record, count=1)
    return ("same" if text == record else "changed"), text

"""Hand-made dumps: four readable, editable templates, one of each record type.

In a template `{{01}}` or `{{EF BB BF}}` stands for bytes that an editor would spoil, and
`{{bad REASON}}…{{end}}` encloses a record that is planted as a malformed one.
"""

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_BYTES = re.compile(rb"\{\{((?:[0-9A-F]{2} ?)+)\}\}")
_BAD = re.compile(rb"\{\{bad ([^}]+)\}\}(.*?)\{\{end\}\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Planted:
    """A malformed record: the reason, and its raw text in the dump."""

    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Oddity:
    """A dump with a list of its malformed records; `records` counts the good ones.

    Records with a repeated id count too.
    """

    path: Path
    record_type: str
    records: int
    malformed: tuple[Planted, ...] = ()

    @property
    def malformed_raw(self) -> tuple[bytes, ...]:
        """The raw text of the malformed records, in the order of the dump."""
        return tuple(planted.raw for planted in self.malformed)


#: Number of good records in each template, counted by hand.
_GOOD = {"artists": 12, "labels": 9, "masters": 10, "releases": 13}


def handmade(folder: Path) -> list[Oddity]:
    """Write the four dumps: labels with CRLF line ends, releases gzipped, the others plain."""
    return [_write(record_type, folder) for record_type in _GOOD]


def _write(record_type: str, folder: Path) -> Oddity:
    template = (_HERE / f"{record_type}.xml.template").read_bytes()
    if record_type == "labels":
        template = template.replace(b"\n", b"\r\n")
    dump = _BYTES.sub(lambda token: bytes.fromhex(token[1].decode()), template)
    planted = tuple(Planted(reason.decode(), raw) for reason, raw in _BAD.findall(dump))
    dump = _BAD.sub(lambda bad: bad[2], dump)
    path = folder / f"{record_type}.xml"
    if record_type == "releases":
        path = path.with_suffix(".xml.gz")
        dump = gzip.compress(dump)
    path.write_bytes(dump)
    return Oddity(path, record_type, _GOOD[record_type], planted)

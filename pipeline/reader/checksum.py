"""Discogs' checksums: the file beside the dumps of a month has the sha256 of each."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import WrongChecksum
from pipeline.model import RecordType

if TYPE_CHECKING:
    from hashlib import _Hash

#: The name of a dump: its date and its record type.
DUMP_NAME = re.compile(rf"discogs_(\d{{8}})_({'|'.join(RecordType)})\.xml\.gz")

# One space or two: Discogs' files have one, `sha256sum` writes two, or one and a star.
_LINE = re.compile(r"^([0-9A-Fa-f]{64})[ \t]+\*?(\S+)[ \t]*\r?$", re.MULTILINE)
_BLOCK_BYTES = 1 << 20

#: Called with the number of bytes that are done.
OnBytes = Callable[[int], None]


def checksum_name(date: str) -> str:
    """Return the name of the checksum file of the dumps of a date."""
    return f"discogs_{date}_CHECKSUM.txt"


def read_checksums(text: str) -> dict[str, str]:
    """Return the checksums in a checksum file, by name of dump."""
    return {name: sha256.lower() for sha256, name in _LINE.findall(text)}


@dataclass(frozen=True, slots=True)
class Published:
    """A dump beside its checksum file."""

    dump: Path
    record_type: RecordType
    file: Path
    #: None if the file has no checksum of this dump.
    sha256: str | None

    def verify(self, on_bytes: OnBytes) -> None:
        """Raise WrongChecksum if the dump is another file than the published one."""
        if sha256_of(self.dump, on_bytes).hexdigest() != self.sha256:
            raise WrongChecksum(self.dump, 0, f"its sha256 is not the one in {self.file.name}")


def published(dump: Path) -> Published | None:
    """Return the checksum of a dump; None if no checksum file lies beside it."""
    name = DUMP_NAME.fullmatch(dump.name)
    if name is None:
        return None
    file = dump.with_name(checksum_name(name[1]))
    if not file.is_file():
        return None
    checksums = read_checksums(file.read_text(encoding="ascii", errors="replace"))
    return Published(dump, RecordType(name[2]), file, checksums.get(dump.name))


def sha256_of(path: Path, on_bytes: OnBytes) -> "_Hash":
    """Return the sha256 of a file, to which more can be added."""
    found, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
            done += len(block)
            on_bytes(done)
    return found

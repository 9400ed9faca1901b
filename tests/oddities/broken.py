"""No dumps or truncated dumps: a load must end with one clear error."""

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken file; `records` whole records stand before the fault."""

    path: Path
    records: int


_RECORDS = 300


def _dump() -> bytes:
    lines = [
        f"<label><id>{i}</id><name>Label {i * 7919 % 997}</name></label>\n" for i in range(1, _RECORDS + 1)
    ]
    return f"<labels>\n{''.join(lines)}</labels>\n".encode()


def _truncated() -> bytes:
    compressed = gzip.compress(_dump())
    return compressed[: len(compressed) // 2]


def _without_trailer() -> bytes:
    return gzip.compress(_dump())[:-8]


def _wrong_checksum() -> bytes:
    compressed = bytearray(gzip.compress(_dump()))
    compressed[-8] ^= 0xFF
    return bytes(compressed)


def _tar() -> bytes:
    content = _dump()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("discogs_labels.xml")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _bomb() -> bytes:
    """200 MiB of XML, nearly all of it in 200 KB."""
    beginning = _dump().removesuffix(b"</labels>\n") + b"<label><id>301</id><profile>"
    return gzip.compress(beginning) + gzip.compress(b"x" * (1 << 20)) * 200


_LAUGHS = b"".join(
    b"<!ENTITY a%d '%b'>" % (level, b"&a%d;" % (level - 1) * 10 if level else b"ha") for level in range(10)
)
_HTML = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body><p>Not <b>found</b></body></html>\n"

#: Name of the file to its content and the whole records before the fault (-1: depends on the compressor).
BROKEN: dict[str, tuple[Callable[[], bytes], int]] = {
    "truncated.xml.gz": (_truncated, -1),
    "without_trailer.xml.gz": (_without_trailer, _RECORDS),
    # None of its records can be trusted.
    "wrong_checksum.xml.gz": (_wrong_checksum, 0),
    "wrong_root.xml": (lambda: b"<tracks><track><id>1</id></track></tracks>\n", 0),
    "wrong_root.xml.gz": (lambda: gzip.compress(b"<?xml version='1.0'?><rss><channel/></rss>"), 0),
    "record_as_root.xml": (lambda: b"<label><id>1</id><name>Alone</name></label>\n", 0),
    "tar.xml.gz": (_tar, 0),
    "page.xml": (lambda: _HTML, 0),
    "page.xml.gz": (lambda: gzip.compress(_HTML), 0),
    "bomb.xml.gz": (_bomb, _RECORDS),
    "laughs.xml": (lambda: b"<!DOCTYPE labels [" + _LAUGHS + b"]>\n" + _dump(), 0),
    "outside.xml": (lambda: b"<!DOCTYPE labels SYSTEM 'file:///etc/passwd'>\n" + _dump(), 0),
    "empty.xml": (lambda: b"", 0),
    "empty.xml.gz": (lambda: gzip.compress(b""), 0),
    "no_bytes.xml.gz": (lambda: b"", 0),
    "blank.xml": (lambda: b" \n\n", 0),
    "noise.xml.gz": (lambda: bytes(range(256)) * 16, 0),
    "no_root_end.xml": (lambda: _dump().removesuffix(b"</labels>\n"), _RECORDS),
    "no_root_end.xml.gz": (lambda: gzip.compress(_dump().removesuffix(b"</labels>\n")), _RECORDS),
    "within_a_record.xml": (lambda: _dump()[: -len("bel></labels>\n") - 8], _RECORDS - 1),
}


def broken(folder: Path, name: str) -> Broken:
    """Write the broken file of this name (a key of `BROKEN`)."""
    content, records = BROKEN[name]
    path = folder / name
    path.write_bytes(content())
    return Broken(path, records)

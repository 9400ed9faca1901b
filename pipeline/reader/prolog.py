"""The prolog of a dump: byte order mark, XML declaration, comments, root start tag."""

import re

from pipeline.errors import shown
from pipeline.model import RecordType
from pipeline.reader.source import Buffer, ReadError

#: The root element must begin within this many bytes.
PROLOG_BYTES = 1 << 20
_BEGINNING_BYTES = 512

_SPACE = rb"[ \t\r\n]"
_QUOTED = rb"\"[^\"]*+\"|'[^']*+'"
_COMMENT = rb"<!--.*?-->"
_INSTRUCTION = rb"<\?.*?\?>"
_MISC = rb"(?>(?:" + _SPACE + rb"++|" + _COMMENT + rb"|" + _INSTRUCTION + rb")*)"
_ROOT = rb"<(?P<name>[A-Za-z_:][\w.:-]*+)(?>(?:[^<>\"']++|" + _QUOTED + rb")*)>"
_DOCTYPE_OR_ROOT = rb"(?:(?P<doctype><!(?i:doctype))|" + _ROOT + rb")"
_PROLOG = re.compile(
    rb"(?>(?:\xef\xbb\xbf)?)(?>(?P<declaration><\?xml[ \t\r\n].*?\?>)?)" + _MISC + _DOCTYPE_OR_ROOT,
    re.DOTALL,
)
_ENCODING = re.compile(rb"encoding[ \t\r\n]*=[ \t\r\n]*[\"']([^\"']*)")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_HTML = re.compile(rb"<(?:!doctype[ \t\r\n]+)?html[\s>]", re.IGNORECASE)
_UTF16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
_READABLE = {"utf-8", "utf8", "us-ascii", "ascii"}
_FORMATS = {
    b"\x1f\x8b": "gzip inside gzip",
    b"PK": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"%PDF": "a PDF",
}
_TAR_MAGIC = slice(257, 262)
_ROOTS = ", ".join(f"<{name}>" for name in RecordType)


def read_prolog(buffer: Buffer) -> tuple[RecordType, bool]:
    """Move past the start tag of the root; return record type and self-closedness.

    Raises ReadError if the file is not a dump.
    """
    buffer.fill(_BEGINNING_BYTES)
    beginning = buffer.data[:_BEGINNING_BYTES]
    if not beginning:
        raise buffer.fault or ReadError(0, "the file is empty")
    _refuse_other_formats(beginning)
    while (found := _PROLOG.match(buffer.data)) is None:
        if len(buffer.data) > PROLOG_BYTES or not buffer.more():
            raise buffer.fault or ReadError(buffer.end, _without_root(buffer.data))
    _refuse_other_encodings(found["declaration"] or b"")
    if found["doctype"]:
        # A DOCTYPE could define entities, and entities are never expanded.
        raise ReadError(found.start("doctype"), "the file has a DOCTYPE, but a dump has none")
    name = found["name"].decode(errors="replace")
    if name not in set(RecordType):
        raise ReadError(
            found.start("name") - 1, f"the root element is <{shown(name)}>, but a dump has one of {_ROOTS}"
        )
    buffer.at = found.end()
    return RecordType(name), found[0].endswith(b"/>")


def _refuse_other_formats(beginning: bytes) -> None:
    if beginning.startswith(_UTF16):
        raise ReadError(0, "the encoding is UTF-16, but a dump is UTF-8")
    spaces = _BEGINNING.match(beginning)
    offset = spaces.end() if spaces else 0
    if _HTML.match(beginning, offset):
        raise ReadError(offset, "this is an HTML page, not a dump")
    if beginning[offset : offset + 1] not in (b"<", b""):
        kind = next((kind for magic, kind in _FORMATS.items() if beginning.startswith(magic)), None)
        if beginning[_TAR_MAGIC] == b"ustar":
            kind = "a tar archive"
        raise ReadError(offset, f"this is not XML but {kind}" if kind else "this is not XML")


def _refuse_other_encodings(declaration: bytes) -> None:
    encoding = _ENCODING.search(declaration)
    name = shown(encoding[1].decode(errors="replace")) if encoding else "utf-8"
    if name.lower() not in _READABLE:
        raise ReadError(0, f"the encoding is {name}, but a dump is UTF-8")


def _without_root(data: bytes) -> str:
    if len(data) > PROLOG_BYTES:
        return f"no root element begins in the first {PROLOG_BYTES >> 10:,} KiB"
    if not data.strip():
        return "the file is empty"
    return "the file ends before its root element begins"

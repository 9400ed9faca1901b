"""The records of a dump as bytes, without a parser."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.chunk import MAX_RECORD_BYTES, Chunk
from pipeline.model import RecordType
from pipeline.reader.source import LOOK_BACK_BYTES, Buffer, ReadError
from pipeline.records.identity import ID_PATTERNS

#: Bytes kept of a record that is too long, and of text between records.
KEPT_BYTES = 64 << 10

_SPACES = b" \t\r\n"
_SPACE = rb"[ \t\r\n]*+"
_NAME_ENDS = b" \t\r\n/>"
_NAME_END = rb"(?=[ \t\r\n/>])"
_INDENTATION = re.compile(rb"\n[ \t\r]*+\Z")
_MARKUP = re.compile(rb"[^ \t\r\n]")
_MISC = {b"<!--": b"-->", b"<?": b"?>"}
_LESS_THAN, _SLASH = b"</"
# Longer records are not flat.
_FLAT_BYTES = 256 << 10
# Room for an indentation and a tag.
_TAG_BYTES = 2 * LOOK_BACK_BYTES


class RawRecord(NamedTuple):
    """Bytes of a record and their position in the XML; `reason` is set if invalid."""

    position: int
    raw: bytes
    reason: str | None = None


class Splitter:
    """The records of a dump, from a buffer behind the root's start tag.

    A record without an end tag, one longer than `max_record_bytes` and text between records get a reason.
    The next record is found by its start tag.
    Iterating raises ReadError after the last record if the dump breaks off before its root's end tag.
    """

    def __init__(
        self,
        record_type: RecordType,
        buffer: Buffer,
        *,
        root_closed: bool = False,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self._buffer = buffer
        self._root_closed = root_closed
        self._max = max_record_bytes
        self._flat = min(_FLAT_BYTES, max_record_bytes)
        self._element = record_type.element
        self._root = record_type.value
        name, root = self._element.encode(), self._root.encode()
        self._open = b"<" + name
        self._close = b"</" + name + b">"
        self._start = re.compile(b"<" + name + _NAME_END)
        self._plain_start = re.compile(_SPACE + b"(" + ID_PATTERNS[record_type].pattern + b")")
        self._root_end = re.compile(b"</" + root + _SPACE + b">")
        self._next = b"<" + name + _NAME_END + b"|</" + root + rb"(?=[ \t\r\n>])"
        self._token = re.compile(
            rb"<(?:!--.*?-->|!\[CDATA\[.*?\]\]>|\?.*?\?>"
            rb"|(?P<start>" + name + _NAME_END + rb"(?>(?:[^<>\"']++|\"[^<\"]*+\"|'[^<']*+')*)>)"
            rb"|(?P<end>/" + name + _SPACE + b">)"
            rb"|(?P<broken>!--|!\[CDATA\[|\?|/?" + name + _NAME_END + b"))",
            re.DOTALL,
        )

    def __iter__(self) -> Iterator[RawRecord]:
        buffer = self._buffer
        while not self._root_closed:
            if not self._to_markup():
                raise self._broken_off(f"the file ends without </{self._root}>")
            if self._start.match(buffer.data, buffer.at):
                yield self._record()
            elif found := self._root_end.match(buffer.data, buffer.at):
                buffer.at = found.end()
                self._root_closed = True
            elif not self._skip_misc():
                yield self._text()
        while self._to_markup():
            if not self._skip_misc():
                raise ReadError(buffer.position, f"something follows after </{self._root}>")
        if buffer.fault:
            raise buffer.fault

    def take_plain(self, chunk: Chunk, records: int, size_bytes: int) -> int:
        """Move plain records to a chunk, until it has `records`; return their bytes.

        A plain record is flat and has its id where Discogs writes it. Iterating finds the same, more slowly.
        Stops before the first other record, before one longer than half of `size_bytes`, and behind so many bytes.
        """
        if self._root_closed:
            return 0
        buffer, limit = self._buffer, min(self._flat, size_bytes // 2)
        buffer.fill(self._flat)
        data, at, start = buffer.data, buffer.at, buffer.position - buffer.at
        taken, most = 0, records - len(chunk.rejected)
        while taken < size_bytes and len(chunk.ids) < most and (found := self._plain_start.match(data, at)):
            first, number = found.start(1), int(found[2])
            end = self._flat_end(first, limit)
            # An illegible record's pattern may reach into the next one, up to the end tag of its images.
            if not number or end < found.end():
                break
            at = end
            taken += at - first
            chunk.positions.append(start + first)
            chunk.ids.append(number)
            chunk.records.append(data[first:at])
        buffer.at = at
        return taken

    def _to_markup(self) -> bool:
        """Skip white space; return False at the end of the file."""
        buffer = self._buffer
        while not (found := _MARKUP.search(buffer.data, buffer.at)):
            buffer.at = len(buffer.data)
            if not buffer.more():
                return False
        buffer.at = found.start()
        buffer.fill(_TAG_BYTES)
        return True

    def _skip_misc(self) -> bool:
        """Skip a comment or processing instruction; return False at anything else."""
        buffer = self._buffer
        opening = next((each for each in _MISC if buffer.data.startswith(each, buffer.at)), None)
        if opening is None:
            return False
        closing = _MISC[opening]
        reason = f"the file ends inside the {opening.decode()} that begins at byte {buffer.position:,}"
        buffer.at += len(opening)
        while (end := buffer.data.find(closing, buffer.at)) < 0:
            buffer.at = max(buffer.at, len(buffer.data) - len(closing) + 1)
            if not buffer.more():
                raise self._broken_off(reason)
        buffer.at = end + len(closing)
        return True

    def _record(self) -> RawRecord:
        buffer = self._buffer
        position = buffer.position
        buffer.fill(self._flat)
        end = (
            self._flat_end(buffer.at, self._flat)
            or self._end_by_depth(self._flat)
            or self._end_by_depth(self._max)
        )
        if end:
            begin, buffer.at = buffer.at, end
            return RawRecord(position, buffer.data[begin:end])
        # Start tags of nested records are indented differently, if records begin on lines of their own.
        indentation = _INDENTATION.search(buffer.data, max(buffer.at - LOOK_BACK_BYTES, 0), buffer.at)
        broken_off = f"the file ends inside the <{self._element}> that begins at byte {position:,}"
        raw, size = self._to_next(indentation[0] if indentation else b"", self._max, broken_off)
        if size > self._max:
            return RawRecord(position, raw, f"longer than {self._max:,} bytes: {size:,}")
        return RawRecord(position, raw, f"<{self._element}> has no end tag of its own")

    def _text(self) -> RawRecord:
        position = self._buffer.position
        raw, _ = self._to_next(b"", KEPT_BYTES, f"the file ends without </{self._root}>")
        return RawRecord(position, raw, "text between records")

    def _flat_end(self, at: int, limit: int) -> int:
        """Return the end of a flat record: without nested records, comments, CDATA sections and instructions.

        It is the same as that of `_end_by_depth`, several times as fast; 0 for another record.
        """
        data = self._buffer.data
        end = data.find(self._close, at, at + limit)
        if (
            end < 0
            or data[data.find(b">", at) - 1] == _SLASH  # the end tag is another record's
            or _is_special(data, at, end)
            or _contains(data, at + 1, end, self._open)
        ):
            return 0
        return end + len(self._close)

    def _end_by_depth(self, limit: int) -> int:
        """Return the end of the record; 0 if it does not end within `limit` bytes."""
        buffer = self._buffer
        buffer.fill(limit)
        depth = 0
        for token in self._token.finditer(buffer.data, buffer.at, buffer.at + limit):
            match token.lastgroup:
                case "broken":
                    return 0
                case "end":
                    depth -= 1
                case "start" if not token[0].endswith(b"/>"):
                    depth += 1
            if depth == 0:
                return token.end()
        return 0

    def _to_next(self, indentation: bytes, limit: int, broken_off: str) -> tuple[bytes, int]:
        """Skip to the next start tag behind `indentation` or to the end of the root.

        Returns the skipped bytes and their number. More than `limit` bytes are cut to KEPT_BYTES.
        Raises ReadError with the reason `broken_off` at the end of the file.
        """
        buffer = self._buffer
        next_tag = re.compile(re.escape(indentation) + self._next)
        position = buffer.position
        buffer.fill(limit)
        raw = buffer.data[buffer.at : buffer.at + limit]
        buffer.at += 1
        while not (found := next_tag.search(buffer.data, buffer.at)):
            buffer.at = max(buffer.at, len(buffer.data) - _TAG_BYTES)
            if not buffer.more():
                raise self._broken_off(broken_off)
        buffer.at = found.start()
        size = buffer.position - position
        return raw[: size if size <= limit else KEPT_BYTES].rstrip(_SPACES), size

    def _broken_off(self, reason: str) -> ReadError:
        return self._buffer.fault or ReadError(self._buffer.end, reason)


def _is_special(data: bytes, at: int, end: int) -> bool:
    """Return True if a comment, CDATA section or processing instruction begins in data[at:end]."""
    # One byte is found ten times as fast as two.
    for second in (b"!", b"?"):
        found = data.find(second, at, end)
        while found >= 0:
            if data[found - 1] == _LESS_THAN:
                return True
            found = data.find(second, found + 1, end)
    return False


def _contains(data: bytes, at: int, end: int, tag: bytes) -> bool:
    """Return True if data[at:end] contains a tag of exactly this name."""
    found = data.find(tag, at, end)
    while found >= 0:
        if data[found + len(tag)] in _NAME_ENDS:
            return True
        found = data.find(tag, found + 1, end)
    return False

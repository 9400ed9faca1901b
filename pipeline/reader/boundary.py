"""Where a record ends that is not a usual one: by counting depth, or by what the next one looks like."""

import re
from collections.abc import Callable
from typing import NamedTuple

from pipeline.model import RecordType
from pipeline.reader.window import Window

#: What opens a part of XML in which tags are no tags, and what closes it.
SPECIALS = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}
#: White space of XML; other control characters are not.
SPACES = b" \t\r\n"
#: Of raw text that is set aside for its length, or that is no record at all, this much is kept.
KEPT_BYTES = 64 << 10
#: The white space before a record is remembered up to this length.
GAP_BYTES = 256

_LONGEST_TOKEN = 16
_SLASH = b"/"[0]


class Stretch(NamedTuple):
    """Bytes of a dump that were passed over: where they began, how many, and the first of them."""

    position: int
    size: int
    raw: bytes


class Boundary:
    """The tags that tell where records of one type begin and end."""

    def __init__(self, record_type: RecordType) -> None:
        name = record_type.element.encode()
        root = record_type.value.encode()
        self._root = b"</" + root
        self._own = (b"<" + name, b"</" + name)
        self._start_tag = re.compile(rb"<[^\s/>]++(?:[^<>\"']++|\"[^<\"]*+\"|'[^<']*+')*+>")
        self._token = re.compile(rb"<(?:!--|!\[CDATA\[|\?|/?(?:" + name + rb"|" + root + rb")(?=[\s/>]))")
        self._markup = re.compile(rb"<(?:!--|\?|" + name + rb"(?=[\s/>])|/" + root + rb"(?=[\s>]))")
        self._tag = re.compile(rb"<(?:" + name + rb"(?=[\s/>])|/" + root + rb"(?=[\s>]))")
        self._after_record = re.compile(rb"</" + name + rb"\s*+>\s*+\Z")

    def size(self, window: Window, limit: int) -> int | None:
        """The length in bytes of the record at the window; None if it does not end within `limit`."""
        offset = depth = roots = 0
        while True:
            end = change = 0
            found = self._token.search(window.data, window.at + offset)
            if found is None:
                offset = max(offset, len(window.data) - window.at - _LONGEST_TOKEN)
            elif found[0] == self._root and roots == 0:
                return None
            else:
                offset = found.start() - window.at
                end, change = self._step(window.data, found)
            if end:
                offset = end - window.at
                if found is not None and found[0] in self._own:
                    depth += change
                    if depth == 0:
                        return offset if offset <= limit else None
                else:
                    roots += change
            elif len(window.data) - window.at > limit or not window.more():
                return None

    def _step(self, data: bytes, token: re.Match[bytes]) -> tuple[int, int]:
        """Where the markup ends that begins with the token, 0 if out of sight; what it adds to the depth."""
        closing = SPECIALS.get(token[0])
        if closing is not None:
            found = data.find(closing, token.end())
            return (found + len(closing) if found >= 0 else 0), 0
        if token[0].startswith(b"</"):
            return data.find(b">", token.end()) + 1, -1
        tag = self._start_tag.match(data, token.start())
        if tag is None:
            return 0, 0
        return tag.end(), int(data[tag.end() - 2] != _SLASH)

    def pass_record(self, window: Window, gap: bytes, limit: int) -> Stretch | None:
        """Move on to what looks like the next record, or to the end of the root; None at the end of the file.

        That is a start tag on a line of its own indented like this record, or, where records do not begin
        on lines of their own (`gap`, the white space before this one, tells), one right after an end tag.
        """
        line = gap[gap.rfind(b"\n") :] if b"\n" in gap else None

        def looks_next(tag: bytes, before: bytes) -> bool:
            if tag == self._root:
                return True
            return before.endswith(line) if line is not None else bool(self._after_record.search(before))

        return _pass(window, self._tag, limit, looks_next)

    def pass_text(self, window: Window) -> Stretch | None:
        """Move on to a record, comment, instruction or the end of the root; None at the end of the file."""
        return _pass(window, self._markup, KEPT_BYTES, lambda *_: True)


def _pass(
    window: Window, token: re.Pattern[bytes], limit: int, accepts: Callable[[bytes, bytes], bool]
) -> Stretch | None:
    """Move to the first token that, with the bytes before it, is accepted; None at the end of the file.

    The white space before it is left, which tells where a record begins. Raw text of more than `limit` bytes is cut
    to what is kept.
    """
    position = window.position
    most_kept = min(limit, KEPT_BYTES)
    kept: bytes | None = None
    offset = 1
    while True:
        for found in token.finditer(window.data, window.at + offset):
            at = found.start()
            before = window.data[max(window.at, at - GAP_BYTES) : at]
            if accepts(found[0], before):
                raw = window.data[window.at : at] if kept is None else kept
                window.at = at - len(before) + len(before.rstrip(SPACES))
                size = at + window.start - position
                # Also where it is cut: what it is cut in may be the white space that is left.
                return Stretch(position, size, (raw if size <= limit else raw[:most_kept]).rstrip(SPACES))
        offset = max(offset, len(window.data) - window.at - _LONGEST_TOKEN)
        if kept is None and len(window.data) - window.at > limit:
            kept = window.data[window.at : window.at + most_kept]
        if kept is not None:
            forgotten = max(offset - GAP_BYTES, 0)
            window.at += forgotten
            offset -= forgotten
        if not window.more():
            return None

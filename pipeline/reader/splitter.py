"""Where records begin and end, found in bytes.

The usual record costs a few searches at the speed of memory: it holds no element of its own name, and
there is no comment, CDATA section or processing instruction near. Boundary tells where others end.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from pipeline.model import RecordType
from pipeline.reader.boundary import GAP_BYTES, SPACES, SPECIALS, Boundary
from pipeline.reader.source import BLOCK_BYTES, ReadError
from pipeline.reader.window import Window

#: A record whose raw text is longer than this is set aside, unless the caller says otherwise.
MAX_RECORD_BYTES = 4 << 20

_NAME_ENDS = b" \t\r\n/>"
_LESS_THAN = b"<"[0]
_SLASH = b"/"[0]
_HEAD_BYTES = 64
_HOPS = 4096


class Piece(NamedTuple):
    """A record as it stands in the dump; with a reason if it is none, or cannot be told from the next."""

    position: int
    raw: bytes
    reason: str | None = None


class Splitter:
    """The records of a dump in its order, from a window that stands behind the root's start tag.

    Text between records is a piece with a reason; so is a record that has no end, up to what looks like
    the start of the next one; so is one longer than `max_record_bytes`, of which only the beginning is kept.
    Iterating raises ReadError after the last piece if the dump does not end with its root's end tag.
    """

    def __init__(
        self,
        record_type: RecordType,
        window: Window,
        *,
        root_closed: bool = False,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        self._window = window
        self._boundary = Boundary(record_type)
        self._root_closed = root_closed
        self._max = max_record_bytes
        self._element = record_type.element
        self._root = record_type.value
        self._open = b"<" + record_type.element.encode()
        self._close = b"</" + record_type.element.encode() + b">"
        self._gap = b""
        self._specials = [_Ahead(partial(_find_markup, second=second)) for second in (b"!", b"?")]
        self._closing = _Ahead(partial(_find, what=self._close))

    def __iter__(self) -> Iterator[Piece]:
        window = self._window
        while not self._root_closed and self._to_markup():
            head = window.ahead(_HEAD_BYTES)
            if self._at_record(window.data, window.at):
                position = window.position
                yield from self._usual()
                while window.position == position and self._usual_with_more():
                    yield from self._usual()
                if window.position == position:
                    yield self._unusual()
            elif not self._skipped(head) and not self._left_root(head):
                yield self._text()
        if not self._root_closed:
            raise window.fault or ReadError(window.end, f"the file ends without </{self._root}>")
        while self._to_markup():
            if not self._skipped(window.ahead(_HEAD_BYTES)):
                raise ReadError(window.position, f"something follows after </{self._root}>")
        if window.fault:
            raise window.fault

    def _at_record(self, data: bytes, at: int) -> bool:
        after = at + len(self._open)
        return data.startswith(self._open, at) and after < len(data) and data[after] in _NAME_ENDS

    def _to_markup(self) -> bool:
        """Move past white space, and remember it; False at the end of the file."""
        window = self._window
        gap = b""
        while True:
            rest = window.data[window.at : window.at + GAP_BYTES]
            text = rest.lstrip(SPACES)
            spaces = len(rest) - len(text)
            gap = (gap + rest[:spaces])[-GAP_BYTES:]
            window.at += spaces
            if text:
                self._gap = gap
                return True
            if not rest and not window.more():
                return False

    def _usual(self) -> Iterator[Piece]:
        """The records at hand, as long as they are usual ones that follow one another evenly."""
        window = self._window
        data, at, start = window.data, window.at, window.start
        opening, closing, gap = self._open, self._close, self._gap
        following = gap + opening
        if self._closing.position(window) == window.end:
            return
        special = min(special.position(window) for special in self._specials) - start
        while (end := data.find(closing, at)) >= 0:
            if _is_self_closed(data, at):
                return
            nested = data.find(opening, at + 1, end)
            while nested >= 0 and data[nested + len(opening)] not in _NAME_ENDS:
                nested = data.find(opening, nested + 1, end)
            end += len(closing)
            if nested >= 0 or end > special or end - at > self._max:
                return
            window.at = end
            yield Piece(start + at, data[at:end])
            at = end + len(gap)
            if not data.startswith(following, end) or not self._at_record(data, at):
                return

    def _usual_with_more(self) -> bool:
        """Whether the record may turn out usual with the next block, which is then there."""
        window = self._window
        if len(window.data) - window.at >= BLOCK_BYTES or self._closing.position(window) < window.end:
            return False
        return not _is_self_closed(window.data, window.at) and window.more()

    def _unusual(self) -> Piece:
        window = self._window
        position = window.position
        size = self._boundary.size(window, self._max)
        if size is not None:
            window.at += size
            return Piece(position, window.data[window.at - size : window.at])
        stretch = self._boundary.pass_record(window, self._gap, self._max)
        if stretch is None:
            reason = f"the file ends inside the <{self._element}> that begins at byte {position:,}"
            raise window.fault or ReadError(window.end, reason)
        if stretch.size > self._max:
            return Piece(position, stretch.raw, f"longer than {self._max:,} bytes: {stretch.size:,}")
        return Piece(position, stretch.raw, f"<{self._element}> has no end tag of its own")

    def _text(self) -> Piece:
        stretch = self._boundary.pass_text(self._window)
        if stretch is None:
            reason = f"the file ends without </{self._root}>"
            raise self._window.fault or ReadError(self._window.end, reason)
        return Piece(stretch.position, stretch.raw, "text between records")

    def _skipped(self, head: bytes) -> bool:
        """Whether a comment or a processing instruction was here."""
        opening = next((opening for opening in (b"<!--", b"<?") if head.startswith(opening)), None)
        if opening is None:
            return False
        window = self._window
        position = window.position
        closing = SPECIALS[opening]
        window.at += len(opening)
        while (end := window.data.find(closing, window.at)) < 0:
            window.at = max(window.at, len(window.data) - len(closing) + 1)
            if not window.more():
                reason = f"the file ends inside the {opening.decode()} that begins at byte {position:,}"
                raise window.fault or ReadError(window.end, reason)
        window.at = end + len(closing)
        return True

    def _left_root(self, head: bytes) -> bool:
        """Whether the root's end tag was here."""
        name = b"</" + self._root.encode()
        if not head.startswith(name) or not head[len(name) :].lstrip(SPACES).startswith(b">"):
            return False
        self._window.at += head.index(b">") + 1
        self._root_closed = True
        return True


class _Ahead:
    """The position of the next occurrence of something, the end of what is at hand if there is none.

    Looked for again only where that may have changed: a block would otherwise be searched once a record.
    """

    def __init__(self, find: Callable[[bytes, int], int]) -> None:
        self._find = find
        self._found = self._end = -1

    def position(self, window: Window) -> int:
        if self._found < window.position or self._end != window.end:
            self._end = window.end
            self._found = window.start + self._find(window.data, window.at)
        return self._found


def _is_self_closed(data: bytes, at: int) -> bool:
    """Whether the tag ends in a slash, as far as can be told without looking at quotes."""
    end = data.find(b">", at)
    return end >= 0 and data[end - 1] == _SLASH


def _find(data: bytes, at: int, what: bytes) -> int:
    """The offset of the next occurrence, or the length of the data."""
    found = data.find(what, at)
    return found if found >= 0 else len(data)


def _find_markup(data: bytes, at: int, second: bytes) -> int:
    """The offset of the next `<` and `second`, or the length of the data.

    Looks for the second byte alone, which is ten times as fast as for two, unless it is frequent.
    """
    for _ in range(_HOPS):
        found = data.find(second, at + 1)
        if found < 0:
            return len(data)
        if data[found - 1] == _LESS_THAN:
            return found - 1
        at = found
    return _find(data, at, b"<" + second)

"""The bytes of a dump in blocks, decompressed where they are gzip."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path

from isal import isal_zlib

from pipeline.errors import DumpError, GzipBombError

#: Bytes of XML in one block.
BLOCK_BYTES = 1 << 20
#: More bytes of XML to one compressed byte than this are no dump: Discogs' dumps have about 7, deflate can have 1,032.
INFLATE_RATIO = 200
#: So much XML may be as repetitive as it likes.
ANY_RATIO_BYTES = 64 << 20

# Decompressed a few KiB at a time: what a fault takes with it is the output of one such step.
_STEP_BYTES = 8192
_MAGIC = b"\x1f\x8b"
_RAW_DEFLATE = -15
_HEADER_BYTES = 10
_TRAILER_BYTES = 8
_DEFLATED = 8
_HEADER_CHECKSUM, _EXTRA, _NAME, _COMMENT, _RESERVED = 2, 4, 8, 16, 0xE0


class ReadError(Exception):
    """The dump cannot be read beyond `position` (in bytes of XML), for `reason`; `kind` is raised to the caller."""

    def __init__(self, position: int, reason: str, kind: type[DumpError] = DumpError) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason
        self.kind = kind


class Source:
    """A file of XML, plain or gzip of any number of members: told apart by content, not by name.

    Everything is delivered that comes before a fault; the checksum of every gzip member is verified. A file that
    inflates to more than `inflate_ratio` times its size is a fault where that shows.
    Raises OSError where the file cannot be opened.
    """

    def __init__(
        self, path: Path, block_bytes: int = BLOCK_BYTES, inflate_ratio: int = INFLATE_RATIO
    ) -> None:
        self._file = BufferedReader(FileIO(path), _STEP_BYTES)
        self._block_bytes = block_bytes
        self._inflate_ratio = inflate_ratio
        #: Called again and again while the file is read.
        self.on_read: Callable[[], object] = lambda: None
        #: Bytes of the file read so far.
        self.consumed = 0
        #: Bytes of XML delivered so far.
        self.position = 0

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        self._file.close()

    def blocks(self) -> Iterator[bytes]:
        """The XML in blocks of about the size asked for; raises ReadError after the last that can be read."""
        pieces: list[bytes] = []
        held = 0
        fault: ReadError | None = None
        try:
            for piece in self._pieces():
                self.position += len(piece)
                pieces.append(piece)
                held += len(piece)
                if held >= self._block_bytes:
                    yield from self._cut(b"".join(pieces))
                    pieces, held = [], 0
        except ReadError as error:
            fault = error
        if pieces:
            yield from self._cut(b"".join(pieces))
        if fault is not None:
            raise fault

    def _cut(self, data: bytes) -> Iterator[bytes]:
        size = self._block_bytes
        if len(data) < 2 * size:
            size = len(data)
        for start in range(0, len(data), size):
            yield data[start : start + size]

    def _pieces(self) -> Iterator[bytes]:
        if self._peek()[:2] == _MAGIC:
            for piece in self._members():
                yield piece
                self._refuse_bomb()
        else:
            while data := self._take(self._block_bytes):
                yield data

    def _refuse_bomb(self) -> None:
        if self.position > max(ANY_RATIO_BYTES, self.consumed * self._inflate_ratio):
            raise ReadError(
                self.position,
                f"the gzip data inflates to more than {self._inflate_ratio:,} times its size: a gzip bomb",
                GzipBombError,
            )

    def _take(self, size: int) -> bytes:
        with self._reading():
            data = self._file.read(size)
        self.consumed += len(data)
        self.on_read()
        return data

    def _peek(self) -> bytes:
        with self._reading():
            return self._file.peek(2)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = f"the file cannot be read: {error.strerror or error}"
            raise ReadError(self.position, reason) from error

    def _members(self) -> Iterator[bytes]:
        while True:
            self._header()
            yield from self._member()
            while (ahead := self._peek()) and not ahead.strip(b"\0"):
                self._take(len(ahead))  # gzip allows padding with zeros after a member
            self._take(len(ahead) - len(ahead.lstrip(b"\0")))
            if not ahead:
                return

    def _exactly(self, size: int) -> bytes:
        data = self._take(size)
        if len(data) < size:
            raise ReadError(self.position, "the gzip file is truncated")
        return data

    def _header(self) -> None:
        """Skip the header of a member (RFC 1952, section 2.3)."""
        fixed = self._exactly(_HEADER_BYTES)
        flags = fixed[3]
        if fixed[:2] != _MAGIC:
            raise ReadError(self.position, "the gzip data is followed by something else")
        if fixed[2] != _DEFLATED or flags & _RESERVED:
            raise ReadError(self.position, "the gzip data is corrupt: unknown header")
        if flags & _EXTRA:
            self._exactly(int.from_bytes(self._exactly(2), "little"))
        for text in (_NAME, _COMMENT):
            if flags & text:
                while self._exactly(1) != b"\0":
                    pass
        if flags & _HEADER_CHECKSUM:
            self._exactly(2)

    def _member(self) -> Iterator[bytes]:
        """The content of a member, with the checksum and the length in its trailer verified."""
        inflater = isal_zlib.decompressobj(wbits=_RAW_DEFLATE)
        checksum = length = 0
        while not inflater.eof:
            compressed = self._file.peek(1)
            if not compressed:
                raise ReadError(self.position, "the gzip file is truncated")
            try:
                data = inflater.decompress(compressed)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub takes the class for an instance
                raise ReadError(self.position, f"the gzip data is corrupt: {error}") from error
            self._take(len(compressed) - len(inflater.unused_data))
            if data:
                checksum = isal_zlib.crc32(data, checksum)
                length += len(data)
                yield data
        trailer = self._exactly(_TRAILER_BYTES)
        if trailer != checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"):
            raise ReadError(self.position, "the gzip data is corrupt: its checksum does not match")

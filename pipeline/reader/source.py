"""The XML of a dump file, plain or gzip, in a sliding buffer."""

from collections.abc import Iterable, Iterator
from io import BufferedReader, FileIO
from pathlib import Path

from isal import isal_zlib

from pipeline.errors import DamagedError, DumpError, GzipBombError

#: Bytes of XML in one block, at least; it has less than twice as many.
BLOCK_BYTES = 1 << 20
#: Bytes of XML per compressed byte, at most. Discogs' dumps have about 7, deflate reaches 1,032.
INFLATE_RATIO = 200
#: The ratio is not checked before this many bytes of XML.
ANY_RATIO_BYTES = 64 << 20
#: Consumed bytes that a buffer keeps for looking back.
LOOK_BACK_BYTES = 256

# Small, because a corrupt step is lost as a whole.
_STEP_BYTES = 8192
_MAGIC = b"\x1f\x8b"
_RAW_DEFLATE = -15
_HEADER_BYTES = 10
_TRAILER_BYTES = 8
_DEFLATED = 8
_HEADER_CHECKSUM, _EXTRA, _NAME, _COMMENT, _RESERVED = 2, 4, 8, 16, 0xE0


class ReadError(Exception):
    """The dump cannot be read beyond `position` (bytes of XML); callers get it as `kind`."""

    def __init__(
        self, position: int, reason: str, kind: type[DumpError] = DumpError, verified: int = 0
    ) -> None:
        super().__init__(position, reason)
        self.position = position
        self.reason = reason
        self.kind = kind
        #: For damage: the XML before this byte has a checksum that matches.
        self.verified = verified


class Source:
    """A file of XML, plain or gzip, recognised by its content.

    A gzip file has any number of members.
    Delivers everything before a fault, and verifies the checksum of every gzip member.
    A file that inflates to more than `inflate_ratio` times its size is a fault.
    Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: Path, block_bytes: int, inflate_ratio: int) -> None:
        self._path = path
        self._file = BufferedReader(FileIO(path), _STEP_BYTES)
        self._block_bytes = block_bytes
        self._inflate_ratio = inflate_ratio
        #: Bytes of the file read so far.
        self.consumed = 0
        #: Bytes of XML decompressed so far.
        self.position = 0
        self._is_gzip, self._verified = False, 0

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()

    def damage(self) -> ReadError | None:
        """Read a gzip file once more, to its end; return its fault, if any."""
        if not self._is_gzip:
            return None
        try:
            again = Source(self._path, self._block_bytes, self._inflate_ratio)
        except OSError:
            return None  # nobody can tell any more: it was moved or deleted
        try:
            for _ in again.blocks():
                pass
        except ReadError as error:
            # Corrupt data may also seem to be cut off, or to be followed by something else.
            return None if error.kind is GzipBombError else error
        finally:
            again.close()
        return None

    def blocks(self) -> Iterator[bytes]:
        """Yield the XML in blocks; raise ReadError after the last block before a fault."""
        parts, size = list[bytes](), 0
        fault: ReadError | None = None
        try:
            for data in self._content():
                self.position += len(data)
                for at in range(0, len(data), self._block_bytes):
                    parts.append(data[at : at + self._block_bytes])
                    size += len(parts[-1])
                    if size >= self._block_bytes:
                        yield b"".join(parts)
                        parts, size = [], 0
        except ReadError as error:
            fault = error
        if parts:
            yield b"".join(parts)
        if fault is not None:
            raise fault

    def _content(self) -> Iterator[bytes]:
        self._is_gzip = self._peek(2) == _MAGIC
        if self._is_gzip:
            yield from self._members()
        else:
            while data := self._read(self._block_bytes):
                yield data

    def _members(self) -> Iterator[bytes]:
        while True:
            self._verified = self.position
            self._skip_header()
            for data in self._member():
                yield data
                self._refuse_bomb()
            while (ahead := self._peek()) and not ahead.strip(b"\0"):
                self._read(len(ahead))  # gzip allows padding with zeros after a member
            self._read(len(ahead) - len(ahead.lstrip(b"\0")))
            if not ahead:
                return

    def _skip_header(self) -> None:
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
        """Yield the content of a member; verify the checksum and the length in its trailer."""
        # The library's own check of the trailer would lose the data of the last step.
        inflater = isal_zlib.decompressobj(wbits=_RAW_DEFLATE)
        checksum = length = 0
        while not inflater.eof:
            compressed = self._peek()
            if not compressed:
                raise ReadError(self.position, "the gzip file is truncated")
            try:
                data = inflater.decompress(compressed)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub takes the class for an instance
                raise self._damaged(str(error)) from error
            self._read(len(compressed) - len(inflater.unused_data))
            if data:
                checksum = isal_zlib.crc32(data, checksum)
                length += len(data)
                yield data
        trailer = self._exactly(_TRAILER_BYTES)
        if trailer != checksum.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"):
            raise self._damaged("its checksum does not match")

    def _damaged(self, reason: str) -> ReadError:
        return ReadError(self.position, f"the gzip data is corrupt: {reason}", DamagedError, self._verified)

    def _refuse_bomb(self) -> None:
        if self.position > max(ANY_RATIO_BYTES, self.consumed * self._inflate_ratio):
            raise ReadError(
                self.position,
                f"the gzip data inflates to more than {self._inflate_ratio:,} times its size: a gzip bomb",
                GzipBombError,
            )

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) < size:
            raise ReadError(self.position, "the gzip file is truncated")
        return data

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from error
        self.consumed += len(data)
        return data

    def _peek(self, size: int | None = None) -> bytes:
        """Return the next buffered bytes, or the next `size`, without consuming them."""
        try:
            return self._file.peek(1)[:size]
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> ReadError:
        return ReadError(self.position, f"the file cannot be read: {error.strerror or error}")


class Buffer:
    """A sliding part of the XML: `data[at:]` is not consumed yet, and grows on demand.

    `position` and `end` count bytes from the start of the XML.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._start = 0
        self.data = b""
        #: Offset in `data` of the first byte that is not consumed.
        self.at = 0
        #: The error that ended the file early.
        self.fault: ReadError | None = None

    @property
    def position(self) -> int:
        """Position of the first byte that is not consumed."""
        return self._start + self.at

    @property
    def end(self) -> int:
        """Position after the last byte of `data`."""
        return self._start + len(self.data)

    def fill(self, size: int) -> None:
        """Read until `size` bytes are not consumed, or to the end of the file."""
        missing = size - (len(self.data) - self.at)
        if missing <= 0:
            return
        dropped = max(self.at - LOOK_BACK_BYTES, 0)
        blocks = [self.data[dropped:]]
        try:
            while missing > 0 and (block := next(self._blocks, b"")):
                blocks.append(block)
                missing -= len(block)
        except ReadError as fault:
            self.fault = fault
        self.data = b"".join(blocks)
        self._start += dropped
        self.at -= dropped

    def more(self) -> bool:
        """Append a block; return False at the end of the file or at a fault."""
        end = self.end
        self.fill(len(self.data) - self.at + 1)
        return self.end > end

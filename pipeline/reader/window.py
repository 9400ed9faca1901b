"""The part of a dump that is being looked at: a few blocks of bytes that move along the file."""

from collections.abc import Iterator

from pipeline.reader.source import ReadError


class Window:
    """Bytes of a dump from position `start`, of which those from offset `at` are not used up yet.

    Grows by a block at a time on demand and forgets what is used up when it grows.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        #: The bytes at hand.
        self.data = b""
        #: The position of `data[0]` in the dump.
        self.start = 0
        #: The offset in `data` of the first byte not used up.
        self.at = 0
        #: Why there are no more bytes, where that is not the plain end of the file.
        self.fault: ReadError | None = None
        self._ended = False

    @property
    def position(self) -> int:
        """The position in the dump of the first byte that is not used up."""
        return self.start + self.at

    @property
    def end(self) -> int:
        """The position in the dump after the last byte at hand."""
        return self.start + len(self.data)

    def more(self) -> bool:
        """Append the next block; False at the end of the file or at a fault. Moves `at` to 0."""
        if self._ended:
            return False
        try:
            block = next(self._blocks, b"")
        except ReadError as fault:
            self.fault = fault
            block = b""
        if not block:
            self._ended = True
            return False
        self.start += self.at
        self.data = self.data[self.at :] + block
        self.at = 0
        return True

    def ahead(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the file; they stay unused."""
        while len(self.data) - self.at < size and self.more():
            pass
        return self.data[self.at : self.at + size]

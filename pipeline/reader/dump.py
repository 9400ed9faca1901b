"""A dump as chunks of records, read once from its beginning to its end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import DumpError
from pipeline.model import Chunk, RecordType, Rejected
from pipeline.reader.prolog import read_prolog
from pipeline.reader.source import BLOCK_BYTES, INFLATE_RATIO, ReadError, Source
from pipeline.reader.splitter import MAX_RECORD_BYTES, Piece, Splitter
from pipeline.reader.window import Window
from pipeline.records.accept import legible_id
from pipeline.records.identity import IdentityError, identity


class Dump:
    """An open dump; a context manager that closes the file. Get one from open_dump."""

    def __init__(self, path: Path, source: Source, record_type: RecordType, pieces: Iterator[Piece]) -> None:
        self.path = path
        #: Bytes of the file, compressed if it is.
        self.size = path.stat().st_size
        self.record_type = record_type
        self._source = source
        self._pieces = pieces
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        self._source.close()

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far, out of `size`."""
        return self._source.consumed

    def chunks(
        self, records: int, size_bytes: int, on_read: Callable[[], object] = lambda: None
    ) -> Iterator[Chunk]:
        """The records not read yet, at most `records` in a chunk, or as many as reach `size_bytes` of XML.

        A record longer than half of that begins a chunk. What was set aside counts like a record. Records
        before a fault are all delivered; then DumpError is raised. Its message says how many there were.
        A chunk may hold only what was set aside. `on_read` is called again and again while the file is read, also where that
        yields nothing for long.
        """
        if records < 1 or size_bytes < 1:
            raise ValueError("a chunk holds at least one record")
        self._source.on_read = on_read
        error: DumpError | None = None
        chunk, size = self._empty(), 0
        try:
            for piece in self._pieces:
                if size and len(piece.raw) > size_bytes // 2:
                    yield chunk
                    chunk, size = self._empty(), 0
                self._add(chunk, piece)
                size += len(piece.raw)
                # A long record is not held while the next one is read.
                del piece
                if size >= size_bytes or len(chunk.ids) + len(chunk.rejected) >= records:
                    yield chunk
                    chunk, size = self._empty(), 0
        except ReadError as fault:
            error = fault.kind(self.path, fault.position, f"{fault.reason}; {self._kept()}")
            error.__cause__ = fault.__cause__
        if chunk.ids or chunk.rejected:
            yield chunk
        if error is not None:
            raise error

    def _empty(self) -> Chunk:
        return Chunk(self.record_type, [], [], [])

    def _add(self, chunk: Chunk, piece: Piece) -> None:
        position, raw, reason = piece
        self._read += 1
        if reason is None:
            try:
                number = identity(self.record_type, raw)
            except IdentityError as error:
                reason = str(error)
            else:
                chunk.ids.append(number)
                chunk.positions.append(position)
                chunk.records.append(raw)
                return
        chunk.rejected.append(Rejected(position, reason, raw))

    def _kept(self) -> str:
        if self._read == 1:
            return "the one record before that was read"
        return f"the {self._read:,} records before that were read"


def ids_in(chunk: Chunk) -> Iterator[int]:
    """The ids of a chunk's records, and of those set aside where they are legible."""
    yield from chunk.ids
    for rejected in chunk.rejected:
        if (number := legible_id(chunk.record_type, rejected.raw)) is not None:
            yield number


def open_dump(
    path: Path | str,
    *,
    block_bytes: int = BLOCK_BYTES,
    max_record_bytes: int = MAX_RECORD_BYTES,
    inflate_ratio: int = INFLATE_RATIO,
) -> Dump:
    """Open a dump, gzip or plain XML, whatever its name, and tell its record type by its root element.

    Raises DumpError where no dump begins; nothing of such a file is delivered. The dump is closed by its
    context manager. Blocks of `block_bytes` of XML are held at a time, a record of up to
    `max_record_bytes` at most: longer ones are set aside. A gzip file that inflates to more than `inflate_ratio`
    times its size is read up to where that shows.
    """
    path = Path(path)
    try:
        source = Source(path, block_bytes, inflate_ratio)
    except OSError as error:
        raise DumpError(path, 0, f"the file cannot be opened: {error.strerror}") from error
    window = Window(source.blocks())
    try:
        record_type, root_closed = read_prolog(window)
        splitter = Splitter(record_type, window, root_closed=root_closed, max_record_bytes=max_record_bytes)
        return Dump(path, source, record_type, iter(splitter))
    except ReadError as fault:
        source.close()
        raise fault.kind(path, fault.position, fault.reason) from fault.__cause__

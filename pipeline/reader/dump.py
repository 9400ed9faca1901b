"""A dump file as chunks of records; the dumps in files and folders."""

import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.chunk import MAX_RECORD_BYTES, Chunk, Rejected
from pipeline.errors import DamagedError, DumpError, UnreadableError
from pipeline.model import RecordType
from pipeline.reader.prolog import read_prolog
from pipeline.reader.source import BLOCK_BYTES, INFLATE_RATIO, Buffer, ReadError, Source
from pipeline.reader.splitter import RawRecord, Splitter
from pipeline.records.identity import IdentityError, identity


class Dump:
    """An open dump, from `open_dump`. The context manager closes the file."""

    def __init__(
        self, path: Path, source: Source, record_type: RecordType, splitter: Splitter, *, tracks: bool
    ) -> None:
        self.path = path
        #: Bytes of the file as stored, compressed or not.
        self.size = path.stat().st_size
        self.record_type = record_type
        self._source = source
        self._splitter = splitter
        self._tracks = tracks
        self._records = iter(splitter)
        #: The number of records before the chunk in progress.
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        self._source.close()

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far, at most `size`."""
        return self._source.consumed

    def chunks(self, records: int, size_bytes: int) -> Iterator[Chunk]:
        """Yield the remaining records in chunks of at most `records` records.

        A chunk ends when its XML reaches `size_bytes`. A record longer than half of that starts a chunk.
        Rejected records count; a chunk may hold nothing else.
        Raises DumpError after all records before a fault; its message gives their number. Damage of a gzip file shows
        late: reading ends at the first rejected record, and records of the last chunk that may be wrong are left out.
        """
        if records < 1 or size_bytes < 1:
            raise ValueError("a chunk holds at least one record")
        error: DumpError | None = None
        chunk, size = self._empty(), 0
        try:
            while True:
                taken = self._splitter.take_plain(chunk, records, size_bytes - size)
                if not taken:
                    record = next(self._records, None)
                    if record is None:
                        break
                    if size and len(record.raw) > size_bytes // 2:
                        self._read += len(chunk)
                        yield chunk
                        chunk, size = self._empty(), 0
                    self._add(chunk, record)
                    taken = len(record.raw)
                    # Two long records need not be in memory at once.
                    del record
                size += taken
                if size >= size_bytes or len(chunk) >= records:
                    self._read += len(chunk)
                    yield chunk
                    chunk, size = self._empty(), 0
        except ReadError as fault:
            chunk, error = self._broken_off(chunk, fault)
        if len(chunk):
            yield chunk
        if error is not None:
            raise error

    def _empty(self) -> Chunk:
        return Chunk(self.record_type, [], [], [], tracks=self._tracks)

    def _broken_off(self, chunk: Chunk, fault: ReadError) -> tuple[Chunk, DumpError]:
        """Return the last chunk, without doubtful records, and the error for callers."""
        doubt = ""
        if fault.kind is DamagedError:
            chunk = chunk.before(fault.verified)
            after = f" after byte {fault.verified:,}" if fault.verified else ""
            doubt = f", and may be wrong{after}" if self._read + len(chunk) else ""
        read = _number(self._read + len(chunk))
        error = fault.kind(self.path, fault.position, f"{fault.reason}; {read}{doubt}")
        error.__cause__ = fault.__cause__
        return chunk, error

    def _add(self, chunk: Chunk, record: RawRecord) -> None:
        position, raw, reason = record
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
        if self._damage is not None and position >= self._damage.verified:
            raise ReadError(position, self._damage.reason, DamagedError, self._damage.verified)
        chunk.rejected.append(Rejected(position, reason, raw))

    @cached_property
    def _damage(self) -> ReadError | None:
        """The fault of a gzip file; the first rejected record has all of it read."""
        return self._source.damage()


def _number(read: int) -> str:
    if read == 0:
        return "no record before that was read"
    if read == 1:
        return "the one record before that was read"
    return f"the {read:,} records before that were read"


def open_dump(
    path: Path | str,
    *,
    block_bytes: int = BLOCK_BYTES,
    max_record_bytes: int = MAX_RECORD_BYTES,
    inflate_ratio: int = INFLATE_RATIO,
    tracks: bool = True,
) -> Dump:
    """Open a dump, gzip or plain XML. The root element decides its record type.

    XML is read in blocks of `block_bytes`. Records longer than `max_record_bytes` are rejected.
    `tracks` becomes that of its chunks.
    A gzip file that inflates to more than `inflate_ratio` times its size ends in GzipBombError.
    Raises DumpError if the file is not a dump, UnreadableError if it cannot be opened.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            # To open a FIFO waits for its writer, and a device may have no end.
            raise DumpError(path, 0, "not a file, but a FIFO, a socket or a device")
        source = Source(path, block_bytes, inflate_ratio)
    except OSError as error:
        raise UnreadableError(path, 0, f"the file cannot be opened: {error.strerror}") from error
    buffer = Buffer(source.blocks())
    try:
        record_type, root_closed = read_prolog(buffer)
        splitter = Splitter(record_type, buffer, root_closed=root_closed, max_record_bytes=max_record_bytes)
        return Dump(path, source, record_type, splitter, tracks=tracks)
    except ReadError as fault:
        source.close()
        raise fault.kind(path, fault.position, fault.reason) from fault.__cause__


def find_dumps(paths: Sequence[Path]) -> list[Path]:
    """Return the dumps in load order: artists, labels, masters, releases.

    Within a type the order of `paths` stays. A folder stands for its `.xml` and `.xml.gz` files in the order of their
    names, so that the newest month comes last; hidden files are left out. Each file is opened to read its record type.

    Raises:
        DumpError: a file is not a dump, its path is not UTF-8, or a folder holds no dump.
    """
    order, found = list(RecordType), list[tuple[int, Path]]()
    for path in paths:
        for file in _files(path):
            _check_path(file.absolute())
            with open_dump(file) as dump:
                found.append((order.index(dump.record_type), file))
    found.sort(key=lambda entry: entry[0])
    return [file for _, file in found]


def _check_path(path: Path) -> None:
    """Raise DumpError for a path that JSON cannot hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DumpError(path, 0, "the path is not UTF-8") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    # macOS puts a hidden file beside each file on a foreign disk: `._x.xml` beside `x.xml`.
    files = sorted(
        file
        for file in path.iterdir()
        if file.name.endswith((".xml", ".xml.gz")) and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise DumpError(path, 0, "the folder holds no .xml or .xml.gz file")
    return files

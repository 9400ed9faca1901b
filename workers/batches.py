"""Records of a dump become chunks and batches, which are sent."""

from dataclasses import replace

from pipeline.chunk import Chunk
from pipeline.model import RecordType
from workers.sender import Sender
from workers.settings import Settings
from workers.state.encoding import pack
from workers.state.in_flight import BatchMeta


class Batches:
    """The batches of one run, numbered from 1; `prefix` begins their names."""

    def __init__(
        self, sender: Sender, settings: Settings, record_type: RecordType, run: str, source: str, prefix: str
    ) -> None:
        self._sender = sender
        self._settings = settings
        self._run = run
        self._source = source
        self._prefix = prefix
        self._sent = 0
        #: The chunk that is being filled, and the bytes of its records.
        self._chunk = Chunk(record_type, [], [], [], tracks=settings.tracks)
        self._bytes = 0
        #: The batch that is being filled: its chunks, their numbers of records, and the ids in it.
        self._chunks: list[bytes] = []
        self._records: list[int] = []
        self._ids: set[int] = set()

    def add(self, some: Chunk) -> None:
        """Add records; send a batch when its last chunk has no space for them."""
        size = sum(map(len, some.records)) + sum(len(each.raw) for each in some.rejected)
        records, settings = len(self._chunk) + len(some), self._settings
        if records > settings.chunk_records or self._bytes + size > settings.chunk_bytes:
            self._end_chunk()
        self._chunk.extend(some)
        self._bytes += size

    def send(self) -> None:
        """Send what is left."""
        self._end_chunk()
        self._send()

    def _end_chunk(self) -> None:
        chunk = self._chunk
        if not len(chunk):
            return
        # A record that comes again waits for the next batch, and so counts as the newer one.
        if not self._ids.isdisjoint(chunk.ids):
            self._send()
        self._chunks.append(pack(chunk))
        self._records.append(len(chunk))
        self._ids.update(chunk.ids)
        self._chunk, self._bytes = replace(chunk, positions=[], ids=[], records=[], rejected=[]), 0
        if len(self._chunks) == self._settings.chunks_per_batch:
            self._send()

    def _send(self) -> None:
        if self._chunks:
            self._sent += 1
            meta = BatchMeta(self._chunk.record_type, self._run, self._source, self._records)
            self._sender.send(f"{self._prefix}-{self._sent}", meta, self._chunks, self._ids)
            self._chunks, self._records, self._ids = [], [], set()

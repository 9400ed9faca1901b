"""The comparison of a dump with the graph, by fingerprints, while the dump is read."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from types import TracebackType
from typing import NamedTuple, Self

from pyroaring import BitMap64

from pipeline.chunk import Chunk
from pipeline.errors import DumpError, GraphError, GraphUnavailable
from pipeline.graph.lookup import fingerprints
from pipeline.graph.summary import node_counts, relationship_counts
from pipeline.reader.ids import DumpIds
from pipeline.records.normalise import fingerprint
from workers.loop import EventLoop
from workers.settings import Settings
from workers.state.runs import GraphSize
from workers.worker import open_driver

#: Chunks that are read while Neo4j answers for those before.
AHEAD = 2
#: Neo4j is slow, or away, when it has not answered for so long.
SLOW_SECONDS = 1.0
#: The load does not wait longer for the size of the graph, which it could do without.
COUNT_SECONDS = 5.0
#: Pause after an error that passes; the driver has waited by itself before.
RETRY_SECONDS = 1.0


class Fingerprints:
    """Asks Neo4j for fingerprints, on an event loop of its own. Use it in `with`."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_seconds = settings.batch_timeout_seconds
        #: It owns the driver.
        self.loop = EventLoop(lambda: open_driver(settings))
        self._threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="fingerprints")

    def __enter__(self) -> Self:
        self.loop.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.stop()
        self._threads.shutdown(cancel_futures=True)

    def ask(self, chunk: Chunk) -> Future[dict[int, int]]:
        """Ask for the fingerprints that the graph has of the records of a chunk.

        Waits for Neo4j without limit. The future may raise GraphRejected.
        """
        return self._threads.submit(copy_context().run, lambda: self.loop.run(self._answer(chunk)))

    def graph_size(self) -> GraphSize | None:
        """Return the size of the graph; None if Neo4j does not answer soon, or refuses."""
        try:
            return self.loop.run(self._graph_size(), timeout_seconds=COUNT_SECONDS)
        except (GraphError, TimeoutError):
            return None

    async def _graph_size(self) -> GraphSize:
        driver = self.loop.resource
        return GraphSize(await node_counts(driver), await relationship_counts(driver))

    async def _answer(self, chunk: Chunk) -> dict[int, int]:
        while True:
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    return await fingerprints(self.loop.resource, chunk.record_type, chunk.ids)
            except (GraphUnavailable, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)


class Compared(NamedTuple):
    """A chunk that has been compared with the graph."""

    #: The records that the graph may lack, and the rejected ones.
    lacked: Chunk
    #: The ids of records that the graph has in this version.
    unchanged: set[int]
    #: The number of records that the graph has in a version that was accepted later.
    outdated: int


class Comparison:
    """The comparison of one dump with the graph.

    Nothing may be in flight when it begins. `newer` are the ids of records that were accepted after the dump.
    """

    def __init__(self, graph: Fingerprints, newer: BitMap64, on_wait: Callable[[str], None]) -> None:
        self._graph = graph
        self._newer = newer
        self._on_wait = on_wait
        #: The ids of the dump so far.
        self.ids = DumpIds()

    def compare(self, chunks: Iterator[Chunk]) -> Iterator[Compared]:
        """Yield each chunk compared; `on_wait` is called again and again while Neo4j does not answer.

        A DumpError of `chunks` is raised after the chunks before it.
        """
        asked: deque[tuple[Chunk, Future[dict[int, int]]]] = deque()
        fault = None
        try:
            for chunk in chunks:
                asked.append((chunk, self._graph.ask(chunk)))
                del chunk  # not while the next one is read
                if len(asked) > AHEAD:
                    yield self._compare(*asked.popleft())
        except DumpError as error:
            fault = error
        while asked:
            yield self._compare(*asked.popleft())
        if fault is not None:
            raise fault

    def _compare(self, chunk: Chunk, answer: Future[dict[int, int]]) -> Compared:
        while not wait([answer], SLOW_SECONDS).done:
            self._on_wait("Neo4j")
        known, ids = answer.result(), BitMap64(chunk.ids)
        # This load may have sent another version of an id that comes again: it is sent again too.
        again = BitMap64() if self.ids.ids.isdisjoint(ids) else self.ids.ids & ids
        if len(ids) < len(chunk.ids):
            again.update(id_ for id_, times in Counter(chunk.ids).items() if times > 1)
        for id_ in again:
            known.pop(id_, None)
        self.ids.add(chunk)
        lacked = chunk if self._newer.isdisjoint(ids) else chunk.without(self._newer)
        outdated = len(chunk.ids) - len(lacked.ids)
        unchanged = {
            id_
            for id_, raw in zip(lacked.ids, lacked.records, strict=True)
            if known.get(id_) == fingerprint(chunk.record_type, raw, tracks=chunk.tracks)
        }
        return Compared(lacked.without(unchanged) if unchanged else lacked, unchanged, outdated)

"""How much one transaction may hold: less where the server is short of memory or locks collide, more again as it goes well."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from pipeline.errors import GraphOverloaded

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Fewer records than this in a transaction are not the server's trouble: then waiting helps.
LEAST_RECORDS = 10
#: More than any batch has.
MOST_RECORDS = 100_000


class BatchSize:
    """The size of one worker process; used on its event loop only."""

    def __init__(self) -> None:
        self.records = MOST_RECORDS

    async def in_parts(
        self, items: Sequence[Item], write: Callable[[Sequence[Item]], Awaitable[Result]]
    ) -> AsyncIterator[Result]:
        """Give what `write` returns for each part of the items, one after the other; a part that is too much is halved.

        Raises GraphOverloaded where even the smallest part is too much.
        """
        at = 0
        while at < len(items):
            part = items[at : at + self.records]
            try:
                result = await write(part)
            except GraphOverloaded as error:
                if len(part) <= LEAST_RECORDS:
                    raise
                self.records = max(LEAST_RECORDS, len(part) // 2)
                logger.warning(
                    "%d records were too much for Neo4j at once, now %d: %s",
                    len(part),
                    self.records,
                    error,
                )
                continue
            self.records = min(MOST_RECORDS, self.records + self.records // 10)
            at += len(part)
            yield result

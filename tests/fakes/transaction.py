"""`neo4j.AsyncManagedTransaction`, as far as the product uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from neo4j import Query
from neo4j.exceptions import TransactionError

from tests.fakes.exclusive import Exclusive
from tests.fakes.result import FakeAsyncResult
from tests.fakes.server import FakeServer, Work


class FakeAsyncManagedTransaction:
    """The transaction that a transaction function gets; the session commits or rolls it back."""

    def __init__(self, server: FakeServer, work: Work, on_end: Callable[[], None]) -> None:
        self._server = server
        self._work = work
        self._on_end = on_end
        self._exclusive = Exclusive(self)
        self._results: list[FakeAsyncResult] = []
        self._error: BaseException | None = None
        self._closed = False

    async def run(
        self, query: str, parameters: dict[str, Any] | None = None, **kwparameters: Any
    ) -> FakeAsyncResult:
        """Send a statement; raises at once what the server says to it."""
        with self._exclusive():
            if isinstance(query, Query):
                raise TypeError("Query object is only supported for session.run")
            self._check_state()
            try:
                reply = await self._server.run(self._work, query, {**(parameters or {}), **kwparameters})
            except BaseException as error:
                self._fail(error)
                raise
            result = FakeAsyncResult(self._server, reply, self._on_summary, self._fail)
            self._results.append(result)
            return result

    # -- what the session calls

    async def _commit(self) -> None:
        self._check_state()
        try:
            for result in self._results:
                await result._end()
            await self._server.commit(self._work)
        finally:
            self._end()

    def _close(self) -> None:
        """Roll back, unless it is over already; results of a transaction that failed stay failed."""
        if not self._closed:
            for result in self._results:
                result._drop()
            self._end()

    def _end(self) -> None:
        self._closed = True
        self._server.roll_back(self._work)
        self._on_end()

    async def _on_summary(self) -> None:
        """A statement's summary changes nothing for its transaction."""

    def _fail(self, error: BaseException) -> None:
        self._error = error
        for result in self._results:
            result._fail(error)
        self._server.roll_back(self._work)
        if isinstance(error, asyncio.CancelledError):
            self._end()

    def _check_state(self) -> None:
        if self._closed:
            raise TransactionError(self, "Transaction closed")
        if self._error is not None:
            raise TransactionError(self, "Transaction failed") from self._error

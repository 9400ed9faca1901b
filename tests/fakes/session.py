"""`neo4j.AsyncSession`, as far as the product uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from warnings import warn

from neo4j import Query
from neo4j._conf import SessionConfig
from neo4j.exceptions import DriverError, Neo4jError, SessionError, TransactionError

from tests.fakes.exclusive import Exclusive
from tests.fakes.result import FakeAsyncResult
from tests.fakes.server import FakeServer
from tests.fakes.transaction import FakeAsyncManagedTransaction

P = ParamSpec("P")
R = TypeVar("R")


class FakeAsyncSession:
    """One conversation with the server, for one task at a time.

    Waiting between attempts takes no time here; the budget for them is counted all the same.
    """

    def __init__(self, server: FakeServer, config: SessionConfig) -> None:
        self._server = server
        self._config = config
        self._exclusive = Exclusive(self)
        self._transaction: FakeAsyncManagedTransaction | None = None
        self._result: FakeAsyncResult | None = None
        self._closed = False
        server.opened(self)

    def __del__(self) -> None:
        if not self._closed:
            warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._cancel()
            self._closed = True
            return
        await self._close(check_read=kind is None)

    async def close(self) -> None:
        """Consume an unread result and roll back an open transaction.

        Errors of the server are swallowed. A second call does nothing.
        """
        await self._close(check_read=True)

    async def _close(self, *, check_read: bool) -> None:
        with self._exclusive():
            if self._closed:
                return
            result, self._result = self._result, None
            if self._transaction is not None:
                self._transaction._close()
            self._closed = True
            if result is None:
                return
            try:
                if check_read:
                    result._check_read()
            finally:
                with suppress(Neo4jError, DriverError):
                    await result.consume()

    async def run(
        self, query: str | Query, parameters: dict[str, Any] | None = None, **kwargs: Any
    ) -> FakeAsyncResult:
        """Run a statement in its own transaction; it commits once its result is read."""
        with self._exclusive():
            self._check_state()
            if not query:
                raise ValueError("Cannot run an empty query")
            if not isinstance(query, str | Query):
                raise TypeError("query must be a string or a Query instance")
            if self._transaction is not None:
                raise TransactionError(self._transaction, "Explicit transaction already open")
            if self._result is not None:
                await self._result._buffer_all()
            work = await self._server.begin()

            async def committed() -> None:
                await self._server.commit(work)
                self._result = None

            def failed(_: BaseException) -> None:
                self._server.roll_back(work)
                self._result = None

            try:
                reply = await self._server.run(work, str(query), {**(parameters or {}), **kwargs})
            except BaseException as error:
                failed(error)
                raise
            self._result = FakeAsyncResult(self._server, reply, committed, failed)
            return self._result

    async def execute_read(
        self,
        transaction_function: Callable[Concatenate[FakeAsyncManagedTransaction, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """As `execute_write`; that a reading transaction may not write is the server's business."""
        with self._exclusive():
            return await self._run_transaction(transaction_function, args, kwargs)

    async def execute_write(
        self,
        transaction_function: Callable[Concatenate[FakeAsyncManagedTransaction, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Call the function with a transaction and commit; retry all after a passing error."""
        with self._exclusive():
            return await self._run_transaction(transaction_function, args, kwargs)

    async def _run_transaction(
        self, function: Callable[..., Awaitable[R]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        self._check_state()
        if not callable(function):
            raise TypeError("Unit of work is not callable")
        waited_seconds = 0.0
        pause_seconds: float = self._config.initial_retry_delay
        while True:
            try:
                return await self._attempt(function, args, kwargs)
            except (DriverError, Neo4jError) as error:
                if not error.is_retryable() or waited_seconds >= self._config.max_transaction_retry_time:
                    raise
            waited_seconds += pause_seconds
            pause_seconds *= self._config.retry_delay_multiplier

    async def _attempt(
        self, function: Callable[..., Awaitable[R]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R:
        transaction = FakeAsyncManagedTransaction(self._server, await self._server.begin(), self._on_end)
        self._transaction = transaction
        try:
            value = await function(transaction, *args, **kwargs)
        except asyncio.CancelledError:
            self._cancel()
            raise
        except Exception:
            transaction._close()
            raise
        await transaction._commit()
        return value

    def _on_end(self) -> None:
        self._transaction = None

    def _cancel(self) -> None:
        """Drop everything without a message; the server rolls back when the connection is gone."""
        self._result = None
        if self._transaction is not None:
            self._transaction._close()

    def _check_state(self) -> None:
        if self._closed:
            raise SessionError(self, "Session closed")

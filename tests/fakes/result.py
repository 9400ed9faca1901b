"""`neo4j.AsyncResult`, as far as the product uses it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from warnings import warn

import neo4j
from neo4j.exceptions import ResultConsumedError, ResultFailedError, ResultNotSingleError

from tests.fakes.exclusive import Exclusive
from tests.fakes.faults import Moment
from tests.fakes.server import FakeServer, Reply, UnreadResultError

_OUT_OF_SCOPE = "The result is out of scope. The associated transaction has been closed."
_CONSUMED = "The result has been consumed. Fetch all needed records before calling Result.consume()."
_FAILED = "This result or another one of the same transaction has failed."


def record(row: Mapping[str, Any]) -> neo4j.Record:
    """A record of these values, under the row's keys."""
    return neo4j.Record(row)  # type: ignore[no-untyped-call]  # the driver's own, untyped


class FakeAsyncResult:
    """The records of one statement, until its transaction ends.

    Like the real one it is attached to the server until its summary has arrived, which takes reading past the last
    record; it is then exhausted, may be asked again, and gives nothing.
    """

    def __init__(
        self,
        server: FakeServer,
        reply: Reply,
        on_summary: Callable[[], Awaitable[None]],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self._server = server
        self._reply = reply
        self._on_summary = on_summary
        self._on_error = on_error
        self._records = deque(record(row) for row in reply.rows)
        self._exclusive = Exclusive(self)
        self._attached = True
        self._exhausted = False
        self._consumed = False
        self._out_of_scope = False
        self._failure: BaseException | None = None

    async def __aiter__(self) -> AsyncIterator[neo4j.Record]:
        """Each record once, whoever asks; an error of the server comes where its record would."""
        while self._records or self._attached:
            with self._exclusive():
                if not self._records:
                    await self._fetch_summary()
                    continue
                next_record = self._records.popleft()
            yield next_record
        self._exhausted = True
        if self._failure is not None:
            raise ResultFailedError(self, _FAILED) from self._failure
        self._check_state()

    async def single(self, strict: bool = False) -> neo4j.Record | None:
        """The next record, the others discarded; `strict` insists on exactly one."""
        with self._exclusive():
            self._check_state()
            records = [each async for each in self]
        if strict and len(records) != 1:
            raise ResultNotSingleError(self, f"{len(records)} records found, exactly one expected.")
        if len(records) > 1:
            warn("Expected a result with a single record, but found multiple.", stacklevel=2)
        return records[0] if records else None

    async def consume(self) -> neo4j.ResultSummary:
        """Discard what is left; afterwards the records cannot be asked for any more."""
        with self._exclusive():
            if self._out_of_scope:
                raise ResultConsumedError(self, _OUT_OF_SCOPE)
            if not self._consumed:
                await self._exhaust()
                self._consumed = True
            return self._summary()

    # -- what the transaction and the session call

    async def _buffer_all(self) -> None:
        records = deque([each async for each in self])
        self._records = records
        self._exhausted = not records

    async def _exhaust(self) -> None:
        if not self._exhausted:
            self._records.clear()
            async for _ in self:
                pass

    async def _end(self) -> None:
        self._check_read()
        await self._exhaust()
        self._out_of_scope = True

    def _drop(self) -> None:
        if self._failure is None:
            self._attached = False
            self._records.clear()
            self._out_of_scope = True

    def _check_read(self) -> None:
        if self._server.strict and not self._exhausted:
            raise UnreadResultError(f"nobody read the result of {self._reply.statement.text!r} to its end")

    def _fail(self, error: BaseException) -> None:
        self._attached = False
        self._failure = error

    async def _fetch_summary(self) -> None:
        try:
            await self._server.moment(Moment.RECORDS)
            self._reply.check()
            self._attached = False
            await self._on_summary()
        except BaseException as error:
            self._fail(error)
            self._on_error(error)
            raise

    def _check_state(self) -> None:
        if self._out_of_scope:
            raise ResultConsumedError(self, _OUT_OF_SCOPE)
        if self._consumed:
            raise ResultConsumedError(self, _CONSUMED)

    def _summary(self) -> neo4j.ResultSummary:
        statement = self._reply.statement
        metadata: dict[str, Any] = {
            "server": neo4j.ServerInfo(neo4j.Address(("fake", 7687)), (5, 8)),
            "query": statement.text,
            "parameters": statement.parameters,
        }
        return neo4j.ResultSummary(
            neo4j.Address(("fake", 7687)),
            had_key=bool(self._reply.rows),
            had_record=bool(self._reply.rows),
            metadata=metadata,
        )

"""A driver for Neo4j whose sessions wait for the server, with errors for users."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import neo4j
from neo4j.exceptions import (
    ConnectionAcquisitionTimeoutError,
    DriverError,
    IncompleteCommit,
    Neo4jError,
    ResultFailedError,
)
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from pipeline.errors import (
    DatabaseMissing,
    DataRejected,
    GraphError,
    GraphOverloaded,
    GraphRejected,
    GraphUnavailable,
)

T = TypeVar("T")

#: A connection that answered this recently is not verified again.
VERIFIED_FOR_SECONDS = 5.0
#: Pauses between attempts, for connections and transactions: random, so that workers do not come back together, and up
#: to two seconds.
_PAUSES = wait_random_exponential(multiplier=0.1, max=2.0)
#: The driver retries a transaction for so long, except in writers (NO_RETRIES).
TRANSACTION_RETRY_SECONDS = 30.0

#: Failures of the data, such as a value too large for an index.
_IN_THE_DATA = ("Neo.DatabaseError.Schema.", "Neo.DatabaseError.Statement.", "Neo.ClientError.Statement.")
#: Codes that the driver does not retry, of transactions that somebody ended.
_ENDED_FROM_OUTSIDE = frozenset(
    f"Neo.ClientError.{reason}"
    for reason in (
        "Transaction.Terminated",
        "Transaction.TransactionTimedOut",
        "Transaction.TransactionTimedOutClientConfiguration",
        "Transaction.LockClientStopped",
        "Security.AuthenticationRateLimit",
    )
)

#: Parts of the codes for a transaction that needs too much memory or time.
_TOO_LARGE = ("OutOfMemory", "MemoryLimit", "TransactionTimedOut")
_NO_DATABASE = "Neo.ClientError.Database.DatabaseNotFound"
_DEADLOCK = "Neo.TransientError.Transaction.DeadlockDetected"
#: Codes that the driver does not retry, for a node that another transaction created or deleted.
_CONFLICTS = frozenset(
    {"Neo.ClientError.Schema.ConstraintValidationFailed", "Neo.ClientError.Statement.EntityNotFound"}
)
#: Attempts at a transaction; after so many deadlocks it should hold fewer locks.
ATTEMPTS = 5


def graph_error(error: Neo4jError | DriverError) -> GraphError:
    """Return our error for an error of the driver.

    Retries more than the driver's own `is_retryable()`, since every write is idempotent: also an unknown outcome
    (`IncompleteCommit`), a full connection pool, a transaction ended by its time-out, and a failing server
    (`Neo.DatabaseError`, unless the data contradicts a constraint). A deadlock that comes here has ended every attempt
    of `repeat`: too much at once.
    """
    error = original(error)
    code = _code(error)
    passing = (
        error.is_retryable()
        or isinstance(error, IncompleteCommit | ConnectionAcquisitionTimeoutError)
        or code in _ENDED_FROM_OUTSIDE
        or (code.startswith("Neo.DatabaseError.") and not code.startswith(_IN_THE_DATA))
    )
    reason = error.message if isinstance(error, Neo4jError) else str(error)
    text = f"Neo4j: {' '.join((reason or type(error).__name__).split())}"
    if code == _NO_DATABASE:
        return DatabaseMissing(text)
    if _is_too_large(error) or code == _DEADLOCK:
        return GraphOverloaded(text)
    if passing:
        return GraphUnavailable(text)
    return DataRejected(text) if code.startswith(_IN_THE_DATA) else GraphRejected(text)


def original(error: Neo4jError | DriverError) -> Neo4jError | DriverError:
    """Return the error behind a ResultFailedError.

    The driver may raise that in its place while it rolls back.
    """
    cause = error.__cause__
    if isinstance(error, ResultFailedError) and isinstance(cause, Neo4jError | DriverError):
        return cause
    return error


def _code(error: Neo4jError | DriverError) -> str:
    return getattr(error, "code", None) or ""


def _is_too_large(error: Neo4jError | DriverError) -> bool:
    return any(part in _code(error) for part in _TOO_LARGE)


@asynccontextmanager
async def graph_errors() -> AsyncIterator[None]:
    """Raise our errors in place of the driver's, which become their cause.

    For `async with` around a session, or as a decorator of a coroutine function.
    """
    try:
        yield
    except (Neo4jError, DriverError) as error:
        raise graph_error(error) from error


class Bulk(list[Any]):
    """A long parameter, printed as its length.

    The driver prints every parameter, even if its log is off.
    """

    def __repr__(self) -> str:
        return f"<{len(self):,} values>"


async def execute(tx: neo4j.AsyncManagedTransaction, text: str, **parameters: Any) -> None:
    """Run a statement and consume its result, unless all its parameters are empty.

    The driver's result holds its parameters in a cycle, so they are emptied: a batch is freed without a garbage
    collection.
    """
    if any(value for value in parameters.values() if isinstance(value, list | dict)):
        sent = {name: _bulk(value) for name, value in parameters.items()}
        result = await tx.run(text, sent)
        await result.consume()
        for value in sent.values():
            if isinstance(value, list | dict):
                value.clear()


def _bulk(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bulk(each) for name, each in value.items()}
    return Bulk(value) if isinstance(value, list) else value


#: Retries of transactions by `repeat` in this process, by reason.
RETRIES: Counter[str] = Counter()

#: For sessions under `repeat`: the driver itself would retry for half a minute, also a transaction that is too large.
NO_RETRIES = {"max_transaction_retry_time": 0.0}


async def repeat(work: Callable[[], Awaitable[T]]) -> T:
    """Await `work()` and return its result; retry it up to ATTEMPTS times on passing errors.

    Conflicts with another transaction count as passing: the loser of a race must read what the winner wrote. `work`
    opens its own session, with NO_RETRIES if that manages the transaction.
    """

    async def attempt() -> T:
        return await work()

    return await AsyncRetrying(
        retry=retry_if_exception(_is_worth_another_attempt),
        stop=stop_after_attempt(ATTEMPTS),
        wait=_PAUSES,
        before_sleep=_count_retry,
        reraise=True,
    )(attempt)


#: A statement that commits in parts may walk all credits of a full graph.
ALONE_TIMEOUT_SECONDS = 3600.0


async def run_alone(
    driver: "Driver", text: str, *, before: Callable[[], Awaitable[None]] | None = None, **parameters: Any
) -> list[neo4j.Record]:
    """Run a statement that commits in parts, and return its rows.

    `before` is awaited before each attempt; if it raises, the statement is not sent. The driver neither manages nor
    retries such a statement: `repeat` does, so it must be idempotent.
    """

    async def run() -> list[neo4j.Record]:
        async with await driver.session(database=driver.database) as session:
            if before is not None:
                await before()
            result = await session.run(neo4j.Query(text, timeout=ALONE_TIMEOUT_SECONDS), parameters)
            return [record async for record in result]

    return await repeat(run)


def _count_retry(state: RetryCallState) -> None:
    error = None if state.outcome is None else state.outcome.exception()
    if isinstance(error, Neo4jError | DriverError):
        error = original(error)
        RETRIES[_code(error).rpartition(".")[2] or type(error).__name__] += 1


def _is_worth_another_attempt(error: BaseException) -> bool:
    if not isinstance(error, Neo4jError | DriverError):
        return False
    error = original(error)
    return (error.is_retryable() or _code(error) in _CONFLICTS) and not _is_too_large(error)


class Driver:
    """Owns one `neo4j.AsyncDriver`; belongs to the event loop that first uses it.

    Nothing connects before the first session. `connection_timeout_seconds` bounds how long `session()` waits for
    a server that does not answer; `max_connections` is the size of the pool.
    """

    def __init__(
        self,
        uri: str,
        user: str,
        password: str,
        *,
        database: str = "neo4j",
        connection_timeout_seconds: float = 60.0,
        max_connections: int = 20,
    ) -> None:
        #: The name of the database that holds the graph.
        self.database = database
        #: The size of the pool.
        self.max_connections = max_connections
        self._sessions: WeakSet[neo4j.AsyncSession] = WeakSet()
        self._uri = uri
        self._connection_timeout_seconds = connection_timeout_seconds
        self._asking = asyncio.Lock()
        self._asked_at = -VERIFIED_FOR_SECONDS
        self._failure: GraphUnavailable | None = None
        self._driver = neo4j.AsyncGraphDatabase.driver(
            uri,
            auth=(user, password),
            user_agent="graphinator",
            max_connection_pool_size=max_connections,
            connection_acquisition_timeout=min(30.0, connection_timeout_seconds),
            connection_timeout=min(10.0, connection_timeout_seconds),
            keep_alive=True,
            # The server closes idle connections, firewalls drop them: ask before trusting one.
            liveness_check_timeout=60.0,
            max_transaction_retry_time=TRANSACTION_RETRY_SECONDS,
            notifications_min_severity="OFF",
            # Otherwise the debug mode looks up the source of every caller, which takes longer than the query.
            warn_notification_severity="OFF",
            telemetry_disabled=True,
        )

    async def session(self, *, database: str, **config: Any) -> neo4j.AsyncSession:
        """Return a session, for `async with await driver.session(database=driver.database) as session:`.

        Waits until the server answers, with growing pauses; callers that wait at the same time share
        their attempts. `config` is what `neo4j.AsyncDriver.session` takes.

        Raises GraphUnavailable when `connection_timeout_seconds` have passed, GraphRejected at once where waiting
        is no use, such as for a wrong password.
        """
        if self._failure is not None or time.monotonic() - self._asked_at >= VERIFIED_FOR_SECONDS:
            await self._wait_for_server()
        return self._counted(self._driver.session(database=database, **config))

    def _counted(self, session: neo4j.AsyncSession) -> neo4j.AsyncSession:
        self._sessions.add(session)
        return session

    def open_sessions(self) -> int:
        """Return the number of sessions that are not closed; call it on the driver's loop."""
        return sum(not session.closed() for session in self._sessions)

    async def _wait_for_server(self) -> None:
        asking = AsyncRetrying(
            retry=retry_if_exception_type(GraphUnavailable),
            stop=stop_before_delay(self._connection_timeout_seconds),
            wait=_PAUSES,
            reraise=True,
        )
        try:
            await asking(self.ask)
        except GraphUnavailable as error:
            waited = f"{self._connection_timeout_seconds:g} s"
            raise GraphUnavailable(
                f"Neo4j at {self._uri} does not answer (waited {waited}){_why(error)}"
            ) from error

    async def ask(self) -> None:
        """Ask once whether the server lets us in now; who comes meanwhile takes that answer.

        Raises GraphUnavailable if it does not answer, GraphRejected where it refuses to, such as for a wrong password.
        An attempt is not cut short, which would leak its socket: the time-outs of the driver bound it.
        """

        async def attempt() -> None:
            await self._driver.verify_connectivity()

        came_at = time.monotonic()
        async with self._asking:
            if self._asked_at < came_at:
                try:
                    async with graph_errors():
                        await _to_the_end(attempt)
                except GraphUnavailable as error:
                    self._failure = error
                else:
                    self._failure = None
                self._asked_at = time.monotonic()
            if self._failure is not None:
                raise self._failure

    async def close(self) -> None:
        """Close all connections; open transactions roll back."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _why(error: BaseException) -> str:
    """Return the reason of a lost connection after a colon, nothing for a silent server."""
    for each in _causes(error):
        if isinstance(each, TimeoutError):
            return ""
        if isinstance(each, OSError) and each.errno:
            return f": {os.strerror(each.errno) if each.errno > 0 else each.strerror}"
    return f": {str(error).removeprefix('Neo4j: ')}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__


async def _to_the_end(attempt: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Await `attempt`; a cancellation meanwhile takes effect when it has ended."""
    task = asyncio.create_task(attempt())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # the cancellation is what the caller must see
        raise

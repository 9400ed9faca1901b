"""The one way to Neo4j: a driver whose sessions wait for the server, and whose errors are ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import neo4j
from neo4j.exceptions import (
    ConnectionAcquisitionTimeoutError,
    DriverError,
    IncompleteCommit,
    Neo4jError,
)
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from pipeline.errors import DataRejected, GraphError, GraphOverloaded, GraphRejected, GraphUnavailable

T = TypeVar("T")

#: A connection that answered this recently is taken to answer still.
VERIFIED_FOR_SECONDS = 5.0
#: Between two attempts to connect, or at one transaction: of random length, so that not all workers come back at once,
#: within a limit that doubles each time, to at most two seconds.
_PAUSES = wait_random_exponential(multiplier=0.1, max=2.0)
#: How long the driver itself repeats a transaction that failed for a passing reason; not those of writers (NO_RETRIES).
TRANSACTION_RETRY_SECONDS = 30.0

#: Failures that lie in the data: a value too large for an index, for one.
_IN_THE_DATA = ("Neo.DatabaseError.Schema.", "Neo.DatabaseError.Statement.", "Neo.ClientError.Statement.")
#: Codes that the driver does not repeat (somebody ended the transaction) but that say nothing against the work.
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

#: Parts of the codes of errors that mean: this transaction is too large, for the memory or for the time that it has.
_TOO_LARGE = ("OutOfMemory", "MemoryLimit", "TransactionTimedOut")
_DEADLOCK = "Neo.TransientError.Transaction.DeadlockDetected"
#: Codes of errors that the driver does not repeat and that mean: another transaction created or deleted the same node.
_CONFLICTS = frozenset(
    {"Neo.ClientError.Schema.ConstraintValidationFailed", "Neo.ClientError.Statement.EntityNotFound"}
)
#: How often a transaction is tried; one that has met so many deadlocks should hold fewer locks.
ATTEMPTS = 5


def graph_error(error: Neo4jError | DriverError) -> GraphError:
    """The error of ours that an error of the driver amounts to.

    Wider than the driver's own `is_retryable()`: every write here may be repeated whatever became of
    the first attempt, so an unknown outcome (`IncompleteCommit`), a full connection pool, a transaction ended by
    its time-out and a failing server (`Neo.DatabaseError`: disk full, shutting down; not those about the data contradicting a
    constraint) are worth another try. A deadlock that comes here was met by every attempt of `repeat`: too much at once.
    """
    code = _code(error)
    passing = (
        error.is_retryable()
        or isinstance(error, IncompleteCommit | ConnectionAcquisitionTimeoutError)
        or code in _ENDED_FROM_OUTSIDE
        or (code.startswith("Neo.DatabaseError.") and not code.startswith(_IN_THE_DATA))
    )
    reason = error.message if isinstance(error, Neo4jError) else str(error)
    text = f"Neo4j: {' '.join((reason or type(error).__name__).split())}"
    if _is_too_large(error) or code == _DEADLOCK:
        return GraphOverloaded(text)
    if passing:
        return GraphUnavailable(text)
    return DataRejected(text) if code.startswith(_IN_THE_DATA) else GraphRejected(text)


def _code(error: Neo4jError | DriverError) -> str:
    return getattr(error, "code", None) or ""


def _is_too_large(error: Neo4jError | DriverError) -> bool:
    return any(part in _code(error) for part in _TOO_LARGE)


@asynccontextmanager
async def graph_errors() -> AsyncIterator[None]:
    """The one place where errors of the driver become ours, the cause kept.

    For an `async with` around the use of a session, or as a decorator, `@graph_errors()`, of a coroutine function.
    """
    try:
        yield
    except (Neo4jError, DriverError) as error:
        raise graph_error(error) from error


class Bulk(list[Any]):
    """A long parameter, printed as its length: the driver prints every parameter, even for a log that is off."""

    def __repr__(self) -> str:
        return f"<{len(self):,} values>"


async def execute(tx: neo4j.AsyncManagedTransaction, text: str, **parameters: Any) -> None:
    """Run a statement for its effect, to its end; not at all where all that it is given to work on is empty."""
    if any(value for value in parameters.values() if isinstance(value, list | dict)):
        result = await tx.run(text, {name: _bulk(value) for name, value in parameters.items()})
        await result.consume()


def _bulk(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bulk(each) for name, each in value.items()}
    return Bulk(value) if isinstance(value, list) else value


#: For a session whose transactions `repeat` repeats: the driver would go on for half a minute, also where the server has
#: no memory for so much at once.
NO_RETRIES = {"max_transaction_retry_time": 0.0}


async def repeat(work: Callable[[], Awaitable[T]]) -> T:
    """What `work()` returns, tried up to ATTEMPTS times while it fails for a reason that may be gone the next time.

    Among those is another transaction in the way: Neo4j checks a unique key and the existence of a node only as it gets
    there, and the loser of a race must look again at what the winner left. `work` opens its own session; where that manages
    its transaction, without the driver's own retries (NO_RETRIES).
    """

    async def attempt() -> T:
        return await work()

    return await AsyncRetrying(
        retry=retry_if_exception(_is_worth_another_attempt),
        stop=stop_after_attempt(ATTEMPTS),
        wait=_PAUSES,
        reraise=True,
    )(attempt)


#: A statement that commits in parts may walk all credits of a full graph.
ALONE_TIMEOUT_SECONDS = 3600.0


async def run_alone(driver: "Driver", text: str, **parameters: Any) -> list[neo4j.Record]:
    """Run a statement that commits in parts, and return its rows.

    The driver neither manages nor retries such a statement: `repeat` does, so it must be idempotent.
    """

    async def run() -> list[neo4j.Record]:
        async with await driver.session(database="neo4j") as session:
            result = await session.run(neo4j.Query(text, timeout=ALONE_TIMEOUT_SECONDS), parameters)
            return [record async for record in result]

    return await repeat(run)


def _is_worth_another_attempt(error: BaseException) -> bool:
    return (
        isinstance(error, Neo4jError | DriverError)
        and (error.is_retryable() or _code(error) in _CONFLICTS)
        and not _is_too_large(error)
    )


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
        connection_timeout_seconds: float = 60.0,
        max_connections: int = 20,
    ) -> None:
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
            # Otherwise the driver, in its debug mode, looks up the source of every caller, which takes longer than the query.
            warn_notification_severity="OFF",
            telemetry_disabled=True,
        )

    async def session(self, *, database: str = "neo4j", **config: Any) -> neo4j.AsyncSession:
        """A session of its own, for `async with await driver.session(database="neo4j") as session:`.

        Waits until the server answers, with growing pauses; callers that wait at the same time share
        their attempts. `config` is what `neo4j.AsyncDriver.session` takes.

        Raises GraphUnavailable when `connection_timeout_seconds` have passed, GraphRejected at once where waiting
        is no use, such as for a wrong password.
        """
        if self._failure is not None or time.monotonic() - self._asked_at >= VERIFIED_FOR_SECONDS:
            await self._wait_for_server()
        return self._driver.session(database=database, **config)

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
            reason = str(error).removeprefix("Neo4j: ")
            raise GraphUnavailable(f"Neo4j at {self._uri} did not answer for {waited}: {reason}") from error

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


async def _to_the_end(attempt: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Await `attempt`; a cancellation meanwhile takes effect when it has ended."""
    task = asyncio.create_task(attempt())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # whatever it is, the cancellation says more
        raise

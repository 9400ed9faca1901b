"""The driver waits for its server, hands out real sessions and raises our errors."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import neo4j
import pytest
from neo4j.exceptions import (
    AuthError,
    ClientError,
    ConfigurationError,
    ConnectionAcquisitionTimeoutError,
    ConstraintError,
    CypherSyntaxError,
    DatabaseError,
    DriverError,
    IncompleteCommit,
    Neo4jError,
    ResultFailedError,
    ServiceUnavailable,
    SessionExpired,
    TransientError,
)

from pipeline.errors import (
    DatabaseMissing,
    DataRejected,
    GraphError,
    GraphOverloaded,
    GraphRejected,
    GraphUnavailable,
)
from pipeline.graph.derived import count, rebuild
from pipeline.graph.driver import Driver, graph_error, graph_errors, repeat
from pipeline.graph.lookup import find_vanished, fingerprints
from pipeline.graph.schema import check_database, check_schema, create_schema
from pipeline.graph.summary import highlights, node_counts, relationship_counts
from pipeline.graph.verify import Verification
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import RecordType
from tests.conftest import Neo4jServer
from tests.integration.rows import release

#: A port of the loopback that nothing listens on (discard, which needs root).
NOBODY = "bolt://127.0.0.1:9"


def stranger() -> str:
    """Return an unused user name: three wrong passwords bar a user for a while."""
    return f"stranger{time.monotonic_ns()}"


@asynccontextmanager
async def relay(uri: str, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Relay TCP, or TLS, to the real server while the context lasts; yield the port."""
    address = urlsplit(uri)
    ends: set[asyncio.StreamWriter] = set()
    pipes: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(address.hostname, address.port)
        ends.update((writer, far_writer))
        pipes.add(asyncio.create_task(pump(reader, far_writer)))
        pipes.add(asyncio.create_task(pump(far_reader, writer)))

    listener = await asyncio.start_server(connect, "127.0.0.1", port, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for end in ends:
            end.close()
        await asyncio.gather(*pipes, *(end.wait_closed() for end in ends), return_exceptions=True)


async def free_port(server: Neo4jServer) -> int:
    async with relay(server.uri) as port:
        return port


async def one(driver: Driver) -> int:
    async with await driver.session(database="neo4j") as session:
        result = await session.run("RETURN 1 AS one")
        record = await result.single(strict=True)
        return int(record["one"])


async def test_a_session_is_the_real_one(driver: Driver) -> None:
    async with await driver.session(database="neo4j") as session:
        assert type(session) is neo4j.AsyncSession
        numbers = [record["n"] async for record in await session.run("UNWIND range(1, 3) AS n RETURN n")]
    assert numbers == [1, 2, 3]


async def test_session_settings_reach_the_session(driver: Driver) -> None:
    async with await driver.session(database="neo4j", default_access_mode=neo4j.READ_ACCESS) as session:
        with pytest.raises(ClientError, match="read access mode"):
            await session.run("CREATE (:Genre {name: 'Never'})")


async def test_the_first_session_waits_for_a_server_that_comes_late(neo4j_server: Neo4jServer) -> None:
    port = await free_port(neo4j_server)
    async with Driver(f"bolt://127.0.0.1:{port}", neo4j_server.user, neo4j_server.password) as driver:
        waiting = [asyncio.create_task(one(driver)) for _ in range(5)]
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in waiting)
        async with relay(neo4j_server.uri, port):
            assert await asyncio.gather(*waiting) == [1] * 5


async def test_a_server_that_never_comes_is_unavailable_after_the_time_given(
    neo4j_server: Neo4jServer,
) -> None:
    async with Driver(NOBODY, "neo4j", "no matter", connection_timeout_seconds=0.5) as driver:
        with pytest.raises(
            GraphUnavailable, match=r"127\.0\.0\.1:9 does not answer \(waited 0\.5 s\): Connection refused$"
        ) as caught:
            await asyncio.gather(one(driver), one(driver))
    assert isinstance(caught.value.__cause__, GraphUnavailable)
    assert isinstance(caught.value.__cause__.__cause__, ServiceUnavailable)


async def test_a_server_that_accepts_and_says_nothing_is_unavailable_after_the_time_given() -> None:
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with listener:
        uri = f"bolt://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with Driver(uri, "neo4j", "no matter", connection_timeout_seconds=0.5) as driver:
            with pytest.raises(GraphUnavailable, match=r"does not answer \(waited 0\.5 s\)$"):
                await one(driver)
        await gone.wait()


async def test_a_wrong_password_is_refused_at_once(neo4j_server: Neo4jServer) -> None:
    async with Driver(neo4j_server.uri, stranger(), "wrong") as driver:
        async with asyncio.timeout(50):
            with pytest.raises(GraphRejected, match="unauthorized") as caught:
                await driver.session(database="neo4j")  # ast-grep-ignore: session-not-entered
    assert isinstance(caught.value.__cause__, AuthError)


async def test_where_all_connections_are_in_use_others_are_told_to_come_again(
    neo4j_server: Neo4jServer,
) -> None:
    async with Driver(
        neo4j_server.uri,
        neo4j_server.user,
        neo4j_server.password,
        max_connections=1,
        connection_timeout_seconds=3.0,  # it covers the first connection as well
    ) as driver:
        async with (
            await driver.session(database="neo4j") as session,
            await session.begin_transaction() as holding,
        ):
            await (await holding.run("RETURN 1")).consume()
            with pytest.raises(GraphUnavailable):
                await fingerprints(driver, RecordType.LABELS, [1])
        assert await fingerprints(driver, RecordType.LABELS, [1]) == {}


async def test_waiting_for_the_server_can_be_cancelled() -> None:
    async with Driver(NOBODY, "neo4j", "no matter") as driver:
        waiting = asyncio.create_task(one(driver))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_connection_lost_between_sessions_is_made_again(neo4j_server: Neo4jServer) -> None:
    port = await free_port(neo4j_server)
    async with Driver(f"bolt://127.0.0.1:{port}", neo4j_server.user, neo4j_server.password) as driver:
        rows = [release(1)]
        async with relay(neo4j_server.uri, port):
            await create_schema(driver)
            await write_records(driver, RecordType.RELEASES, rows)
        async with relay(neo4j_server.uri, port):
            written = await write_records(driver, RecordType.RELEASES, rows)
            assert written.unchanged == 1


@pytest.mark.parametrize(
    "use",
    [
        create_schema,
        check_schema,
        check_database,
        rebuild,
        count,
        lambda driver: find_vanished(driver, RecordType.LABELS, set().__contains__),
        lambda driver: Verification(RecordType.LABELS).differences(driver),
        lambda driver: remove_records(driver, RecordType.LABELS, [1]),
        node_counts,
        relationship_counts,
        highlights,
        lambda driver: fingerprints(driver, RecordType.RELEASES, [1]),
        lambda driver: write_records(driver, RecordType.RELEASES, [release(1)]),
    ],
)
async def test_every_use_of_the_graph_speaks_of_its_failures_in_our_words(
    neo4j_server: Neo4jServer, use: Callable[[Driver], asyncio.Future[object]]
) -> None:
    async with Driver(NOBODY, "neo4j", "no matter", connection_timeout_seconds=0.05) as driver:
        with pytest.raises(GraphUnavailable):
            await use(driver)
    async with Driver(neo4j_server.uri, stranger(), "wrong") as driver:
        with pytest.raises(GraphRejected):
            await use(driver)
    login = neo4j_server.uri, neo4j_server.user, neo4j_server.password
    async with Driver(*login, database="another") as driver:
        with pytest.raises(DatabaseMissing):
            await use(driver)


async def test_an_error_that_is_not_of_the_driver_passes_as_it_is() -> None:
    with pytest.raises(LookupError):
        async with graph_errors():
            raise LookupError


async def test_what_the_server_says_of_a_statement_is_one_line_with_its_cause(driver: Driver) -> None:
    with pytest.raises(GraphRejected) as caught:
        async with graph_errors(), await driver.session(database="neo4j") as session:
            await session.run("RETURN\nnonsense(")
    assert isinstance(caught.value.__cause__, CypherSyntaxError)
    assert str(caught.value).startswith("Neo4j: Invalid input")
    assert "\n" not in str(caught.value)


async def test_a_transaction_that_works_for_too_long_was_too_much_at_once(driver: Driver) -> None:
    with pytest.raises(GraphOverloaded):
        async with graph_errors(), await driver.session(database="neo4j") as session:
            result = await session.run(
                neo4j.Query("UNWIND range(1, 1000000000) AS n RETURN count(n)", timeout=0.2)
            )
            await result.consume()


def from_server(code: str) -> Neo4jError:
    """Return the driver's error for a failure code of the server."""
    return Neo4jError._hydrate_neo4j(code=code, message="m")


@pytest.mark.parametrize(
    "error",
    [
        ServiceUnavailable("m"),
        SessionExpired("m"),
        IncompleteCommit("m"),
        ConnectionAcquisitionTimeoutError("m"),
        from_server("Neo.TransientError.General.DatabaseUnavailable"),
        from_server("Neo.TransientError.Transaction.Terminated"),
        from_server("Neo.ClientError.Security.AuthenticationRateLimit"),
        from_server("Neo.TransientError.Transaction.LockClientStopped"),
        from_server("Neo.DatabaseError.General.UnknownError"),
    ],
    ids=lambda error: getattr(error, "code", None) or type(error).__name__,
)
def test_what_passes_is_unavailable(error: Neo4jError | DriverError) -> None:
    ours = graph_error(error)
    assert type(ours) is GraphUnavailable
    assert ours.is_retryable()


@pytest.mark.parametrize(
    "code",
    [
        "Neo.TransientError.General.MemoryPoolOutOfMemoryError",
        "Neo.TransientError.General.TransactionMemoryLimit",
        "Neo.TransientError.Transaction.DeadlockDetected",
        "Neo.ClientError.Transaction.TransactionTimedOut",
        "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
    ],
)
def test_what_was_too_much_at_once_is_overloaded(code: str) -> None:
    assert type(graph_error(from_server(code))) is GraphOverloaded


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("m"),
        from_server("Neo.ClientError.Security.Unauthorized"),
        from_server("Neo.ClientError.Schema.ConstraintValidationFailed"),
        from_server("Neo.ClientError.Security.Forbidden"),
    ],
    ids=lambda error: getattr(error, "code", None) or type(error).__name__,
)
def test_what_does_not_pass_is_rejected(error: Neo4jError | DriverError) -> None:
    ours: GraphError = graph_error(error)
    assert type(ours) is GraphRejected
    assert not ours.is_retryable()


@pytest.mark.parametrize(
    "code", ["Neo.DatabaseError.Statement.ExecutionFailed", "Neo.ClientError.Statement.ArgumentError"]
)
def test_what_lies_in_the_data_is_told_from_what_does_not(code: str) -> None:
    assert type(graph_error(from_server(code))) is DataRejected


async def test_the_error_behind_a_failed_rollback_counts() -> None:
    original = from_server("Neo.TransientError.Transaction.DeadlockDetected")
    attempts = 0

    async def work() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ResultFailedError(None, "the result has failed") from original
        return "done"

    assert await repeat(work) == "done"
    with pytest.raises(GraphOverloaded):
        async with graph_errors():
            raise ResultFailedError(None, "the result has failed") from original


def test_the_driver_still_sorts_its_errors_as_this_module_believes() -> None:
    assert issubclass(type(from_server("Neo.ClientError.Schema.ConstraintValidationFailed")), ConstraintError)
    assert issubclass(type(from_server("Neo.TransientError.Transaction.DeadlockDetected")), TransientError)
    assert issubclass(type(from_server("Neo.DatabaseError.General.UnknownError")), DatabaseError)

"""Faults on the way to Neo4j, and the moments at which they strike."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from neo4j.exceptions import IncompleteCommit, Neo4jError, ServiceUnavailable


class Moment(StrEnum):
    """Moments at which a fault can strike, each counted from 1 per server."""

    CONNECT = "connect"  # a session needs a connection
    RUN = "run"  # a statement arrives
    RECORDS = "records"  # a statement's records were delivered, its summary is not
    COMMIT = "commit"  # a transaction asks for its commit
    COMMITTED = "committed"  # the commit is done, its answer is not there


def server_error(code: str, message: str) -> Neo4jError:
    """The error that the real driver makes of a failure with this status code.

    :param code: for example `Neo.TransientError.Transaction.DeadlockDetected`
    """
    error: Neo4jError = Neo4jError._hydrate_neo4j(code=code, message=message)
    return error


def deadlock() -> Neo4jError:
    """The TransientError of two transactions that wait for each other; managed transactions retry it."""
    return server_error("Neo.TransientError.Transaction.DeadlockDetected", "can't acquire lock")


def connection_lost() -> ServiceUnavailable:
    """The error of a direct (bolt://) driver for a broken connection; managed transactions retry it."""
    return ServiceUnavailable("Failed to read from defunct connection")


def commit_unconfirmed() -> IncompleteCommit:
    """The connection broke between the request to commit and its answer; never retried, outcome unknown."""
    return IncompleteCommit("Failed to read from defunct connection")


@dataclass
class Fault:
    """One planned fault: `error` makes a new error each time; None hangs until cancelled."""

    moment: Moment
    #: The first occurrence of the moment that it strikes, from 1.
    first: int
    #: Number of occurrences in a row that it strikes.
    times: int
    error: Callable[[], Exception] | None
    #: Set when it strikes.
    struck: asyncio.Event = field(default_factory=asyncio.Event)

    async def strike(self, occurrence: int) -> None:
        """Raise or hang if this occurrence is one of those planned."""
        if not self.first <= occurrence < self.first + self.times:
            return
        self.struck.set()
        if self.error is None:
            await asyncio.Event().wait()
        else:
            raise self.error()

"""`neo4j.AsyncDriver`, as far as the product uses it."""

from __future__ import annotations

from typing import Any, cast
from warnings import warn

import neo4j
from neo4j._conf import SessionConfig, WorkspaceConfig
from neo4j.exceptions import DriverError

from tests.fakes.server import FakeServer
from tests.fakes.session import FakeAsyncSession


def as_driver(fake: FakeAsyncDriver) -> neo4j.AsyncDriver:
    """The fake under the type of what it stands in for."""
    return cast("neo4j.AsyncDriver", fake)


class FakeAsyncDriver:
    """A driver whose server is in memory; no more methods than the product calls.

    It is deliberately no subclass of `neo4j.AsyncDriver`: what it lacks must fail, not reach for a network.
    """

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self._closed = False

    def __del__(self) -> None:
        if not self._closed:
            warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    def session(self, **config: Any) -> FakeAsyncSession:
        """A session; not a coroutine, and an unknown setting is refused."""
        self._check_state()
        return FakeAsyncSession(self.server, self._settings(config))

    async def verify_connectivity(self, **config: Any) -> None:
        """Raise what the connection to the server raises."""
        self._check_state()
        self._settings(config)
        self.server.roll_back(await self.server.begin())

    async def close(self) -> None:
        """Refuse every further use; may be called again."""
        self._closed = True

    @staticmethod
    def _settings(config: dict[str, Any]) -> SessionConfig:
        return SessionConfig(WorkspaceConfig(), config)  # type: ignore[no-untyped-call]  # the driver's own, untyped

    def _check_state(self) -> None:
        if self._closed:
            raise DriverError("Driver closed")

"""The saved state of a stack, in `stack.json`, with its addresses and credentials."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec

from ops.stack.files import write_private
from ops.stack.ports import LOOPBACK
from ops.stack.process import ProcessId
from pipeline.errors import StackError
from workers.addresses import with_password
from workers.settings import Settings

NEO4J_USER = "neo4j"
NEO4J_DATABASE = "neo4j"


@dataclass(slots=True)
class StackState:
    """The ports and processes of a stack, saved after each change."""

    #: By name: `bolt`, `http`, `redis`. Kept for the next start.
    ports: dict[str, int] = field(default_factory=dict)
    #: By name: `valkey`, `neo4j`.
    servers: dict[str, ProcessId] = field(default_factory=dict)
    #: By number, from 1.
    workers: dict[int, ProcessId] = field(default_factory=dict)

    def forget_dead(self) -> None:
        """Remove processes that have ended."""
        self.servers = {name: process for name, process in self.servers.items() if process.is_alive()}
        self.workers = {number: process for number, process in self.workers.items() if process.is_alive()}


def load_state(path: Path) -> StackState:
    """Load the state without ended processes. A missing file is an empty state.

    Raises:
        StackError: the file has another format.
        OSError: it cannot be read.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=StackState)
    except FileNotFoundError:
        return StackState()
    except msgspec.DecodeError as error:
        raise StackError(
            f"{path} cannot be read ({error}); stop the stack's processes and remove it"
        ) from error
    state.forget_dead()
    return state


def save_state(path: Path, state: StackState) -> None:
    """Write the state atomically."""
    write_private(path, msgspec.json.format(msgspec.json.encode(state)).decode())


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of a running stack, and its number of workers."""

    home: Path
    neo4j_uri: str
    neo4j_user: str
    password_file: Path
    browser: str
    redis_url: str
    redis_password_file: Path
    workers: int

    @classmethod
    def from_state(cls, home: Path, state: StackState) -> Self:
        """Build the endpoints from the saved state."""
        return cls(
            home=home,
            neo4j_uri=f"bolt://{LOOPBACK}:{state.ports['bolt']}",
            neo4j_user=NEO4J_USER,
            password_file=password_file(home),
            browser=f"http://{LOOPBACK}:{state.ports['http']}/browser/",
            redis_url=f"redis://{LOOPBACK}:{state.ports['redis']}/0",
            redis_password_file=redis_password_file(home),
            workers=len(state.workers),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object that `graphinator up --json` prints."""
        return {
            "neo4j": {
                "uri": self.neo4j_uri,
                "user": self.neo4j_user,
                "password_file": str(self.password_file),
                "browser": self.browser,
            },
            "redis": {"url": self.redis_url, "password_file": str(self.redis_password_file)},
            "workers": self.workers,
            "home": str(self.home),
        }

    def password(self) -> str:
        """Read the password of Neo4j."""
        return self.password_file.read_text(encoding="utf-8").strip()

    def redis_password(self) -> str | None:
        """Read the password of Redis, if it has one."""
        return read_redis_password(self.home)

    def broker_url(self) -> str:
        """Return the URL of Redis with its password."""
        return with_password(self.redis_url, self.redis_password())

    def connect(self, settings: Settings) -> Settings:
        """Return the settings with these servers filled in. Servers named by the user stay."""
        own: dict[str, str | None] = {}
        if settings.neo4j_uri is None:
            own |= {
                "neo4j_uri": self.neo4j_uri,
                "neo4j_user": self.neo4j_user,
                "neo4j_password": self.password(),
                "neo4j_database": NEO4J_DATABASE,
            }
        if settings.redis_url is None:
            own |= {"redis_url": self.redis_url, "redis_password": self.redis_password()}
        return settings.model_copy(update=own)


def password_file(home: Path) -> Path:
    """Return the path of the file with Neo4j's password."""
    return home / "neo4j.password"


def redis_password_file(home: Path) -> Path:
    """Return the path of the file with Redis's password."""
    return home / "redis.password"


def read_redis_password(home: Path) -> str | None:
    """Read the password of Redis; None for a Valkey that an older version started."""
    try:
        return redis_password_file(home).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def state_file(home: Path) -> Path:
    """Return the path of the saved state."""
    return home / "stack.json"


def read_endpoints(home: Path) -> Endpoints | None:
    """Return the endpoints of the stack in `home`, or None unless both servers run."""
    state = load_state(state_file(home))
    return Endpoints.from_state(home, state) if {"valkey", "neo4j"} <= state.servers.keys() else None

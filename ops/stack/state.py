"""The saved state of a stack, in `stack.json`, with its addresses and credentials."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from ops.stack.files import write_private
from ops.stack.ports import LOOPBACK
from ops.stack.process import running_roles, worker_numbers
from pipeline.errors import StackError
from workers.addresses import with_password
from workers.settings import Settings, variable

NEO4J_USER = "neo4j"
NEO4J_DATABASE = "neo4j"
FLOWER_USER = "flower"
#: Names of the servers by role, in the order of their start.
SERVERS = {"valkey": "Valkey", "neo4j": "Neo4j"}
FLOWER = "flower"
NAMES = {**SERVERS, FLOWER: "Flower"}


class StackState(msgspec.Struct, frozen=True):
    """Ports, memory and wanted daemons of a stack, saved before anything starts."""

    #: By name: `bolt`, `http`, `redis`, `flower`. Kept for the next start.
    ports: dict[str, int] = {}
    #: Worker processes that should run.
    workers: int = 0
    flower: bool = False
    #: By name: Neo4j's `heap` and `pagecache`, and `redis`. Chosen when the server starts.
    megabytes: dict[str, int] = {}

    def roles(self) -> list[str]:
        """Return the daemons that should run, in the order of their start."""
        workers = (f"worker{number}" for number in range(1, self.workers + 1))
        return [*SERVERS, *([FLOWER] if self.flower else []), *workers]


def load_state(home: Path) -> StackState:
    """Load the state. A missing file is an empty state.

    Raises:
        StackError: the file has another format.
        OSError: it cannot be read.
    """
    path = state_file(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=StackState)
    except FileNotFoundError:
        return StackState()
    except msgspec.DecodeError as error:
        raise StackError(
            f"{path} is not of this version; stop the stack with the version that started it, then remove the file"
        ) from error


def save_state(home: Path, state: StackState) -> None:
    """Write the state atomically, unless it is saved already."""
    text = msgspec.json.format(msgspec.json.encode(state)).decode()
    path = state_file(home)
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        write_private(path, text)
    except OSError as error:
        raise StackError(f"cannot write {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Running:
    """The daemons of a stack that run, and how many workers should."""

    #: `keeper`, `valkey`, `neo4j`, `worker1`, …
    roles: list[str]
    #: Number of workers that `up` was asked for.
    wanted_workers: int

    def workers(self) -> list[int]:
        """Return the numbers of the workers that run, ascending."""
        return worker_numbers(self.roles)


def running(home: Path) -> Running:
    """Return the daemons that run in `home`.

    Raises:
        StackError: the saved state has another format.
    """
    return Running(running_roles(home), load_state(home).workers)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses and memory of a running stack, and its number of workers."""

    home: Path
    neo4j_uri: str
    neo4j_user: str
    password_file: Path
    browser: str
    redis_url: str
    redis_password_file: Path
    megabytes: Mapping[str, int]
    #: None unless Flower should run.
    flower_url: str | None
    workers: int

    @classmethod
    def from_state(cls, home: Path, state: StackState, workers: int) -> Self:
        """Build the endpoints from the saved state and the number of workers that run."""
        ports = state.ports
        return cls(
            home=home,
            neo4j_uri=f"bolt://{LOOPBACK}:{ports['bolt']}",
            neo4j_user=NEO4J_USER,
            password_file=password_file(home),
            browser=f"http://{LOOPBACK}:{ports['http']}/browser/",
            redis_url=f"redis://{LOOPBACK}:{ports['redis']}/0",
            redis_password_file=redis_password_file(home),
            megabytes=state.megabytes,
            flower_url=f"http://{LOOPBACK}:{ports['flower']}" if state.flower else None,
            workers=workers,
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
            "megabytes": dict(self.megabytes),
            "flower": self.flower_url
            and {
                "url": self.flower_url,
                "user": FLOWER_USER,
                "password_file": str(flower_password_file(self.home)),
            },
            "workers": self.workers,
            "home": str(self.home),
        }

    def password(self) -> str:
        """Read the password of Neo4j."""
        return self.password_file.read_text(encoding="utf-8").strip()

    def redis_password(self) -> str:
        """Read the password of Redis."""
        return self.redis_password_file.read_text(encoding="utf-8").strip()

    def broker_url(self) -> str:
        """Return the URL of Redis with its password."""
        return with_password(self.redis_url, self.redis_password())

    def connect(self, settings: Settings) -> Settings:
        """Return the settings with these servers filled in. Servers named by the user stay."""
        own: dict[str, str] = {}
        # It has no password for anybody before the first `up` has ended.
        if settings.neo4j_uri is None and self.password_file.exists():
            own |= {
                "neo4j_uri": self.neo4j_uri,
                "neo4j_user": self.neo4j_user,
                "neo4j_password": self.password(),
                "neo4j_database": NEO4J_DATABASE,
            }
        if settings.redis_url is None:
            own |= {"redis_url": self.redis_url, "redis_password": self.redis_password()}
        return settings.model_copy(update=own)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return the variables of what `connect` fills in. Passwords are passed as their files."""
        own: dict[str, object] = {}
        if settings.neo4j_uri is None:
            own |= {
                "neo4j_uri": self.neo4j_uri,
                "neo4j_user": self.neo4j_user,
                "neo4j_password_file": self.password_file,
                "neo4j_database": NEO4J_DATABASE,
            }
        if settings.redis_url is None:
            own |= {"redis_url": self.redis_url, "redis_password_file": self.redis_password_file}
        return {variable(name): str(value) for name, value in own.items()}


def password_file(home: Path) -> Path:
    """Return the path of the file with Neo4j's password."""
    return home / "neo4j.password"


def redis_password_file(home: Path) -> Path:
    """Return the path of the file with Redis's password."""
    return home / "redis.password"


def flower_password_file(home: Path) -> Path:
    """Return the path of the file with Flower's password."""
    return home / "flower.password"


def state_file(home: Path) -> Path:
    """Return the path of the saved state."""
    return home / "stack.json"


def read_endpoints(home: Path) -> Endpoints | None:
    """Return the endpoints of the stack in `home`, or None unless both servers run.

    It is also None before the first `up` has ended.
    """
    found, state = running(home), load_state(home)
    if not set(SERVERS) <= set(found.roles) or not state.ports or not password_file(home).exists():
        return None
    return Endpoints.from_state(home, state, len(found.workers()))

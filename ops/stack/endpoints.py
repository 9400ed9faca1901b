"""Where a running stack is: what other programs need to reach it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ops.stack.ports import LOOPBACK
from ops.stack.state_file import State, load_state
from workers.settings import Settings

NEO4J_USER = "neo4j"


@dataclass(frozen=True, slots=True)
class StackInfo:
    """Where a running stack is."""

    home: Path
    neo4j_uri: str
    neo4j_user: str
    password_file: Path
    browser: str
    redis_url: str
    #: How many workers run.
    workers: int

    @classmethod
    def of(cls, home: Path, state: State) -> Self:
        """What the state in a home amounts to."""
        return cls(
            home=home,
            neo4j_uri=f"bolt://{LOOPBACK}:{state.ports['bolt']}",
            neo4j_user=NEO4J_USER,
            password_file=password_file(home),
            browser=f"http://{LOOPBACK}:{state.ports['http']}/browser/",
            redis_url=f"redis://{LOOPBACK}:{state.ports['redis']}/0",
            workers=len(state.workers),
        )

    def to_json(self) -> dict[str, Any]:
        """What `graphinator up --json` prints."""
        return {
            "neo4j": {
                "uri": self.neo4j_uri,
                "user": self.neo4j_user,
                "password_file": str(self.password_file),
                "browser": self.browser,
            },
            "redis": {"url": self.redis_url},
            "workers": self.workers,
            "home": str(self.home),
        }

    def password(self) -> str:
        """Neo4j's password."""
        return self.password_file.read_text(encoding="utf-8").strip()

    def connect(self, settings: Settings) -> Settings:
        """The settings with this stack's servers where they name none of their own."""
        own: dict[str, str] = {}
        if settings.neo4j_uri is None:
            own |= {
                "neo4j_uri": self.neo4j_uri,
                "neo4j_user": self.neo4j_user,
                "neo4j_password": self.password(),
            }
        if settings.redis_url is None:
            own |= {"redis_url": self.redis_url}
        return settings.model_copy(update=own)


def password_file(home: Path) -> Path:
    """The file that holds the password of a home's Neo4j."""
    return home / "neo4j.password"


def state_file(home: Path) -> Path:
    """The file that remembers a home's ports and processes."""
    return home / "stack.json"


def read_info(home: Path) -> StackInfo | None:
    """Where the stack of a home is, or None unless both of its servers run."""
    state = load_state(state_file(home))
    return StackInfo.of(home, state) if {"valkey", "neo4j"} <= state.servers.keys() else None

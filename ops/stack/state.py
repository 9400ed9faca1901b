"""The saved state of a stack: ports and processes, in `stack.json`."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ops.stack.files import write_private
from ops.stack.process import ProcessId
from pipeline.errors import StackError


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

"""What `stack.json` in a stack's home remembers: its ports and its processes."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ops.stack.files import write_private
from ops.stack.processes import Mark
from pipeline.errors import StackError


@dataclass(slots=True)
class State:
    """Changed in memory and saved after each change, so that a kill at any moment leaves a true file."""

    #: `bolt`, `http`, `redis`: chosen once, kept for the next start.
    ports: dict[str, int] = field(default_factory=dict)
    #: `valkey`, `neo4j`.
    servers: dict[str, Mark] = field(default_factory=dict)
    #: By number, from 1.
    workers: dict[int, Mark] = field(default_factory=dict)

    def forget_dead(self) -> None:
        """Drop what no longer runs: after a crash, a kill, a reboot."""
        self.servers = {name: mark for name, mark in self.servers.items() if mark.is_alive()}
        self.workers = {number: mark for number, mark in self.workers.items() if mark.is_alive()}


def load_state(path: Path) -> State:
    """The remembered state without what no longer runs; an empty one where there is no file.

    Raises:
        StackError: the file is not ours.
        OSError: it cannot be read.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except msgspec.DecodeError as error:
        raise StackError(
            f"{path} cannot be read ({error}); stop the stack's processes and remove it"
        ) from error
    state.forget_dead()
    return state


def save_state(path: Path, state: State) -> None:
    """Write the state, whole or not at all."""
    write_private(path, msgspec.json.format(msgspec.json.encode(state)).decode())

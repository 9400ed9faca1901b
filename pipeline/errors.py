"""What can go wrong, as one tree.

GraphinatorError            a user can read it: one line that says what to do
├── SettingError            a setting has a wrong value
├── DumpError               a file is not a dump, or breaks off
│   └── GzipBombError       it inflates to more than is allowed
├── StackError              a server of the embedded stack does not start
├── BusyError               another load is under way
├── GraphError              Neo4j refuses or does not answer
│   ├── GraphUnavailable    it will pass: wait and try again
│   │   └── GraphOverloaded it was too much at once: try again with less
│   └── GraphRejected       it will not pass by itself
│       └── DataRejected    it lies in what was to be written: without that the rest goes through
└── …                       those of `workers` and `ops`, beside what raises them: LoadBroken, LoopStopped, NoDumps
"""

_SHOWN_CHARACTERS = 50


def shown(text: str) -> str:
    """What a file says, fit for a message: one line, not long, nothing that a terminal would obey."""
    line = " ".join(text.split())[:_SHOWN_CHARACTERS]
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


class GraphinatorError(Exception):
    """The root of all errors that are ours; `str(error)` is one line for the user."""

    def is_retryable(self) -> bool:
        """Whether the same call may succeed later with nothing changed by anybody."""
        return False


class SettingError(GraphinatorError):
    """A setting is missing or wrong; names the environment variable."""


class DumpError(GraphinatorError):
    """A file is not a Discogs dump, or stops being one; names the file and, behind its beginning, the byte position.

    The position counts bytes of XML, that is after decompression.
    """

    def __init__(self, path: object, position: int, reason: str) -> None:
        place = f" (at byte {position:,} of the XML)" if position else ""
        super().__init__(f"{path}: {reason}{place}")
        self.path = path
        self.position = position
        self.reason = reason


class GzipBombError(DumpError):
    """A gzip file inflates to more than the allowed multiple of its size."""


class StackError(GraphinatorError):
    """A server of the embedded stack cannot be installed, started or stopped."""


class BusyError(GraphinatorError):
    """Another load is under way."""

    def is_retryable(self) -> bool:
        """Once the other load has ended."""
        return True


class GraphError(GraphinatorError):
    """Neo4j could not do what was asked; the driver's error is the cause."""


class GraphUnavailable(GraphError):
    """Neo4j is away, overloaded, or ended the transaction: the same work may be tried again."""

    def is_retryable(self) -> bool:
        """Every write here may be repeated."""
        return True


class GraphOverloaded(GraphUnavailable):
    """Neo4j has no memory, or no time, or too many locks in the way for this much at once: smaller parts may go through."""


class GraphRejected(GraphError):
    """Neo4j refused the work: wrong password, missing constraint, bad statement."""


class DataRejected(GraphRejected):
    """Neo4j refused what was to be written, not the writing: smaller parts tell in which record it lies."""

"""All errors for users, as one tree.

GraphinatorError            one line that a user can read
├── SettingError            a setting has a wrong value
├── DumpError               a file is not a dump, or breaks off
│   ├── UnreadableError     it cannot be opened
│   ├── DamagedError        its gzip data is corrupt
│   ├── WrongChecksum       it is not the file that Discogs published
│   └── GzipBombError       it inflates to more than is allowed
├── StackError              a server of the embedded stack does not start
├── BusyError               another load is under way
├── GraphError              Neo4j refuses or does not answer
│   ├── GraphUnavailable    passes by itself: wait and retry
│   │   └── GraphOverloaded too much at once: retry with less
│   └── GraphRejected       does not pass by itself
│       ├── DatabaseMissing it has no database of this name
│       ├── NotTrusted      its certificate is not trusted
│       └── DataRejected    a record cannot be stored: the others can
└── …                       those of `workers` and `ops`, beside what raises them: LoadBroken, LoopStopped
"""

import unicodedata

_SHOWN_CHARACTERS = 50


def printable(text: str) -> str:
    r"""Escape characters that are not printable, such as `\n`, `\x1b` and surrogates.

    The result is one line, and no terminal obeys it.
    """
    if text.isprintable():
        return text
    # Python takes spaces other than the ASCII one for not printable.
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else ascii(each)[1:-1]
        for each in text
    )


def shown(text: str) -> str:
    """Return the beginning of a text from a file for a message."""
    return printable(text.strip()[:_SHOWN_CHARACTERS])


class GraphinatorError(Exception):
    """The root of the tree; `str(error)` is one line for the user."""

    def is_retryable(self) -> bool:
        """Return True if the same call may succeed later by itself."""
        return False


class SettingError(GraphinatorError):
    """A setting is missing or wrong; names the environment variable."""


class DumpError(GraphinatorError):
    """A file is not a Discogs dump, or breaks off.

    Names the file and the position, in bytes of XML after decompression.
    """

    def __init__(self, path: object, position: int, reason: str) -> None:
        place = f" (at byte {position:,} of the XML)" if position else ""
        super().__init__(f"{path}: {reason}{place}")
        self.path = path
        self.position = position
        self.reason = reason


class UnreadableError(DumpError):
    """A file that cannot be opened: a missing permission, a broken disk."""


class DamagedError(DumpError):
    """The data of a gzip file is corrupt.

    Records that were read before this shows may be wrong.
    """


class WrongChecksum(DumpError):
    """A file is not the one that its checksum file describes."""


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
    """Neo4j failed or refused; the driver's error is the cause."""


class GraphUnavailable(GraphError):
    """Neo4j is away, overloaded, or ended the transaction: retry."""

    def is_retryable(self) -> bool:
        """Every write here may be repeated."""
        return True


class GraphOverloaded(GraphUnavailable):
    """Neo4j lacks memory or time, or locks collide: retry in smaller parts."""


class GraphRejected(GraphError):
    """Neo4j refused the work: wrong password, missing constraint, bad statement."""


class DatabaseMissing(GraphRejected):
    """Neo4j has no database of this name."""


class NotTrusted(GraphRejected):
    """The certificate of Neo4j is not trusted, or not for its host name."""


class DataRejected(GraphRejected):
    """Neo4j refused a value: smaller parts show which record has it."""

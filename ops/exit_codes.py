"""Exit codes of the command, and the hint that goes with each kind of error."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Self

import click
from kombu.exceptions import OperationalError
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ops.fetch.errors import FetchBusy, FetchError, SiteRefused, SiteUnavailable
from pipeline.errors import (
    BusyError,
    DamagedError,
    DatabaseMissing,
    DumpError,
    GraphError,
    GraphinatorError,
    GzipBombError,
    SettingError,
    StackError,
    UnreadableError,
    WrongChecksum,
)
from workers.loader import NotResumed, QuarantineFull, WouldVanish
from workers.sender import LoadBroken
from workers.settings import ServerNotSet
from workers.state.keys import LEASE_SECONDS
from workers.state.lease import LeaseLost


class ExitCode(IntEnum):
    """An exit code; `meaning` is its line in the docs."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make an integer with a meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILED = (
        1,
        (
            "`verify` found a difference or an unreadable record, `explore` found no node or several that fit equally "
            "well, `health` a worker or server that does not answer, or the question of `purge` was answered with no; "
            "otherwise a bug in graphinator"
        ),
    )
    USAGE = 2, "wrong usage, or a setting with a wrong value"
    DUMP = 3, "a file is not a dump, breaks off, or has a wrong checksum"
    STACK = 4, "a server of the embedded stack, a file or an extra package cannot be used"
    BUSY = 5, "another load, or another download into the same folder, is under way"
    NEO4J = 6, "Neo4j refuses, or does not answer"
    INCOMPLETE = (
        7,
        "a load ended incomplete: its message says what to do; or all records that `replay` tried were refused",
    )
    REDIS = 8, "Redis does not answer, or refuses"
    VANISHED = 9, "too many records are missing from a dump; nothing was removed"
    UNHEALTHY = 10, "`status --check` found a fault: something does not run, or a load has stalled or failed"
    DISCOGS = 11, "dumps cannot be downloaded: the site refuses, does not answer, or does not have them yet"
    INTERRUPTED = 130, "interrupted"


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a command that an error of one kind brings about."""

    code: ExitCode
    #: A command, option or setting that helps, the error's for `{}`; `graphinator …` stands for the command with its `--home`.
    hint: str = ""
    #: The fact, with the text of the error for `{}`.
    message: str = "{}"


#: Also right where `graphinator resume` is not: Redis may have lost the list of loads.
LOAD_AGAIN = "load again: records that are in the graph are skipped"

#: By class of error. The nearest base class counts.
FAILURES: dict[type[BaseException], Failure] = {
    GraphinatorError: Failure(ExitCode.FAILED),
    SettingError: Failure(ExitCode.USAGE),
    ServerNotSet: Failure(
        ExitCode.USAGE, "start it with `graphinator up`, or set {}", "the stack is not running"
    ),
    DumpError: Failure(ExitCode.DUMP),
    UnreadableError: Failure(ExitCode.STACK),
    DamagedError: Failure(ExitCode.DUMP, "get the file again, and load it"),
    GzipBombError: Failure(ExitCode.DUMP, "GRAPHINATOR_INFLATE_RATIO is the limit"),
    WrongChecksum: Failure(
        ExitCode.DUMP, "download it again; it is loaded as it is when the checksum file is gone"
    ),
    StackError: Failure(ExitCode.STACK),
    OSError: Failure(ExitCode.STACK),
    click.FileError: Failure(ExitCode.STACK),
    BusyError: Failure(
        ExitCode.BUSY, f"wait for its end; the lock of a killed load expires within {LEASE_SECONDS} s"
    ),
    FetchBusy: Failure(ExitCode.BUSY),
    FetchError: Failure(ExitCode.DISCOGS),
    SiteUnavailable: Failure(ExitCode.DISCOGS, "the same command goes on with what has arrived"),
    SiteRefused: Failure(
        ExitCode.DISCOGS,
        "a browser may get the dumps, `graphinator load` loads them; "
        "GRAPHINATOR_DUMPS_LIST_URL and GRAPHINATOR_DUMPS_URL are the addresses",
    ),
    GraphError: Failure(ExitCode.NEO4J),
    DatabaseMissing: Failure(ExitCode.NEO4J, "GRAPHINATOR_NEO4J_DATABASE names the database"),
    LoadBroken: Failure(ExitCode.INCOMPLETE, LOAD_AGAIN),
    LeaseLost: Failure(ExitCode.INCOMPLETE, LOAD_AGAIN),
    NotResumed: Failure(
        ExitCode.INCOMPLETE, "put the file back, or give its load up with `graphinator resume --forget {}`"
    ),
    QuarantineFull: Failure(
        ExitCode.INCOMPLETE,
        "free it with `graphinator quarantine export` and `graphinator quarantine purge`, "
        "or raise GRAPHINATOR_QUARANTINE_MEGABYTES; then load again",
    ),
    WouldVanish: Failure(
        ExitCode.VANISHED,
        "load a complete dump with --allow-vanish, a dump that holds only some records with --partial",
    ),
    RedisError: Failure(ExitCode.REDIS, message="Redis refuses: {}"),
    AuthenticationError: Failure(
        ExitCode.REDIS,
        "check GRAPHINATOR_REDIS_PASSWORD, and the user in GRAPHINATOR_REDIS_URL",
        "Redis refuses the login ({})",
    ),
    OutOfMemoryError: Failure(
        ExitCode.REDIS,
        "raise GRAPHINATOR_REDIS_MEGABYTES and start the stack again, or `maxmemory` of your own Redis; "
        "then `graphinator resume`",
        "Redis is full ({})",
    ),
    KeyboardInterrupt: Failure(
        ExitCode.INTERRUPTED,
        "`graphinator resume` continues a load, any other command may be repeated",
        "interrupted",
    ),
}
FAILURES |= dict.fromkeys(
    (RedisConnectionError, RedisTimeoutError, OperationalError),
    Failure(
        ExitCode.REDIS,
        "`graphinator up` starts the stack, `graphinator resume` goes on with a load",
        "Redis does not answer ({})",
    ),
)


def failure_of(error: BaseException) -> Failure | None:
    """Return the failure that `error` stands for, or None for a bug."""
    if isinstance(error, RedisError | OperationalError):
        if "maxmemory" in str(error):
            return FAILURES[OutOfMemoryError]
        if isinstance(error.__cause__, AuthenticationError):
            return FAILURES[AuthenticationError]
    return next((FAILURES[kind] for kind in type(error).__mro__ if kind in FAILURES), None)


def describe(error: BaseException, program: str = "graphinator") -> str:
    """Describe an error in one line: the fact, then what helps.

    `program` replaces `graphinator` in the hint, so that it names the user's `--home`.
    """
    failure = failure_of(error) or FAILURES[GraphinatorError]
    fact = fact_of(error)
    hint = failure.hint.replace("{}", _subject(error)).replace("`graphinator ", f"`{program} ")
    return f"{fact}; {hint}" if hint else fact


def fact_of(error: BaseException) -> str:
    """Describe an error in one line, without a hint."""
    failure = failure_of(error) or FAILURES[GraphinatorError]
    return failure.message.format(_text(error))


def _subject(error: BaseException) -> str:
    """Return the setting or run that the hint names."""
    match error:
        case ServerNotSet():
            return error.variable
        case NotResumed():
            return error.run
    return ""


def _text(error: BaseException) -> str:
    if isinstance(error, click.FileError):
        return error.format_message()
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror or error}"
    return str(error)


def exit_code_table() -> str:
    """Return the table of exit codes in the docs, as Markdown."""
    lines = [f"| {code.value} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| exit code | meaning |", "|---|---|", *lines])

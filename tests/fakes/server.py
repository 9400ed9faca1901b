"""A database of registered answers: what the fake driver talks to instead of Neo4j."""

from __future__ import annotations

import asyncio
import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from weakref import WeakSet

from neo4j.exceptions import IncompleteCommit, Neo4jError

from tests.fakes.faults import Fault, Moment, deadlock, server_error

#: State that the answers keep between statements; its values support `copy.deepcopy` and `==`.
Store = dict[str, Any]


#: `(store, parameters) -> rows`; may change the store, and raises what the server would answer instead.
Answer = Callable[[Store, Mapping[str, Any]], Iterable[dict[str, Any]]]


@dataclass(frozen=True)
class Statement:
    """One statement that arrived."""

    text: str
    parameters: Mapping[str, Any]


class Parameters(dict[str, Any]):
    """A statement's parameters; a missing one is the client's error."""

    def __missing__(self, name: str) -> Any:
        raise server_error("Neo.ClientError.Statement.ParameterMissing", f"Expected parameter(s): {name}")


def on_the_wire(value: Any) -> Any:
    """Copy a value as the driver sends it; raise the driver's error if it cannot."""
    match value:
        case None | bool() | float() | str() | bytes() | bytearray():
            return value
        case int():
            if not -(2**63) <= value < 2**63:
                raise OverflowError("Integer values must be within 64 bits")
            return value
        case list() | tuple():
            return [on_the_wire(each) for each in value]
        case dict():
            if not all(isinstance(name, str) for name in value):
                raise TypeError("Map keys must be strings")
            return {name: on_the_wire(each) for name, each in value.items()}
        case _:
            raise ValueError(f"Values of type {type(value)} are not supported")


@dataclass
class Reply:
    """The reply to a statement: its records, then an error if there is one."""

    statement: Statement
    rows: list[dict[str, Any]]
    error: Exception | None = None

    def check(self) -> None:
        """Raise the error that ends the records."""
        if self.error is not None:
            raise self.error


class Session(Protocol):
    """A session, as the server looks at it."""

    _closed: bool


class UnreadResultError(AssertionError):
    """A transaction or session ended with an unread result; raised in strict mode only."""


@dataclass(eq=False)
class Work:
    """A transaction on the server: a copy of the store that replaces it at commit."""

    base: Store
    store: Store = field(init=False)
    statements: list[Statement] = field(default_factory=list)
    state: Literal["open", "committed", "rolled back"] = "open"

    def __post_init__(self) -> None:
        self.store = copy.deepcopy(self.base)


class FakeServer:
    """Answers statements by their text, keeps a store with transactions, and breaks on demand.

    It does not understand Cypher: a statement without a registered answer is refused like one with a syntax error.
    """

    def __init__(self, answers: Mapping[str, Answer] | None = None, *, strict: bool = True) -> None:
        self._answers: list[tuple[re.Pattern[str], Answer]] = []
        for text, answer in (answers or {}).items():
            self.answer(text, answer)
        #: True if an unread result is an error. Neo4j discards it in silence; we read everything.
        self.strict = strict
        self._faults: list[Fault] = []
        self._seen: Counter[Moment] = Counter()
        self.store: Store = {}
        #: Every transaction that was begun, the automatic ones of `session.run` included, oldest first.
        self.transactions: list[Work] = []
        self._sessions: WeakSet[Session] = WeakSet()

    # -- what a test sets up and looks at

    def answer(self, statement: str | re.Pattern[str], answer: Answer | Sequence[dict[str, Any]]) -> None:
        """Script the answer to a statement: its rows, or a function that makes them.

        The statement is a text, white space around it aside, or a pattern of whole texts. The latest answer counts.
        """
        pattern = re.compile(re.escape(statement.strip())) if isinstance(statement, str) else statement
        function = answer if callable(answer) else lambda _store, _parameters: answer
        self._answers.insert(0, (pattern, function))

    def fail(
        self, error: Callable[[], Exception], *, at: Moment = Moment.RUN, occurrence: int = 1, times: int = 1
    ) -> None:
        """Plan an error for an occurrence of the moment, counted from now.

        It strikes `times` occurrences in a row.
        """
        self._faults.append(Fault(at, self._seen[at] + occurrence, times, error))

    @property
    def statements(self) -> list[Statement]:
        """Every statement that arrived, by transaction, oldest first."""
        return [statement for work in self.transactions for statement in work.statements]

    @property
    def open_sessions(self) -> int:
        """The number of existing sessions that were neither closed nor cancelled."""
        return sum(not session._closed for session in self._sessions)

    # -- what the driver calls

    def opened(self, session: Session) -> None:
        """Remember a session for as long as somebody else does."""
        self._sessions.add(session)

    async def moment(self, moment: Moment) -> None:
        """Let time pass, as a round trip does, and let the planned faults strike."""
        await asyncio.sleep(0)
        self._seen[moment] += 1
        for fault in [fault for fault in self._faults if fault.moment is moment]:
            await fault.strike(self._seen[moment])

    async def begin(self) -> Work:
        """Open a transaction on a connection of its own."""
        await self.moment(Moment.CONNECT)
        work = Work(self.store)
        self.transactions.append(work)
        return work

    async def run(self, work: Work, text: str, parameters: dict[str, Any]) -> Reply:
        """Answer one statement; raises what the real driver raises where the server refuses it."""
        statement = Statement(text.strip(), on_the_wire(parameters))
        work.statements.append(statement)
        await self.moment(Moment.RUN)
        answer = next((each for pattern, each in self._answers if pattern.fullmatch(statement.text)), None)
        if answer is None:
            raise server_error(
                "Neo.ClientError.Statement.SyntaxError", f"no answer is registered for: {statement.text!r}"
            )
        rows: list[dict[str, Any]] = []
        answered = answer(work.store, Parameters(on_the_wire(parameters)))
        try:
            rows.extend(on_the_wire(row) for row in answered)
        except Neo4jError as error:  # a generator's error: the records before it were on their way already
            return Reply(statement, rows, error)
        return Reply(statement, rows)

    async def commit(self, work: Work) -> None:
        """Make the transaction's store the store, or answer like a deadlock if that changed meanwhile."""
        try:
            await self.moment(Moment.COMMIT)
        except IncompleteCommit:
            self._apply(work)
            raise
        self._apply(work)

    def _apply(self, work: Work) -> None:
        if work.store != work.base:
            if self.store is not work.base:
                raise deadlock()
            self.store = work.store
        work.state = "committed"

    def roll_back(self, work: Work) -> None:
        """Forget what an open transaction did."""
        if work.state == "open":
            work.state = "rolled back"

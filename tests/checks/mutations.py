"""Small, wrong versions of a module: one for each place where the original bug could come back.

Mechanical, from the syntax tree: every `await`, `async with` and `async for` is dropped in turn; every session is
closed only when nothing goes wrong; every coroutine that opens a session swallows its cancellation; every exception
that a handler raises is lost. What depends on the record type is broken for one type at a time as well.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

AsyncFunction = ast.AsyncFunctionDef
#: The members of `pipeline.model.RecordType`, for the places that work on a record type given to them.
RECORD_TYPES = ("ARTISTS", "LABELS", "MASTERS", "RELEASES")

DROPPED_AWAIT = "`await` dropped"
SYNC_WITH = "`async with` → `with`"
SYNC_FOR = "`async for` → `for`"
UNCLOSED = "session closed only on success"
SWALLOWED = "cancellation swallowed"
LOST = "exception lost"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One wrong version of one module."""

    #: The dotted name of the module, and of the function in it.
    module: str
    function: str
    kind: str
    #: The code that it is done to, on one line, and which of several alike in the function it is, from 1.
    code: str
    occurrence: int
    #: The whole text of the wrong module.
    text: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others, and does not change when lines move."""
        code = self.code if self.occurrence == 1 else f"{self.code} ({self.occurrence})"
        return self.module, self.function, self.kind, code


def mutations(module: str, text: str) -> list[Mutation]:
    """All wrong versions of the module's text, function by function; none of a module without async code."""
    source = _Source(text)
    if not any(isinstance(node, ast.Await | ast.AsyncWith | ast.AsyncFor) for node in ast.walk(source.tree)):
        return []
    seen: Counter[tuple[str, str, str]] = Counter()
    found = []
    for function, node in _functions(source.tree):
        for kind, code, mutated in _of_function(node, source):
            seen[function, kind, code] += 1
            found.append(Mutation(module, function, kind, code, seen[function, kind, code], mutated))
    return found


class _Source:
    """A module's text, to be changed by byte offsets (which is what the syntax tree counts)."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self._bytes = text.encode()
        self._starts = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.expr | ast.stmt | ast.excepthandler) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt | ast.excepthandler) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.end_lineno - 1] + node.end_col_offset

    def of(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode()

    def replaced(self, start: int, end: int, new: str) -> str:
        return (self._bytes[:start] + new.encode() + self._bytes[end:]).decode()

    def statement(self, node: ast.stmt, new: list[ast.stmt]) -> str:
        """The text with a statement replaced by others, at its indentation."""
        indent = " " * node.col_offset
        lines = "\n".join(ast.unparse(ast.fix_missing_locations(each)) for each in new).splitlines()
        return self.replaced(self.start(node), self.end(node), f"\n{indent}".join(lines))


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | AsyncFunction]]:
    """The functions of a module by qualified name, inner ones after their outer one."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | AsyncFunction]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | AsyncFunction):
                yield prefix + child.name, child
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            else:
                yield from visit(child, prefix)

    return visit(tree, "")


def _own(function: ast.FunctionDef | AsyncFunction) -> Iterator[ast.AST]:
    """The nodes of a function's body without those of functions inside it, in the order of the text."""
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | AsyncFunction | ast.Lambda | ast.ClassDef):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _of_function(
    function: ast.FunctionDef | AsyncFunction, source: _Source
) -> Iterator[tuple[str, str, str]]:
    by_type = any(each.arg == "record_type" for each in function.args.args)
    some_types_only = set(_for_some_types(function))
    for node in _own(function):
        yield from _of_node(node, source)
        if by_type and isinstance(node, ast.stmt) and node not in some_types_only:
            for kind, code, wrong in _of_statement(node, source):
                for record_type in RECORD_TYPES:
                    only = _only_for(record_type, wrong, node)
                    yield f"{kind}, {record_type.lower()} only", code, source.statement(node, [only])


def _for_some_types(function: ast.AST) -> Iterator[ast.AST]:
    """What may not be reached for every record type: no test could tell a version that is wrong for such a type."""
    for node in ast.walk(function):
        match node:
            case ast.For() | ast.While():
                yield from ast.walk(node)
            case ast.If(test=test) if "record_type" in ast.unparse(test):
                yield from ast.walk(node)


def _of_node(node: ast.AST, source: _Source) -> Iterator[tuple[str, str, str]]:
    match node:
        case ast.Await(value=value):
            start = source.start(node)
            code = _line(source.of(start, source.end(node)))
            yield DROPPED_AWAIT, code, source.replaced(start, source.start(value), "")
        case ast.AsyncWith():
            code = _head(node, source)
            start = source.start(node)
            yield SYNC_WITH, code, source.replaced(start, start + len("async "), "")
            if "session" in ast.unparse(node.items[0].context_expr):
                yield UNCLOSED, code, source.statement(node, _closed_on_success(node))
                yield SWALLOWED, code, source.statement(node, _swallowing(node))
        case ast.AsyncFor(target=target, iter=iterable):
            start = source.start(node)
            yield SYNC_FOR, _loop(target, iterable), source.replaced(start, start + len("async "), "")
        case ast.comprehension(target=target, iter=iterable, is_async=1):
            before = source.of(0, source.start(target))
            start = len(before[: before.rindex("async")].encode())
            yield SYNC_FOR, _loop(target, iterable), source.replaced(start, start + len("async "), "")
        case ast.ExceptHandler():
            yield from _lost(node, source)


def _of_statement(node: ast.stmt, source: _Source) -> Iterator[tuple[str, str, ast.stmt]]:
    """Wrong versions of a statement that other statements can stand beside."""
    match node:
        case ast.AsyncWith(items=items, body=body):
            yield SYNC_WITH, _head(node, source), ast.With(items=items, body=body)
        case ast.AsyncFor(target=target, iter=iterable, body=body, orelse=orelse):
            wrong = ast.For(target=target, iter=iterable, body=body, orelse=orelse)
            yield SYNC_FOR, _loop(target, iterable), wrong
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign() | ast.Expr() | ast.Return():
            for number, found in enumerate(each for each in ast.walk(node) if isinstance(each, ast.Await)):
                code = _line(source.of(source.start(found), source.end(found)))
                yield DROPPED_AWAIT, code, _without_await(node, number)


def _lost(handler: ast.ExceptHandler, source: _Source) -> Iterator[tuple[str, str, str]]:
    for node in ast.walk(handler):
        if isinstance(node, ast.Raise):
            code = f"{ast.unparse(handler).splitlines()[0]} {_line(ast.unparse(node))}"
            kind = SWALLOWED if "CancelledError" in code else LOST
            yield kind, code, source.replaced(source.start(node), source.end(node), "pass")


def _line(code: str) -> str:
    code = " ".join(code.split())
    return code if len(code) <= 90 else f"{code[:89]}…"


def _head(node: ast.AsyncWith, source: _Source) -> str:
    last = node.items[-1].optional_vars or node.items[-1].context_expr
    return _line(source.of(source.start(node), source.end(last)))


def _loop(target: ast.expr, iterable: ast.expr) -> str:
    return _line(f"async for {ast.unparse(target)} in {ast.unparse(iterable)}")


def _closed_on_success(node: ast.AsyncWith) -> list[ast.stmt]:
    """Open the session, do the work, close the session: an error passes before that."""
    session = node.items[0].optional_vars or ast.Name("session", ast.Store())
    close = ast.parse(f"await {ast.unparse(session)}.close()").body

    class Closing(ast.NodeTransformer):
        def visit_Return(self, found: ast.Return) -> list[ast.stmt]:
            kept = ast.Assign([ast.Name("returned", ast.Store())], found.value or ast.Constant(None))
            return [kept, *close, ast.Return(ast.Name("returned", ast.Load()))]

    opened = ast.Assign([session], node.items[0].context_expr)
    body = ast.Module([copy.deepcopy(each) for each in node.body], [])
    closed = Closing().visit(body).body
    return [opened, *closed, *([] if isinstance(closed[-1], ast.Return) else close)]


def _swallowing(node: ast.AsyncWith) -> list[ast.stmt]:
    swallowing = ast.ExceptHandler(_dotted("asyncio", "CancelledError"), None, [ast.Pass()])
    return [ast.Import([ast.alias("asyncio")]), ast.Try([node], [swallowing], [], [])]


def _without_await(node: ast.stmt, number: int) -> ast.stmt:
    wrong = copy.deepcopy(node)
    target = [each for each in ast.walk(wrong) if isinstance(each, ast.Await)][number]

    class Dropping(ast.NodeTransformer):
        def visit_Await(self, found: ast.Await) -> ast.AST:
            return found.value if found is target else self.generic_visit(found)

    dropped = Dropping().visit(wrong)
    return cast("ast.stmt", dropped)


def _only_for(record_type: str, wrong: ast.stmt, right: ast.stmt) -> ast.stmt:
    its_turn = ast.Compare(
        ast.Name("record_type", ast.Load()), [ast.Eq()], [ast.Constant(record_type.lower())]
    )
    return ast.If(its_turn, [wrong], [right])


def _dotted(base: str, name: str) -> ast.expr:
    return ast.Attribute(ast.Name(base, ast.Load()), name, ast.Load())

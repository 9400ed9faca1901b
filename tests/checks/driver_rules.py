"""Rules for Neo4j's async driver: what is a coroutine there, and what is asynchronous to open or to read."""

import ast
from collections.abc import Iterator

from tests.checks.kinds import ASYNC_ONLY, COROUTINES, DRIVERS, Kind
from tests.checks.module import Finding, Module

#: Functions that take coroutines and see to them; a coroutine among their arguments needs no `await`.
_SCHEDULERS = frozenset(
    {
        "as_completed",
        "create_task",
        "ensure_future",
        "gather",
        "run",
        "run_coroutine_threadsafe",
        "run_until_complete",
        "shield",
        "wait",
        "wait_for",
    }
)
_SYNC_READERS = frozenset(
    {
        "all",
        "any",
        "dict",
        "enumerate",
        "filter",
        "iter",
        "list",
        "map",
        "max",
        "min",
        "next",
        "set",
        "sorted",
    }
    | {"sum", "tuple", "zip"}
)


def sync_with(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA101: `with` where only `async with` is right."""
    if isinstance(node, ast.withitem) and isinstance(module.parent(node), ast.With):
        kind = module.kind(node.context_expr)
        if kind in ASYNC_ONLY:
            line = node.context_expr.lineno
            yield Finding(line, "GA101", f"`with` on an async {_name(kind)}: use `async with`")


def sync_iteration(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA102: a result read by `for`, a comprehension, `list()` and the like where only `async for` is right."""
    read: list[ast.expr] = []
    match node:
        case ast.For(iter=iterable):
            read = [iterable]
        case ast.comprehension(iter=iterable, is_async=0):
            read = [iterable]
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _SYNC_READERS:
            read = arguments
        case ast.Starred(value=value):
            read = [value]
    for each in read:
        if module.kind(each) is Kind.RESULT:
            yield Finding(
                each.lineno, "GA102", "a result is read with `async for`, or by awaiting its methods"
            )


def missing_await(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA103: a coroutine method of the driver that nobody awaits."""
    if not isinstance(node, ast.Call):
        return
    kind, method = module.method(node)
    if kind is None or method not in COROUTINES.get(kind, frozenset()) or _is_seen_to(node, module):
        return
    yield Finding(node.lineno, "GA103", f"`{method}` of an async {_name(kind)} is a coroutine: await it")


def needless_await(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA104: `await` on `AsyncDriver.session()`, which is no coroutine (that of `pipeline.graph.driver.Driver` is)."""
    if isinstance(node, ast.Await) and module.method(node.value) == (Kind.DRIVER, "session"):
        yield Finding(node.lineno, "GA104", "`session` of a `neo4j.AsyncDriver` is no coroutine")


def transaction_function(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA106: `execute_read` and `execute_write` take an async function, and take it uncalled."""
    if not isinstance(node, ast.Call):
        return
    kind, method = module.method(node)
    if kind is not Kind.SESSION or method not in {"execute_read", "execute_write"}:
        return
    match node.args[:1]:
        case [ast.Call(func=function)] if isinstance(_local(function, module), ast.AsyncFunctionDef):
            yield Finding(node.lineno, "GA106", f"`{method}` calls the function itself: pass it uncalled")
        case [ast.Name() | ast.Attribute() as function] if _gives_no_awaitable(_local(function, module)):
            yield Finding(
                node.lineno, "GA106", f"`{method}` awaits what the function returns: make it `async def`"
            )
        case [ast.Lambda(body=body)] if not isinstance(body, ast.Call) or _gives_no_awaitable(
            _local(body.func, module)
        ):
            yield Finding(
                node.lineno, "GA106", f"`{method}` awaits what the function returns: make it `async def`"
            )


RULES = [
    sync_with,
    sync_iteration,
    missing_await,
    needless_await,
    transaction_function,
]


def _name(kind: Kind | None) -> str:
    return "driver" if kind in DRIVERS or kind is None else kind.name.lower()


def _is_seen_to(call: ast.AST, module: Module) -> bool:
    """Whether the coroutine is awaited, handed to a scheduler, or returned to somebody who may await it."""
    for each in module.ancestors(call):
        match each:
            case ast.Await():
                return True
            case ast.Lambda():
                return True
            case ast.Return():
                return not module.in_coroutine(each)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                return name in _SCHEDULERS
            case ast.List() | ast.Tuple() | ast.Set() | ast.Starred() | ast.ListComp() | ast.GeneratorExp():
                continue
            case ast.IfExp() | ast.keyword():
                continue
            case _:
                return False
    return False


def _local(function: ast.expr, module: Module) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    match function:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            return module.functions.get(name)
    return None


def _gives_no_awaitable(function: ast.FunctionDef | ast.AsyncFunctionDef | None) -> bool:
    if not isinstance(function, ast.FunctionDef):
        return False
    returns = [each.value for each in ast.walk(function) if isinstance(each, ast.Return)]
    return not returns or not all(isinstance(value, ast.Call | ast.Name) for value in returns)

"""Rules for how long things last: sessions, results, and coroutines that are cancelled."""

import ast
from collections.abc import Iterator

from tests.checks.kinds import DRIVERS, Kind
from tests.checks.module import Finding, Module

_ENTERING = frozenset({"enter_async_context", "aclosing"})


def unclosed_session(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA105: a session that is opened other than by `async with` stays open when an error passes."""
    if not isinstance(node, ast.Call):
        return
    kind, method = module.method(node)
    if kind not in DRIVERS or method != "session":
        return
    if not _is_opened_or_handed_on(node, module):
        yield Finding(
            node.lineno, "GA105", "open a session with `async with`, which closes it whatever happens"
        )


def escaping_result(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA107: a result that leaves the transaction or session that it can be read in."""
    if not isinstance(node, ast.Return) or node.value is None or module.kind(node.value) is not Kind.RESULT:
        return
    function = module.function(node)
    if any(_opens_session(each, module) for each in _up_to(node, function, module)) or _is_unit_of_work(
        function, module
    ):
        yield Finding(
            node.lineno, "GA107", "a result cannot be read after its transaction: return what it holds"
        )


def swallowed_cancellation(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA108: a coroutine that catches its own cancellation and goes on."""
    if not isinstance(node, ast.Try) or not module.in_coroutine(node):
        return
    for handler in node.handlers:
        caught = _caught(handler, module)
        if not caught & {"BaseException", "asyncio.CancelledError"}:
            continue
        if not any(isinstance(each, ast.Raise) for each in ast.walk(handler)) and not _awaits_cancelled(
            node, module
        ):
            yield Finding(
                handler.lineno, "GA108", "a cancelled coroutine cleans up and re-raises CancelledError"
            )
        return  # what a later handler catches is no cancellation any more


def suppressed_cancellation(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA108 again, for `contextlib.suppress`."""
    if not isinstance(node, ast.With) or not module.in_coroutine(node):
        return
    for item in node.items:
        match item.context_expr:
            case ast.Call(func=function, args=arguments) if (
                module.names.qualified(function) == "contextlib.suppress"
            ):
                names = {module.names.qualified(each) for each in arguments}
                if names & {"BaseException", "asyncio.CancelledError"} and not _awaits_cancelled(
                    node, module
                ):
                    yield Finding(
                        node.lineno, "GA108", "a cancelled coroutine cleans up and re-raises CancelledError"
                    )


RULES = [unclosed_session, escaping_result, swallowed_cancellation, suppressed_cancellation]


def _is_opened_or_handed_on(call: ast.Call, module: Module) -> bool:
    """Whether a session is opened by `async with`, at once or by its name, or returned for others to open."""
    node: ast.AST = call
    for each in module.ancestors(call):
        match each:
            case ast.withitem() | ast.Return():
                return True
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _ENTERING:
                return True
            case ast.Assign(targets=[ast.Name(id=name)]):
                return any(
                    isinstance(item, ast.withitem) and ast.unparse(item.context_expr) == name
                    for item in ast.walk(module.function(call) or call)
                )
            case ast.Expr():
                return _is_expected_to_fail(each, module)
            case ast.Await():
                node = each
            case ast.Call(args=arguments) if node in arguments:
                node = each
            case _:
                return False
    return False


def _is_expected_to_fail(statement: ast.stmt, module: Module) -> bool:
    """Whether a statement stands alone in `with pytest.raises(...)`."""
    around = module.parent(statement)
    return isinstance(around, ast.With) and any(
        isinstance(item.context_expr, ast.Call)
        and module.names.qualified(item.context_expr.func) == "pytest.raises"
        for item in around.items
    )


def _up_to(node: ast.AST, function: ast.AST | None, module: Module) -> Iterator[ast.AST]:
    for each in module.ancestors(node):
        if each is function:
            return
        yield each


def _opens_session(node: ast.AST, module: Module) -> bool:
    return isinstance(node, ast.AsyncWith) and any(
        module.kind(item.context_expr) is Kind.SESSION for item in node.items
    )


def _is_unit_of_work(function: ast.AST | None, module: Module) -> bool:
    """Whether a function of this module is passed to `execute_read` or `execute_write` somewhere in it."""
    if not isinstance(function, ast.AsyncFunctionDef):
        return False
    return function.name in module.units_of_work


def _caught(handler: ast.ExceptHandler, module: Module) -> set[str]:
    if handler.type is None:
        return {"BaseException"}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {module.names.qualified(each) for each in types}
    return {"asyncio.CancelledError" if name.endswith("CancelledError") else name for name in names}


def _awaits_cancelled(block: ast.Try | ast.With, module: Module) -> bool:
    """Whether the block does nothing but await a task that this function has cancelled."""
    match block.body:
        case [ast.Expr(value=ast.Await(value=awaited))]:
            function = module.function(block)
            return function is not None and any(
                isinstance(each, ast.Attribute)
                and each.attr == "cancel"
                and ast.dump(each.value) == ast.dump(awaited)
                for each in ast.walk(function)
            )
    return False

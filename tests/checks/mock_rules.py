"""Rules against mocks that stand in for Neo4j's driver: they accept what the driver refuses."""

import ast
from collections.abc import Iterator

from tests.checks.kinds import ASYNC_ONLY, CONVENTIONS
from tests.checks.module import Finding, Module

_MOCKS = frozenset(
    {"AsyncMock", "MagicMock", "Mock", "NonCallableMagicMock", "NonCallableMock", "create_autospec"}
)
#: Methods that a mock is given only where it plays a driver's part.
_DRIVER_METHODS = frozenset({"begin_transaction", "execute_read", "execute_write", "session"})
_NAMES = frozenset(CONVENTIONS) | {"mock_driver", "mock_session", "mock_tx", "mock_result", "result"}
_ADVICE = "use the fixture `realistic_async_driver`"


def mock_of_a_driver(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA301: a mock made to the measure of a driver class, or kept or passed under a driver's name."""
    if not isinstance(node, ast.Call) or not _is_mock(node):
        return
    specs = [
        *node.args[:1],
        *(keyword.value for keyword in node.keywords if keyword.arg in {"spec", "spec_set"}),
    ]
    if any(module.names.annotated(spec) in ASYNC_ONLY for spec in specs):
        yield Finding(node.lineno, "GA301", f"a mock of an async driver class accepts sync use: {_ADVICE}")
    elif _NAMES & {name.lstrip("_") for name in _kept_as(node, module)}:
        yield Finding(node.lineno, "GA301", f"a mock in a driver's place accepts sync use: {_ADVICE}")


def mock_with_driver_methods(node: ast.AST, _: Module) -> Iterator[Finding]:
    """GA302: a mock that is told what `session`, `execute_write` and the like give."""
    match node:
        case ast.Attribute(attr="return_value" | "side_effect", value=ast.Attribute(attr=method)):
            if method in {"__aenter__", "__enter__"}:
                yield Finding(node.lineno, "GA302", f"a mocked context manager accepts any use: {_ADVICE}")
            elif method in _DRIVER_METHODS:
                yield Finding(node.lineno, "GA302", f"a mocked `{method}` accepts sync use: {_ADVICE}")


def patched_driver(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA303: `patch` on the driver's own package, or on what hands out the driver."""
    if not isinstance(node, ast.Call):
        return
    called = module.names.qualified(node.func)
    if not (
        called.endswith(("patch", "patch.object"))
        and called.startswith(("unittest.mock", "mock", "mocker", "patch"))
    ):
        return
    match node.args[:2]:
        case [ast.Constant(value=str(target)), *_]:
            parts = target.split(".")
            if (
                parts[0] == "neo4j"
                or {"AsyncGraphDatabase", "AsyncDriver"} & set(parts)
                or parts[-1] in CONVENTIONS
            ):
                yield Finding(node.lineno, "GA303", f"a patched driver accepts sync use: {_ADVICE}")
        case [target, *_] if module.names.annotated(target) in ASYNC_ONLY or module.names.qualified(
            target
        ).startswith("neo4j."):
            yield Finding(node.lineno, "GA303", f"a patched driver accepts sync use: {_ADVICE}")


RULES = [mock_of_a_driver, mock_with_driver_methods, patched_driver]


def _is_mock(node: ast.Call) -> bool:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _MOCKS
    return False


def _kept_as(node: ast.AST, module: Module) -> Iterator[str]:
    """The names under which a value is kept, passed, returned by a fixture, or opened."""
    parent = module.parent(node)
    match parent:
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _last(target)
        case ast.AnnAssign(target=target) | ast.NamedExpr(target=target):
            yield from _last(target)
        case ast.keyword(arg=str(name)):
            yield name
        case ast.Return() | ast.Yield():
            function = module.function(node)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield function.name


def _last(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name

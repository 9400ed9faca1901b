"""A walk over one module in the order it runs, with what the rules need to know at each node."""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.checks.kinds import Kind, Names

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True, order=True, slots=True)
class Finding:
    """One violation: where, which rule, and what to do."""

    line: int
    code: str
    message: str


class Module:
    """One parsed module; `findings` walks it once, past every rule."""

    def __init__(self, text: str) -> None:
        self._tree = ast.parse(text)
        self.names = Names(self._tree)
        self._parents: dict[ast.AST, ast.AST] = {}
        #: The functions of the module, methods included, by name; a name that is defined twice is left out.
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        twice: set[str] = set()
        for node in ast.walk(self._tree):
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name in self.functions:
                    twice.add(node.name)
                self.functions[node.name] = node
        for name in twice:
            del self.functions[name]
        #: The names of the functions that are passed to `execute_read` or `execute_write`.
        self.units_of_work = {name for node in ast.walk(self._tree) for name in _unit_of_work(node)}

    def walk(self) -> Iterator[ast.AST]:
        """Every node, outer before inner; what a node binds is known when the nodes after it come."""
        yield from self._visit(self._tree)

    def findings(self, rules: Sequence[Callable[[ast.AST, "Module"], Iterator[Finding]]]) -> list[Finding]:
        """What the rules find, sorted by line."""
        found = {finding for node in self.walk() for rule in rules for finding in rule(node, self)}
        return sorted(found)

    # -- questions of the rules

    def parent(self, node: ast.AST) -> ast.AST | None:
        """The node around this one."""
        return self._parents.get(node)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around this one, the nearest first."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def function(self, node: ast.AST) -> Function | None:
        """The nearest function around a node."""
        return next((each for each in self.ancestors(node) if isinstance(each, Function)), None)

    def in_coroutine(self, node: ast.AST) -> bool:
        """Whether the node runs on the event loop: its nearest function is an `async def`."""
        return isinstance(self.function(node), ast.AsyncFunctionDef)

    def kind(self, node: ast.expr) -> Kind | None:
        """What an expression is."""
        return self.names.kind(node)

    def method(self, node: ast.AST) -> tuple[Kind | None, str]:
        """Of a call of a method: what it is a method of, and its name; otherwise (None, "")."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.kind(node.func.value), node.func.attr
        return None, ""

    # -- the walk

    def _visit(self, node: ast.AST) -> Iterator[ast.AST]:
        yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self.names.enter(node)
                yield from self._children(node)
                self.names.leave()
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    yield from self._visit(item)
                    if item.optional_vars is not None:
                        self.names.bind(item.optional_vars, self._entered(node, item))
                for statement in body:
                    yield from self._visit(statement)
            case ast.Assign(targets=targets, value=value):
                yield from self._children(node)
                for target in targets:
                    self.names.bind(target, self.kind(value) or self._awaited(target, value))
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                yield from self._children(node)
                kind = self.names.annotated(annotation) or (self.kind(value) if value else None)
                self.names.bind(target, kind, of_class=isinstance(self.parent(node), ast.ClassDef))
            case _:
                yield from self._children(node)

    def _children(self, node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            yield from self._visit(child)

    def _entered(self, node: ast.With | ast.AsyncWith, item: ast.withitem) -> Kind | None:
        kind = self.kind(item.context_expr)
        if kind is None and isinstance(node, ast.AsyncWith) and item.optional_vars is not None:
            # Whatever it comes from: what is opened asynchronously and called a session is one.
            return self.names.convention(item.optional_vars)
        return kind

    def _awaited(self, target: ast.expr, value: ast.expr) -> Kind | None:
        return self.names.convention(target) if isinstance(value, ast.Await) else None


def _unit_of_work(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(attr="execute_read" | "execute_write"),
            args=[ast.Name(id=name) | ast.Attribute(attr=name), *_],
        ):
            yield name

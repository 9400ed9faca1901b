"""What an expression is, as far as the async rules care: told from imports, annotations, assignments and names.

No types are computed. A name is what its annotation says, or else what was assigned to it, or else what such a name
conventionally holds (`driver`, `session`, `tx`); where something else is known of it, the convention is off.
"""

import ast
from enum import Enum, auto


class Kind(Enum):
    """What a value is."""

    DRIVER = auto()  # neo4j.AsyncDriver: session() gives a session
    WRAPPER = auto()  # pipeline.graph.driver.Driver: session() is a coroutine
    SOME_DRIVER = auto()  # one of the two
    SESSION = auto()
    TRANSACTION = auto()
    RESULT = auto()
    FUTURE = auto()  # concurrent.futures.Future
    CELERY_RESULT = auto()
    REDIS = auto()  # a client that is not asyncio's
    LOCK = auto()  # threading's: Lock, Condition, Event, ...
    THREAD = auto()
    QUEUE = auto()  # queue's
    OTHER = auto()  # known to be nothing of these


DRIVERS = frozenset({Kind.DRIVER, Kind.WRAPPER, Kind.SOME_DRIVER})
#: What only `async with` opens or closes, or nothing does.
ASYNC_ONLY = DRIVERS | {Kind.SESSION, Kind.TRANSACTION, Kind.RESULT}

#: Classes by qualified name, in annotations and as constructors.
CLASSES = {
    "neo4j.AsyncDriver": Kind.DRIVER,
    "neo4j.AsyncSession": Kind.SESSION,
    "neo4j.AsyncTransaction": Kind.TRANSACTION,
    "neo4j.AsyncManagedTransaction": Kind.TRANSACTION,
    "neo4j.AsyncResult": Kind.RESULT,
    "pipeline.graph.driver.Driver": Kind.WRAPPER,
    "tests.fakes.driver.FakeAsyncDriver": Kind.DRIVER,
    "tests.fakes.session.FakeAsyncSession": Kind.SESSION,
    "tests.fakes.transaction.FakeAsyncManagedTransaction": Kind.TRANSACTION,
    "tests.fakes.result.FakeAsyncResult": Kind.RESULT,
    "concurrent.futures.Future": Kind.FUTURE,
    "celery.result.AsyncResult": Kind.CELERY_RESULT,
    "redis.Redis": Kind.REDIS,
    "redis.client.Redis": Kind.REDIS,
    "threading.Barrier": Kind.LOCK,
    "threading.BoundedSemaphore": Kind.LOCK,
    "threading.Condition": Kind.LOCK,
    "threading.Event": Kind.LOCK,
    "threading.Lock": Kind.LOCK,
    "threading.RLock": Kind.LOCK,
    "threading.Semaphore": Kind.LOCK,
    "threading.Thread": Kind.THREAD,
    "queue.LifoQueue": Kind.QUEUE,
    "queue.PriorityQueue": Kind.QUEUE,
    "queue.Queue": Kind.QUEUE,
    "queue.SimpleQueue": Kind.QUEUE,
}

#: Functions by qualified name, and what they give.
FUNCTIONS = {
    "neo4j.AsyncGraphDatabase.driver": Kind.DRIVER,
    "tests.fakes.driver.as_driver": Kind.DRIVER,
    "redis.from_url": Kind.REDIS,
    "redis.Redis.from_url": Kind.REDIS,
    "asyncio.run_coroutine_threadsafe": Kind.FUTURE,
}

#: Methods whose name alone tells what they give.
METHODS = {
    "apply_async": Kind.CELERY_RESULT,
    "delay": Kind.CELERY_RESULT,
    "send_task": Kind.CELERY_RESULT,
    "submit": Kind.FUTURE,
}

#: What a name holds of which nothing else is known.
CONVENTIONS = {
    "driver": Kind.SOME_DRIVER,
    "async_driver": Kind.SOME_DRIVER,
    "neo4j_driver": Kind.SOME_DRIVER,
    "session": Kind.SESSION,
    "neo4j_session": Kind.SESSION,
    "tx": Kind.TRANSACTION,
    "transaction": Kind.TRANSACTION,
}

#: The coroutine methods, by what they are methods of. A test compares them with the installed driver.
COROUTINES: dict[Kind, frozenset[str]] = {
    Kind.DRIVER: frozenset(
        {
            "close",
            "execute_query",
            "get_server_info",
            "supports_multi_db",
            "supports_session_auth",
            "verify_authentication",
            "verify_connectivity",
        }
    ),
    Kind.WRAPPER: frozenset({"ask", "close", "session"}),
    Kind.SOME_DRIVER: frozenset({"close", "execute_query", "verify_connectivity"}),
    Kind.SESSION: frozenset(
        {"begin_transaction", "close", "execute_read", "execute_write", "last_bookmarks", "run"}
    ),
    Kind.TRANSACTION: frozenset({"close", "commit", "rollback", "run"}),
    Kind.RESULT: frozenset(
        {
            "consume",
            "data",
            "fetch",
            "graph",
            "peek",
            "single",
            "to_df",
            "to_eager_result",
            "value",
            "values",
        }
    ),
}

#: What a method gives, once awaited where it is a coroutine.
GIVES = {
    (Kind.SESSION, "run"): Kind.RESULT,
    (Kind.SESSION, "begin_transaction"): Kind.TRANSACTION,
    (Kind.TRANSACTION, "run"): Kind.RESULT,
    **dict.fromkeys(((driver, "session") for driver in DRIVERS), Kind.SESSION),
}

_VAGUE = frozenset({"Any", "typing.Any", "object"})


class Names:
    """The names of one module: imports, and a stack of scopes that is filled while the module is walked."""

    def __init__(self, tree: ast.Module) -> None:
        self._imports: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._imports[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._imports[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
        self._scopes: list[dict[str, Kind]] = [{}]
        self._attributes: dict[str, Kind] = {}

    # -- scopes

    def enter(self, function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        """Open the scope of a function, with its parameters."""
        scope: dict[str, Kind] = {}
        arguments = function.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            kind = self.annotated(argument.annotation) or CONVENTIONS.get(argument.arg)
            if kind is not None:
                scope[argument.arg] = kind
        self._scopes.append(scope)

    def leave(self) -> None:
        """Close the innermost scope."""
        self._scopes.pop()

    def bind(self, target: ast.expr, kind: Kind | None, *, of_class: bool = False) -> None:
        """Note what `target` holds from here on; None for what cannot be told."""
        if isinstance(target, ast.Name) and not of_class:
            self._scopes[-1][target.id] = kind or Kind.OTHER
        elif isinstance(target, ast.Name | ast.Attribute) and kind is not None:
            self._attributes[target.id if isinstance(target, ast.Name) else target.attr] = kind

    # -- expressions

    def qualified(self, node: ast.expr) -> str:
        """The dotted name of a name or attribute, through the imports; "" for anything else."""
        if isinstance(node, ast.Name):
            return self._imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.qualified(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def kind(self, node: ast.expr) -> Kind | None:  # noqa: PLR0911 - one return a sort of node
        """What an expression is, a coroutine counting as what it gives; None where nothing is known."""
        match node:
            case ast.Await(value=value) | ast.NamedExpr(value=value):
                return self.kind(value)
            case ast.Name(id=name):
                for scope in reversed(self._scopes):
                    if name in scope:
                        return scope[name]
                return None if name in self._imports else CONVENTIONS.get(name)
            case ast.Attribute(attr=attr):
                plain = attr.lstrip("_")
                return self._attributes.get(attr) or (
                    Kind.SOME_DRIVER if CONVENTIONS.get(plain) is Kind.SOME_DRIVER else None
                )
            case ast.Call():
                return self._call(node)
            case ast.IfExp(body=body, orelse=orelse):
                return self.kind(body) or self.kind(orelse)
        return None

    @staticmethod
    def convention(node: ast.expr) -> Kind | None:
        """What such a name conventionally holds."""
        return CONVENTIONS.get(node.id) if isinstance(node, ast.Name) else None

    def _call(self, node: ast.Call) -> Kind | None:
        qualified = self.qualified(node.func)
        known = CLASSES.get(qualified) or FUNCTIONS.get(qualified)
        if known is not None or not isinstance(node.func, ast.Attribute):
            return known
        base, method = self.kind(node.func.value), node.func.attr
        if base is not None and (base, method) in GIVES:
            return GIVES[base, method]
        return METHODS.get(method) if base in {None, Kind.OTHER} else None

    def annotated(self, annotation: ast.expr | None) -> Kind | None:  # noqa: PLR0911 - one return a sort of node
        """What an annotation says; OTHER for a type that is none of ours, None where it says nothing."""
        match annotation:
            case None:
                return None
            case ast.Constant(value=str(text)):
                return self.annotated(ast.parse(text, mode="eval").body)
            case ast.Constant():
                return None
            case ast.BinOp(left=left, right=right):
                return self._first(left, right)
            case ast.Subscript(value=value, slice=inner):
                outer = self.qualified(value).rpartition(".")[2]
                if outer in {"Optional", "Annotated", "Final", "ClassVar"}:
                    return self._first(*(inner.elts if isinstance(inner, ast.Tuple) else [inner]))
                return CLASSES.get(self.qualified(value), Kind.OTHER)
        qualified = self.qualified(annotation)
        if qualified in _VAGUE:
            return None
        # A snippet may leave out its imports.
        return CLASSES.get(qualified) or CLASSES.get(f"neo4j.{qualified}", Kind.OTHER)

    def _first(self, *annotations: ast.expr) -> Kind | None:
        kinds = [self.annotated(each) for each in annotations]
        ours = [kind for kind in kinds if kind not in {None, Kind.OTHER}]
        return ours[0] if ours else next(iter(filter(None, kinds)), None)

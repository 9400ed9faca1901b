"""Rules for calls that block the event loop, as far as ruff's ASYNC rules do not know them.

Ruff has: `open` and file methods (ASYNC230, ASYNC240), `time.sleep` (ASYNC251), `requests`, `urllib` and `httpx`
(ASYNC210, ASYNC212), `subprocess` and `os.system` (ASYNC220 to ASYNC222), `input` (ASYNC250).
"""

import ast
from collections.abc import Iterator

from tests.checks.kinds import Kind
from tests.checks.module import Finding, Module

_METHODS = {
    Kind.FUTURE: frozenset({"exception", "result"}),
    Kind.CELERY_RESULT: frozenset({"collect", "get", "join", "wait", "wait_for"}),
    Kind.LOCK: frozenset({"acquire", "wait", "wait_for"}),
    Kind.THREAD: frozenset({"join"}),
    Kind.QUEUE: frozenset({"get", "join", "put"}),
}
#: Celery's methods that talk to the broker.
_PUBLISHES = frozenset({"apply_async", "delay", "send_task"})
_NESTED_LOOPS = frozenset({"asgiref.sync.async_to_sync", "asyncio.run"})
_FUNCTIONS = frozenset(
    {
        "bz2.open",
        "concurrent.futures.as_completed",
        "concurrent.futures.wait",
        "gzip.open",
        "lzma.open",
        "neo4j.GraphDatabase.driver",
        "select.select",
        "shutil.copy",
        "shutil.copy2",
        "shutil.copyfile",
        "shutil.copytree",
        "shutil.move",
        "shutil.rmtree",
        "signal.pause",
        "socket.create_connection",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "sqlite3.connect",
        "tarfile.open",
        "zipfile.ZipFile",
    }
)
#: What ruff finds inside a coroutine, but not inside a plain function that a coroutine calls.
_RUFFS = frozenset(
    {"input", "open", "os.popen", "os.system", "time.sleep", "urllib.request.urlopen"}
    | {f"requests.{name}" for name in ("delete", "get", "head", "patch", "post", "put", "request")}
    | {f"subprocess.{name}" for name in ("Popen", "call", "check_call", "check_output", "run")}
)


def blocking_call(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA201 to GA205: a call in a coroutine that waits without `await`."""
    if isinstance(node, ast.Call) and module.in_coroutine(node):
        found = next(_blocking(node, module), None)
        if found is not None:
            yield Finding(node.lineno, *found)


def lock_across_await(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA205: a thread's lock held while the coroutine is suspended; other coroutines that want it stop the loop."""
    if not isinstance(node, ast.With) or not module.in_coroutine(node):
        return
    if any(module.kind(item.context_expr) is Kind.LOCK for item in node.items) and any(
        isinstance(each, ast.Await | ast.AsyncFor | ast.AsyncWith) for each in ast.walk(node)
    ):
        yield Finding(node.lineno, "GA205", "a threading lock held across an `await` can stop the event loop")


def blocking_helper(node: ast.AST, module: Module) -> Iterator[Finding]:
    """GA206: a plain function of this module that blocks, called from a coroutine."""
    if not isinstance(node, ast.Call) or not module.in_coroutine(node):
        return
    match node.func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            helper = module.functions.get(name)
            if isinstance(helper, ast.FunctionDef) and _blocks(helper, module):
                yield Finding(node.lineno, "GA206", f"`{name}` blocks: await it with `asyncio.to_thread`")


RULES = [blocking_call, lock_across_await, blocking_helper]


def _blocking(node: ast.Call, module: Module) -> Iterator[tuple[str, str]]:
    qualified = module.names.qualified(node.func)
    kind, method = module.method(node)
    if kind is Kind.FUTURE and method in _METHODS[kind]:
        yield "GA201", f"`{method}` waits for another thread: await `asyncio.wrap_future` of it"
    if method in _PUBLISHES or (kind is Kind.CELERY_RESULT and method in _METHODS[kind]):
        yield "GA202", f"`{method}` of Celery waits for the broker: await it with `sync_to_async`"
    if kind is Kind.REDIS:
        yield "GA203", f"`{method}` of a Redis client waits for its server: await it with `sync_to_async`"
    if qualified in _NESTED_LOOPS or method == "run_until_complete":
        yield "GA204", "a loop cannot be run inside a coroutine: await"
    if (
        kind in {Kind.LOCK, Kind.THREAD, Kind.QUEUE}
        and method in _METHODS[kind]
        and not _returns_at_once(node)
    ):
        yield "GA205", f"`{method}` waits for another thread: use what asyncio has, or `asyncio.to_thread`"
    if qualified in _FUNCTIONS:
        yield "GA205", f"`{qualified}` blocks: await it with `asyncio.to_thread`"


def _returns_at_once(node: ast.Call) -> bool:
    values = [
        *node.args[:1],
        *(keyword.value for keyword in node.keywords if keyword.arg in {"block", "blocking"}),
    ]
    return any(isinstance(value, ast.Constant) and value.value is False for value in values)


def _blocks(helper: ast.FunctionDef, module: Module) -> bool:
    own = [
        each for each in ast.walk(helper) if isinstance(each, ast.Call) and module.function(each) is helper
    ]
    return any(module.names.qualified(call.func) in _FUNCTIONS | _RUFFS for call in own)

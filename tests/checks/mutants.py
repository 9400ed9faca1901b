"""Remove each `await`, `async with` and `async for` in turn: `make mutants`.

    python -m tests.checks.mutants [PART…]

Makes every wrong version of the modules of `pipeline` and `workers` (of those whose name contains a PART), runs
`make lint`'s tools and, if these notice nothing, the tests that import the module. Writes a row for each module to
docs/async-mutants.md and exits with 1 if a wrong version went unnoticed.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "async-mutants.md"
#: The tools of the environment come first.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
#: The fast levels; a test that never ends has noticed.
LEVELS, TESTS_SECONDS = ("unit", "integration"), 300
HEAD = """# What happens when an `await` is missing

`make mutants` writes this page. A mutant is one wrong version of the product, made mechanically: an `await`, `async with` or
`async for` dropped, a session never closed, a cancellation swallowed. The [original bug](async-bug-postmortem.md) was one
of these. Lint is mypy, ruff and the rules of [tests/checks/rules](../tests/checks/rules). If it notices nothing, the tests
that import the module run.

| module | mutants | noticed by lint | by a test only | by neither | run on |
|---|---|---|---|---|---|
"""


class Mutant(NamedTuple):
    """One wrong version of a module."""

    kind: str
    line: int
    text: str


def mutants(text: str) -> Iterator[Mutant]:
    """Yield every wrong version of a module's text."""
    source = text.encode()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def at(node: ast.expr | ast.stmt, *, end: bool = False) -> int:
        line, column = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)
        return starts[(line or 0) - 1] + (column or 0)

    def spliced(start: int, end: int, new: str) -> str:
        return (source[:start] + new.encode() + source[end:]).decode()

    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Await(value=value):
                yield Mutant("await", node.lineno, spliced(at(node), at(value), ""))
            case ast.AsyncFor():
                yield Mutant("async for", node.lineno, spliced(at(node), at(node) + len("async "), ""))
            case ast.comprehension(is_async=1, target=target):
                start = source.rindex(b"async ", 0, at(target))
                yield Mutant("async for", target.lineno, spliced(start, start + len("async "), ""))
            case ast.AsyncWith(items=[item, *_], body=body):
                yield Mutant("async with", node.lineno, spliced(at(node), at(node) + len("async "), ""))
                block = source[at(node) : at(node, end=True)].decode()
                if "session" in ast.unparse(item.context_expr) and item.optional_vars is not None:
                    indent = " " * node.col_offset
                    opened = f"{ast.unparse(item.optional_vars)} = {ast.unparse(item.context_expr)}\n{indent}if True:\n"
                    body_start = starts[body[0].lineno - 1]
                    yield Mutant("session left open", node.lineno, spliced(at(node), body_start, opened))
                    swallowed = (
                        "try:\n    "
                        + indent
                        + block.replace("\n", "\n    ")
                        + f"\n{indent}except CancelledError: pass"
                    )
                    yield Mutant(
                        "cancellation swallowed",
                        node.lineno,
                        "from asyncio import CancelledError\n"
                        + spliced(at(node), at(node, end=True), swallowed),
                    )
            case ast.ExceptHandler(type=ast.expr() as type_) if "CancelledError" in ast.unparse(type_):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Raise):
                        wrong = spliced(at(inner), at(inner, end=True), "pass")
                        yield Mutant("cancellation swallowed", node.lineno, wrong)


class Copy:
    """A copy of the project whose modules may be wrong."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        copytree(
            ROOT, self.root, ignore=ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".coverage*")
        )
        self._dmypy = ["dmypy", "--status-file", str(folder / "dmypy.json")]
        self._written = int(time.time())
        self._right = self.findings()

    def noticed_by_lint(self) -> bool:
        """Return True if lint finds more than in the right version."""
        return bool(self.findings() - self._right)

    def findings(self) -> "Counter[tuple[str, str]]":
        """Findings of mypy, ruff and ast-grep by file and rule."""
        mypy = self._run(*self._dmypy, "run", "--timeout=900", "--", "-p", "pipeline", "-p", "workers").stdout
        found = Counter(re.findall(r"^(\S+?):\d+: error: .*\[(\S+)\]$", mypy, re.MULTILINE))
        ruff = [
            "ruff",
            "check",
            "--output-format=json",
            "--select=ASYNC,RUF006,F,PLE",
            "pipeline",
            "workers",
        ]
        found.update((each["filename"], each["code"]) for each in json.loads(self._run(*ruff).stdout))
        rules = ["ast-grep", "scan", "-c", "tests/checks/sgconfig.yml", "--json", "pipeline", "workers"]
        found.update((each["file"], each["ruleId"]) for each in json.loads(self._run(*rules).stdout))
        return found

    def noticed_by_test(self, files: list[str]) -> bool:
        """Return True if one of the tests fails."""
        try:
            options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "--timeout=60"]
            ended = self._run(sys.executable, "-m", "pytest", *options, *files, timeout=TESTS_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        if ended.returncode not in {0, 1, 2}:
            raise RuntimeError(f"the tests could not run:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        return ended.returncode != 0

    def write(self, file: Path, text: str) -> None:
        """Write a version of a module with an mtime that mypy's daemon sees as new."""
        file.write_text(text, encoding="utf-8")
        self._written += 1
        os.utime(file, (self._written, self._written))

    def close(self) -> None:
        """Stop the daemon of mypy."""
        self._run(*self._dmypy, "stop")

    def _run(self, *command: str, timeout: float | None = None) -> "subprocess.CompletedProcess[str]":
        # The daemon of mypy takes what is on PYTHONPATH for packages that never change.
        environment = {**os.environ, "PATH": PATH, "PYTHONPATH": ""}
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def tests_of(module: str) -> list[str]:
    """The test files that import a module; the level's all where none does."""
    files = [file for level in LEVELS for file in sorted((ROOT / "tests" / level).glob("test_*.py"))]
    package, _, name = module.rpartition(".")
    imports = re.compile(
        rf"^(from {module} import|import {module}\b|from {package} import .*\b{name}\b)", re.MULTILINE
    )
    found = [file for file in files if imports.search(file.read_text(encoding="utf-8"))]
    return [str(file.relative_to(ROOT)) for file in found or files]


def row(copy: Copy, module: str, file: Path) -> tuple[str, int]:
    """Return the page's row of a module, and how many of its mutants went unnoticed.

    The row is empty if the module has no mutants.
    """
    text, place = file.read_text(encoding="utf-8"), copy.root / file.relative_to(ROOT)
    found, tests = list(mutants(text)), tests_of(module)
    noticed: Counter[str] = Counter()
    for mutant in found:
        copy.write(place, mutant.text)
        by = "lint" if copy.noticed_by_lint() else "test" if copy.noticed_by_test(tests) else "neither"
        noticed[by] += 1
        print(f"{module}:{mutant.line}: {mutant.kind}: {by}", flush=True)  # noqa: T201 - printing is its work
    copy.write(place, text)
    counts = " | ".join(
        str(number) for number in (len(found), *(noticed[by] for by in ("lint", "test", "neither")))
    )
    return f"| {counts} | {datetime.now(UTC):%Y-%m-%d} |" if found else "", noticed["neither"]


def main(parts: list[str]) -> int:
    """Try the mutants of the modules and write their rows; other rows stay."""
    rows = dict(re.findall(r"^\| `(\S+)` (\|.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    files = sorted(file for package in ("pipeline", "workers") for file in (ROOT / package).rglob("*.py"))
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        home = os.environ.setdefault("TEST_HOME", f"{folder}/home")
        copy = Copy(Path(folder))
        try:
            for module, file in modules.items():
                if not parts or any(part in module for part in parts):
                    rows[module], more = row(copy, module, file)
                    unnoticed += more
                    lines = [f"| `{name}` {rows[name]}\n" for name in modules if rows.get(name)]
                    PAGE.write_text(HEAD + "".join(lines), encoding="utf-8")
        finally:
            copy.close()
            if Path(folder) in Path(home).parents:
                del os.environ["TEST_HOME"]
                subprocess.run(
                    [Path(sys.executable).with_name("graphinator"), "--home", home, "down"],
                    cwd=ROOT,
                    check=False,
                )
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

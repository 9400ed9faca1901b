"""A copy of the project in which one module at a time is wrong, and what the static checks say of it."""

import ast
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import IO

from tests.checks.async_patterns import check

PRODUCT = ("pipeline", "workers")
#: Those of the project's rules that can know: the others find how a mutant is written, not what is wrong with it.
_RUFF = [
    sys.executable,
    "-m",
    "ruff",
    "check",
    "--output-format=json",
    "--select=ASYNC,RUF006,BLE,F,PLE,S110",
]
#: A daemon whose trial was interrupted ends by itself after this long.
_IDLE_SECONDS = 900
_NOT_COPIED = (".git", ".venv", "__pycache__", ".*_cache", ".coverage*", "htmlcov", "dist")


def modules(root: Path) -> dict[str, Path]:
    """The modules of the product by dotted name, sorted."""
    files = (file for package in PRODUCT for file in (root / package).rglob("*.py"))
    return {".".join(file.relative_to(root).with_suffix("").parts): file for file in sorted(files)}


class Copy:
    """A copy of the project with a mypy daemon and a process for tests of its own."""

    def __init__(self, root: Path, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder / "project"
        copytree(root, self._folder, ignore=ignore_patterns(*_NOT_COPIED))
        self._daemon = [sys.executable, "-m", "mypy.dmypy", "--status-file", str(folder / "dmypy.json")]
        self._tests = subprocess.Popen(
            [sys.executable, "-m", "tests.checks.mutant_tests"],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONNEO4JDEBUG": "1"},
        )
        self._written = int(time.time())
        self._mypy_before = self._mypy()
        self._others_before: dict[Path, Counter[str]] = {}

    def close(self) -> None:
        """End its processes."""
        _stream(self._tests.stdin).close()
        self._tests.wait()
        _stream(self._tests.stdout).close()
        self._run([*self._daemon, "stop"])

    @contextmanager
    def wrong(self, module: str, text: str) -> Iterator[Path]:
        """The copy with this text in place of the module's own, for the time of the block."""
        file = modules(self._folder)[module]
        right = file.read_text(encoding="utf-8")
        if file not in self._others_before:
            self._others_before[file] = self._others(file)
        self._write(file, text)
        try:
            yield file
        finally:
            self._write(file, right)

    def static(self, file: Path) -> list[str]:
        """Which static checks find something in the wrong file that they did not find before: `tool code`, sorted."""
        return sorted(
            {*(self._mypy() - self._mypy_before), *(self._others(file) - self._others_before[file])}
        )

    def first_failure(self, arguments: list[str], timeout_seconds: float) -> str | None:
        """The first test that fails in a run of pytest with these arguments."""
        request = {"arguments": arguments, "timeout_seconds": timeout_seconds}
        _stream(self._tests.stdin).write(json.dumps(request) + "\n")
        _stream(self._tests.stdin).flush()
        said: dict[str, str | None] = json.loads(_stream(self._tests.stdout).readline())
        if "error" in said:
            raise RuntimeError(f"no tests could be run: {said['error']}")
        return said["failed"]

    def _write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        # The daemon of mypy takes a file of the same size and the same whole second for the one it knows.
        self._written += 1
        os.utime(file, (self._written, self._written))

    def _mypy(self) -> Counter[str]:
        packages = [argument for package in PRODUCT for argument in ("-p", package)]
        lines = self._run([*self._daemon, "run", f"--timeout={_IDLE_SECONDS}", "--", *packages]).splitlines()
        return Counter(f"mypy {line.rpartition('[')[2].rstrip(']')}" for line in lines if ": error: " in line)

    def _others(self, file: Path) -> Counter[str]:
        ruff = json.loads(self._run([*_RUFF, str(file)]))
        found = Counter(f"ruff {finding['code']}" for finding in ruff)
        return found + Counter(finding.code for finding in check(file.read_text(encoding="utf-8")))

    def _run(self, command: list[str]) -> str:
        return subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False).stdout


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise ValueError("the process was started without pipes")
    return stream


class Relevance:
    """Which tests can notice what is wrong with a module: those that import it, or what imports it."""

    def __init__(self, root: Path, levels: tuple[str, ...]) -> None:
        self._imports = {name: _imported(file) for name, file in modules(root).items()}
        files = (file for level in levels for file in sorted((root / "tests" / level).rglob("test_*.py")))
        self._tests = {str(file.relative_to(root)): _imported(file) for file in files}

    def tests(self, module: str) -> list[str]:
        """Test files: those that import the module or, if there are none, what comes closest to importing it."""
        near, seen = {module}, {module}
        while near:
            found = [test for test, names in self._tests.items() if names & near]
            if found:
                # Those that bear its name come first: they look most closely.
                return sorted(found, key=lambda test: f"test_{module.rpartition('.')[2]}" not in test)
            near = {name for name, names in self._imports.items() if names & near} - seen
            seen |= near
        return []


def _imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names

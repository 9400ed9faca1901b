"""Runs tests again and again, each time in a fresh child of a process that has imported all third parties.

    python -m tests.checks.mutant_tests

For each line of standard input, a JSON object with `arguments` (of pytest) and `timeout_seconds`, a JSON object is
printed: `failed` is the name of the first test that failed, null where all passed; `error` says why none was run.
"""

import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence

import pytest

#: What takes long to import. Nothing of the project, whose modules differ from child to child, and no plugin of
#: pytest's, which imports those itself.
THIRD_PARTIES = (
    "celery.app.task",
    "celery.backends.redis",
    "docker",
    "isal.igzip",
    "lxml.etree",
    "msgspec",
    "neo4j",
    "pydantic_settings",
    "redis",
    "rich.progress",
    "zstandard",
)

#: What shows only when all tests are over, such as an exception in a thread that has ended, and ends the whole run.
_FOUND_AT_THE_END = (
    pytest.PytestUnraisableExceptionWarning,
    pytest.PytestUnhandledThreadExceptionWarning,
)


class FirstFailure:
    """A pytest plugin that remembers the first test that failed."""

    def __init__(self) -> None:
        self.name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each phase of each test."""
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Called by pytest after each module that it has looked for tests in."""
        if report.failed and self.name is None:
            self.name = f"{report.nodeid} (cannot be imported)"


def first_failure(arguments: Sequence[str]) -> str | None:
    """The name of the first test that fails in a run of pytest; raises RuntimeError where pytest itself fails."""
    plugin = FirstFailure()
    try:
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments], plugins=[plugin])
    except (*_FOUND_AT_THE_END, ExceptionGroup) as found:
        first = found.exceptions[0] if isinstance(found, ExceptionGroup) else found
        if not isinstance(first, _FOUND_AT_THE_END):
            raise
        return plugin.name or f"end of the run: {first.__cause__}"
    if plugin.name is None and code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        raise RuntimeError(f"pytest ended with {code!r}")
    return plugin.name


def in_child(arguments: Sequence[str], timeout_seconds: float) -> dict[str, str | None]:
    """`first_failure` in a child of this process, which is killed when its time is up."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        with os.fdopen(write, "w") as answer:
            try:
                answer.write(json.dumps({"failed": first_failure(arguments)}))
            except BaseException:  # noqa: BLE001 - the parent shall hear of it, whatever it is
                answer.write(json.dumps({"error": traceback.format_exc()}))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        if select.select([answer], [], [], timeout_seconds)[0]:
            said: dict[str, str | None] = json.loads(
                answer.read() or '{"error": "the process of the tests died"}'
            )
        else:
            os.killpg(child, signal.SIGKILL)
            said = {"failed": "a test that never ends"}
    os.waitpid(child, 0)
    return said


def main() -> None:
    """Answer line by line until standard input ends."""
    for name in THIRD_PARTIES:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        said = in_child(request["arguments"], request["timeout_seconds"])
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

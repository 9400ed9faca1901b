"""Proves that no `await` can go missing unnoticed: `make mutants`.

    python -m tests.checks.mutants [PART...]

Makes every wrong version of `pipeline` and `workers` that `mutations` knows (with arguments: those of modules whose
name contains one of them), runs the static checks and the tests that can notice it, and writes what found it to
docs/async-mutants.md, in which other modules' rows stay. Exits with 1 if one of them went unnoticed.
"""

import os
import queue
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from ops.stack.stack import Stack
from tests.checks.mutant_table import Outcome, render
from tests.checks.mutations import Mutation, mutations
from tests.checks.project_copy import Copy, Relevance, modules
from workers.settings import load_settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "async-mutants.md"
#: The tests that need seconds, not minutes.
LEVELS = ("unit", "integration")
#: One test alone, and all that one mutant is given.
TEST_SECONDS, TESTS_SECONDS = 60, 300
#: Of pytest. A test whose time is up fails by a signal: it is named, and the others are not lost.
_OPTIONS = (
    f"--timeout={TEST_SECONDS}",
    "--timeout-method=signal",
    *("-p", "tests.strictness"),
    *("-p", "tests.fakes.fixtures"),
    *("-m", "not slow"),
)


def all_mutations(root: Path, parts: Sequence[str] = ()) -> list[Mutation]:
    """The mutants of the product, module by module."""
    return [
        mutation
        for module, file in modules(root).items()
        if is_among(module, parts)
        for mutation in mutations(module, file.read_text(encoding="utf-8"))
    ]


def is_among(module: str, parts: Sequence[str]) -> bool:
    """Whether the module is one of those that the parts of names mean; no parts mean all."""
    return not parts or any(part in module for part in parts)


class Trial:
    """Puts mutants to the test, several at a time, each in a copy of the project of its own."""

    def __init__(self, copies: Sequence[Copy], relevance: Relevance) -> None:
        self._copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in copies:
            self._copies.put(copy)
        self._relevance = relevance
        #: Tests with the real servers empty the graph: one at a time.
        self._servers = threading.Lock()

    def check(self, outcomes: Sequence[Outcome]) -> None:
        """Raise RuntimeError unless the tests that failed pass while nothing is wrong."""
        copy = self._copies.get()
        try:
            names = sorted({outcome.test for outcome in outcomes if outcome.test and "::" in outcome.test})
            failed = copy.first_failure([*_OPTIONS, *names], TESTS_SECONDS) if names else None
        finally:
            self._copies.put(copy)
        if failed is not None:
            raise RuntimeError(f"{failed} fails without a mutant")

    def outcome(self, mutation: Mutation) -> Outcome:
        """What finds the mutant."""
        copy = self._copies.get()
        try:
            with copy.wrong(mutation.module, mutation.text) as file:
                return Outcome(mutation, copy.static(file), self._test(copy, mutation.module))
        finally:
            self._copies.put(copy)

    def _test(self, copy: Copy, module: str) -> str | None:
        files = self._relevance.tests(module)
        if not files:
            return None
        quick = copy.first_failure([*_OPTIONS, "-k", "fake", *files], TESTS_SECONDS)
        if quick is not None:
            return quick
        with self._servers:
            return copy.first_failure([*_OPTIONS, "-k", "not fake", *files], TESTS_SECONDS)


@click.command()
@click.argument("parts", metavar="[PART]...", nargs=-1)
@click.pass_context
def main(ctx: click.Context, parts: tuple[str, ...]) -> None:
    """Try all mutants, or those of modules whose name contains a PART, and write what became of them to the page.

    Ends with 1 if one of them went unnoticed.
    """
    for part in parts:
        if not any(part in module for module in modules(ROOT)):
            raise click.BadParameter(f"no module's name contains {part}", param_hint="PART")
    began = time.monotonic()
    wanted = all_mutations(ROOT, parts)
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        home = os.environ.pop("GRAPHINATOR_TEST_HOME", str(folder / "home"))
        stack = Stack(load_settings(home=Path(home)))
        stack.up(workers=0)
        try:
            outcomes = _try(wanted, folder, {**os.environ, "GRAPHINATOR_TEST_HOME": home})
        finally:
            if folder in Path(home).parents:
                stack.down()
    survivors = [outcome for outcome in outcomes if outcome.survives]
    for outcome in survivors:
        click.echo(f"unnoticed: {' | '.join(outcome.mutation.key)}: {outcome.static}, {outcome.test}")
    click.echo(f"{len(outcomes)} mutants in {time.monotonic() - began:.0f} s, {len(survivors)} unnoticed")
    tried = {module for module in modules(ROOT) if is_among(module, parts)}
    page = render(outcomes, tried, modules(ROOT), PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page, encoding="utf-8")
    ctx.exit(1 if survivors else 0)


def _try(wanted: Sequence[Mutation], folder: Path, environment: Mapping[str, str]) -> list[Outcome]:
    count = os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        copies = list(pool.map(lambda number: Copy(ROOT, folder / str(number), environment), range(count)))
        try:
            trial = Trial(copies, Relevance(ROOT, LEVELS))
            outcomes = []
            for outcome in pool.map(trial.outcome, wanted):
                outcomes.append(outcome)
                click.echo(f"\r{len(outcomes)} of {len(wanted)}", nl=False, err=True)
            trial.check(outcomes)
            return outcomes
        finally:
            for copy in copies:
                copy.close()


if __name__ == "__main__":
    main()

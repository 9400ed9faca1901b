"""The trial of mutants, on a project of three files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.checks.mutants import Trial, all_mutations, main
from tests.checks.project_copy import Copy, Relevance

ROOT = Path(__file__).parents[2]

STORE = '''"""A store."""

import asyncio


async def double(number: int) -> int:
    """Twice the number."""
    await asyncio.sleep(0)
    return 2 * number


async def quadruple(number: int) -> int:
    """Four times the number."""
    return await double(await double(number))
'''
TESTS = """
from pipeline.store import double

async def test_double_of_fake():
    assert await double(2) == 4
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product whose `quadruple` has no test."""
    root = tmp_path_factory.mktemp("product")
    for name, text in (
        ("pipeline/__init__.py", ""),
        ("pipeline/store.py", STORE),
        ("workers/__init__.py", ""),
        ("tests/unit/test_store.py", TESTS),
        ("pyproject.toml", (ROOT / "pyproject.toml").read_text(encoding="utf-8")),
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def copy(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    copy = Copy(project, tmp_path_factory.mktemp("copy"), {**os.environ, "PYTHONPATH": str(ROOT)})
    yield copy
    copy.close()


def test_each_mutant_is_given_to_the_checks_and_the_tests_that_can_know(project: Path, copy: Copy) -> None:
    trial = Trial([copy], Relevance(project, ("unit",)))
    outcomes = [trial.outcome(mutation) for mutation in all_mutations(project, ["store"])]
    trial.check(outcomes)
    assert [outcome.static for outcome in outcomes] == [
        ["mypy unused-coroutine"],
        ["mypy return-value"],
        ["mypy arg-type"],
    ]
    noticed = outcomes[0].test
    assert noticed is not None
    assert "test_double_of_fake" in noticed
    assert [outcome.survives for outcome in outcomes] == [False, True, True]


def test_a_module_that_no_test_imports_has_no_test(project: Path) -> None:
    assert Relevance(project, ("unit",)).tests("workers.nothing") == []


def test_a_test_that_never_ends_is_one_that_fails(copy: Copy) -> None:
    with copy.wrong("pipeline.store", STORE.replace("sleep(0)", "sleep(60)")):
        assert copy.first_failure(["tests/unit/test_store.py"], 5.0) == "a test that never ends"


def test_a_module_that_cannot_be_imported_is_one_that_fails(copy: Copy) -> None:
    with copy.wrong("pipeline.store", "import nothing_of_this_name"):
        failed = copy.first_failure(["tests/unit/test_store.py"], 60.0)
    assert failed == "tests/unit/test_store.py (cannot be imported)"


def test_tests_that_cannot_be_run_prove_nothing(copy: Copy) -> None:
    with pytest.raises(RuntimeError, match="no tests could be run"):
        copy.first_failure(["tests/unit/test_of_another_project.py"], 60.0)


@pytest.mark.parametrize(
    ("argument", "exit_code", "said"),
    [("--help", 0, "those of modules whose name contains a PART"), ("pipline", 2, "name contains pipline")],
)
def test_help_and_an_unknown_part_start_nothing(
    tmp_path: Path, argument: str, exit_code: int, said: str
) -> None:
    ended = CliRunner(env={"GRAPHINATOR_TEST_HOME": str(tmp_path / "home")}).invoke(main, [argument])
    assert ended.exit_code == exit_code
    assert said in " ".join(ended.output.split())
    assert not (tmp_path / "home").exists()

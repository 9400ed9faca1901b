"""The checks of tests/checks find what is wrong, and nothing in what is right."""

import ast
import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.checks.mutants import PATH, ROOT, mutants
from tests.checks.words import breaches, python_files

SOURCE = """
async def read(driver):
    async with await driver.session() as session:
        async for record in await session.run("RETURN 1"):
            return [each async for each in record]

async def wait(task):
    try:
        await task
    except CancelledError:
        raise
    except BaseException:
        return

@pytest.fixture
def fixture(): ...
"""
#: A wrong version of a line of SOURCE, and the rule that finds it.
WRONG = {
    "session-not-entered": (
        "async with await driver.session() as session:",
        "if s := await driver.session():",
    ),
    "cancellation-swallowed": ("raise", "pass"),
    "fixture-unasked": ("@pytest.fixture", "@pytest.fixture(autouse=True)"),
}


def rules_broken(file: Path) -> list[str]:
    command = [shutil.which("ast-grep", path=PATH) or "ast-grep", "scan", "--json"]
    config = ["-c", str(ROOT / "tests/checks/sgconfig.yml")]
    ended = subprocess.run([*command, *config, file], capture_output=True, text=True, check=False)
    return [finding["ruleId"] for finding in json.loads(ended.stdout)]


@pytest.mark.parametrize("rule", WRONG)
def test_each_rule_finds_its_wrong_line_and_nothing_in_right_code(rule: str, tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text(SOURCE)
    assert rules_broken(file) == []
    file.write_text(SOURCE.replace(*WRONG[rule]))
    assert rules_broken(file) == [rule]


def test_every_kind_of_mutant_is_made_and_is_a_program() -> None:
    made = list(mutants(SOURCE))
    for mutant in made:
        ast.parse(mutant.text)
    assert len({mutant.text for mutant in made}) == len(made)
    assert Counter(mutant.kind for mutant in made) == {
        "await": 3,
        "async for": 2,
        "async with": 1,
        "session left open": 1,
        "cancellation swallowed": 2,
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('"""Return the number."""\n# Redis may be full: keep the message.', 0),
        ('"""Whether it is full."""', 1),
        ('"""Return it."""\n# What is full\nx = 1  # where it is', 2),
        (f'"""Return {"many " * 15}words."""', 1),
        ('"""Count the statistics anew."""', 1),
    ],
)
def test_the_check_of_words_finds_each_breach(text: str, number: int, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert len(breaches(file)) == number


def test_the_check_of_words_refuses_what_is_no_python(tmp_path: Path) -> None:
    page, module = tmp_path / "page.md", tmp_path / "folder" / "module.py"
    page.write_text("text")
    for wrong in (page, tmp_path, tmp_path / "missing.py"):
        with pytest.raises(SystemExit, match=f"^{wrong} is neither a Python file nor a folder with some$"):
            python_files(wrong)
    module.parent.mkdir()
    module.write_text("")
    assert python_files(module) == python_files(module.parent) == [module]

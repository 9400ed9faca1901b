import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import neo4j
import pytest

from pipeline.graph.driver import Driver
from tests.checks.async_patterns import check
from tests.checks.kinds import COROUTINES, Kind
from tests.static.examples_bad import BAD
from tests.static.examples_good import GOOD

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"# (GA\d+(?: GA\d+)*)$")


def expected(text: str) -> list[tuple[int, str]]:
    return [
        (number, code)
        for number, line in enumerate(text.splitlines(), start=1)
        if (match := MARK.search(line))
        for code in match[1].split()
    ]


@pytest.mark.parametrize("text", BAD)
def test_each_wrong_line_is_found_and_no_other(text: str) -> None:
    assert sorted({(finding.line, finding.code) for finding in check(text)}) == expected(text)


@pytest.mark.parametrize("text", GOOD)
def test_nothing_is_found_in_right_code(text: str) -> None:
    assert check(text) == []


def test_every_code_has_examples() -> None:
    codes = [code for text in BAD for _, code in expected(text)]
    sources = "".join(path.read_text() for path in (ROOT / "tests/checks").glob("*_rules.py"))
    assert {code for code in set(codes) if codes.count(code) > 1} == set(re.findall(r'"(GA\d+)"', sources))


def test_nothing_is_found_in_this_project() -> None:
    """In a process that does not measure what it covers: measuring takes longer than checking all these files."""
    command = [sys.executable, "-m", "tests.checks.async_patterns", "pipeline", "workers", "ops", "tests"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_a_line_that_is_wrong_on_purpose_must_be_wrong() -> None:
    text = "x = 5  # wrong on purpose: GA101, GA102"
    assert [(finding.line, finding.code) for finding in check(text)] == [(1, "GA001"), (1, "GA001")]


def test_the_command_prints_where_and_what_and_fails(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text('async def f(session):\n    session.run("RETURN 1")\n')
    command = [sys.executable, "-m", "tests.checks.async_patterns"]
    found = subprocess.run([*command, tmp_path], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (found.returncode, found.stderr) == (1, "")
    assert found.stdout == f"{wrong}:2: GA103 `run` of an async session is a coroutine: await it\n"
    wrong.write_text("")
    assert subprocess.run([*command, wrong], capture_output=True, cwd=ROOT, check=False).returncode == 0
    assert subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 2
    lost = subprocess.run(
        [*command, tmp_path / "lost.py"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert lost.returncode == 2
    assert "lost.py' does not exist" in lost.stderr
    assert "Traceback" not in lost.stderr


@pytest.mark.parametrize(
    ("kind", "class_"),
    [
        (Kind.DRIVER, neo4j.AsyncDriver),
        (Kind.WRAPPER, Driver),
        (Kind.SESSION, neo4j.AsyncSession),
        (Kind.TRANSACTION, neo4j.AsyncTransaction),
        (Kind.RESULT, neo4j.AsyncResult),
    ],
)
def test_the_rules_know_every_coroutine_of_the_installed_driver(kind: Kind, class_: type) -> None:
    public = [name for name in dir(class_) if not name.startswith("_")]
    assert COROUTINES[kind] == {name for name in public if inspect.iscoroutinefunction(getattr(class_, name))}


#: What ruff finds, so that the rules here need not: a call in a coroutine, and the rule.
RUFFS = {
    "import time\nasync def f():\n    time.sleep(1)": "ASYNC251",
    "async def f():\n    open('x')": "ASYNC230",
    "import pathlib\nasync def f():\n    pathlib.Path('x').read_text()": "ASYNC240",
    "import requests\nasync def f():\n    requests.get('x', timeout=1)": "ASYNC210",
    "import urllib.request\nasync def f():\n    urllib.request.urlopen('x')": "ASYNC210",
    "import httpx\nasync def f():\n    client = httpx.Client()\n    client.get('x')": "ASYNC212",
    "import subprocess\nasync def f():\n    subprocess.Popen(['x'])": "ASYNC220",
    "import subprocess\nasync def f():\n    subprocess.run(['x'])": "ASYNC221",
    "import os\nasync def f():\n    os.system('x')": "ASYNC221",
    "async def f():\n    input()": "ASYNC250",
    "import asyncio\nasync def f(job):\n    asyncio.create_task(job())": "RUF006",
}


@pytest.mark.parametrize(("text", "rule"), RUFFS.items())
def test_ruff_finds_what_the_rules_leave_to_it(text: str, rule: str) -> None:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select=ASYNC,RUF006",
        "--output-format=concise",
    ]
    found = subprocess.run([*command, "-"], input=text, capture_output=True, text=True, check=False)
    assert f" {rule} " in found.stdout
    assert check(text) == []

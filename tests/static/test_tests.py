"""No code path is switched off in tests: a fixture that nobody asks for must not change what is tested."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests").rglob("*.py"))

#: Of pytest's marks, those that keep a test from deciding anything.
SWITCHES = frozenset({"skip", "skipif", "xfail", "importorskip"})


def autouse_fixtures(text: str) -> Iterator[int]:
    """The lines where a fixture is made that applies without being asked for."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "autouse" and not _is(keyword.value, False):
                    yield node.lineno
                if keyword.arg is None and _fixture(node):
                    yield node.lineno  # `fixture(**options)`: nobody can see what is in them


def switches(text: str) -> Iterator[int]:
    """The lines where a test is skipped, or is expected to fail."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in SWITCHES and _of_pytest(node.value):
            yield node.lineno


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _fixture(node: ast.Call) -> bool:
    match node.func:
        case ast.Name(id="fixture") | ast.Attribute(attr="fixture"):
            return True
    return False


def _of_pytest(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="pytest") | ast.Attribute(value=ast.Name(id="pytest"), attr="mark"):
            return True
    return False


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_fixture_applies_unasked_and_no_test_is_skipped(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert list(autouse_fixtures(text)) == []
    assert list(switches(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.fixture(autouse=True)\ndef disable_batch_mode(): ...",
        "@pytest_asyncio.fixture(scope='session', autouse=ALWAYS)\nasync def f(): ...",
        "@fixture(**options)\ndef f(): ...",
        "f = pytest.fixture(autouse=1)(g)",
    ],
)
def test_an_autouse_fixture_is_found(text: str) -> None:
    assert list(autouse_fixtures(text)) == [1]


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.skip\ndef test(): ...",
        "pytest.skip('no')",
        "@pytest.mark.xfail(strict=True)\ndef t(): ...",
    ],
)
def test_a_switch_is_found(text: str) -> None:
    assert list(switches(text)) == [1]


@pytest.mark.parametrize(
    "text", ["@pytest.fixture\ndef f(): ...", "@pytest.fixture(autouse=False)\ndef f(): ..."]
)
def test_a_fixture_that_is_asked_for_is_fine(text: str) -> None:
    assert list(autouse_fixtures(text)) == []


def test_nothing_but_the_settings_of_this_project_is_read_by_pytest() -> None:
    """A second configuration, or a conftest outside tests/, could switch off what this one checks."""
    found = {
        path.name
        for pattern in ("pytest.ini", "tox.ini", "setup.cfg", "conftest.py")
        for path in ROOT.glob(pattern)
    }
    assert found == set()

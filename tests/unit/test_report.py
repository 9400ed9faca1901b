"""What the command tells: reports, errors in one line, names as they are."""

import errno
import io
import json
import os
from pathlib import Path

import click
import pytest
import redis.exceptions
from click.testing import CliRunner
from rich.console import Console

import ops
from ops.cli import _Commands, main
from ops.console import counted, one_line, plain_console
from ops.dumps import NoDumps, find_dumps
from ops.report import as_json, print_reports
from pipeline.errors import DumpError
from pipeline.model import RecordType
from workers.loader import Report
from workers.quarantine import Entry
from workers.runs import Tally

ROOT = Path(__file__).parents[2]


def report(*problems: DumpError, quarantined: int = 0) -> Report:
    tally = Tally(created=3, quarantined=quarantined)
    return Report(RecordType.LABELS, Path("a[red]b.xml"), 3, tally, 2, 0.5, [*problems])


def test_json_holds_all_four_record_types() -> None:
    told = json.loads(as_json([report(), report()]))
    assert list(told) == ["artists", "labels", "masters", "releases", "complete"]
    assert set(told["artists"].values()) == {0}
    labels = told["labels"]
    assert (labels["read"], labels["created"], labels["vanished"], labels["seconds"]) == (6, 6, 4, 1.0)
    assert told["complete"] is True


def test_json_of_a_load_that_did_not_end_is_incomplete() -> None:
    assert json.loads(as_json([report()], complete=False))["complete"] is False
    assert json.loads(as_json([report(DumpError("x", 1, "y")), report()]))["complete"] is False


def test_brackets_in_names_and_paths_are_printed_as_they_are() -> None:
    console = plain_console()
    console.file = io.StringIO()
    print_reports(console, [report(DumpError("[bold]", 1, "[no label] :on:"), quarantined=1)])
    text = console.file.getvalue()
    assert "incomplete a[red]b.xml: [bold]: [no label] :on: (at byte 1" in text
    assert "set aside: 1 record;" in text


def test_a_long_line_is_not_broken() -> None:
    console: Console = plain_console()
    console.file = io.StringIO()
    console.print("word " * 100)
    assert console.file.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "record", "0 records"),
        (1, "batch", "1 batch"),
        (2000, "batch", "2,000 batches"),
        (1, "worker", "1 worker"),
    ],
)
def test_numbers_have_the_right_word(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_white_space_and_control_characters_become_one_space() -> None:
    assert one_line(" a\n\tb\x1b[2Jc\u2028d\x00 ") == "a b [2Jc d"


def test_a_folder_without_dumps_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoDumps, match=r"the folder holds no \.xml or \.xml\.gz file$") as raised:
        find_dumps([tmp_path])
    assert raised.value.exit_code == 3


def test_a_path_that_is_no_text_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DumpError) as raised:
        find_dumps([tmp_path / "caf\udce9.xml"])
    assert str(raised.value) == f"{tmp_path}/caf\ufffd.xml: the path is not UTF-8"


def _ending_with(error: Exception) -> click.Group:
    @click.group(cls=_Commands)
    def group() -> None:
        raise error

    return group


@pytest.mark.parametrize(
    ("error", "line", "exit_code"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "Error: /a/b: Permission denied\n", 4),
        (OSError(errno.ENOSPC, "No space left on device"), "Error: No space left on device\n", 4),
        (click.FileError("/a/b", "Is a directory"), "Error: Could not open file '/a/b': Is a directory\n", 4),
        (redis.exceptions.ResponseError("OOM"), "Error: Redis refuses: OOM\n", 8),
        (
            redis.exceptions.TimeoutError("t"),
            "Error: Redis does not answer (t); is the stack up? `graphinator resume` goes on with a load\n",
            8,
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error: Exception, line: str, exit_code: int) -> None:
    ended = CliRunner().invoke(_ending_with(error), ["demo"])
    assert (ended.stderr, ended.exit_code) == (line, exit_code)


def test_a_closed_pipe_ends_quietly() -> None:
    ended = CliRunner().invoke(_ending_with(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))), ["demo"])
    assert (ended.output, ended.exit_code) == ("", 1)


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'\nversion = "{ops.__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert ops.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_an_exported_entry_is_one_line_of_json() -> None:
    from ops.quarantine import _lines

    entry = Entry(RecordType.LABELS, None, "labels.xml", -1, "a\nb", b"<label>\xff\n</label>", "run", 2, 0.0)
    (line,) = _lines([entry])
    told = json.loads(line)
    assert told["raw"] == "<label>\\xff\n</label>"
    assert (told["record_id"], told["run"], told["attempts"], told["at"]) == (
        None, "run", 2, "1970-01-01T00:00:00+00:00",
    )  # fmt: skip

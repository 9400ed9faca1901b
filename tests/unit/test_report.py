"""What the command tells: reports, errors in one line, names as they are."""

import errno
import io
import json
import os
import re
from pathlib import Path

import click
import pytest
import redis.exceptions
from click.testing import CliRunner
from rich.console import Console

import ops
from ops.cli import _Commands, main
from ops.commands.console import counted, one_line, plain_console
from ops.commands.context import Context
from ops.commands.dumps import NoDumpsError, find_dumps
from ops.commands.load import end_with_problems, warn
from ops.commands.report import as_json, print_reports
from ops.commands.status import print_status
from ops.exit_codes import FAILURES, ExitCode, Failure, describe
from pipeline.errors import DumpError, GraphinatorError
from pipeline.model import RecordType
from workers.loader import Report, WouldVanish
from workers.settings import ServerNotSet, Settings, load_settings, variable
from workers.state.runs import Tally
from workers.upstream.quarantine import Entry

ROOT = Path(__file__).parents[2]


def report(*problems: GraphinatorError, quarantined: int = 0) -> Report:
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
    print_reports(console, [report(quarantined=1)], "x --home [red] {}".format)
    warn(console, ["[bold] :on:"])
    assert console.file.getvalue().splitlines()[-2:] == [
        "quarantined: 1 record; `x --home [red] quarantine list` shows them, with reasons",
        "Warning: [bold] :on:",
    ]


def test_each_problem_is_told_once_and_names_its_dump() -> None:
    @click.command()
    def command() -> None:
        end_with_problems([report()])
        end_with_problems([report(WouldVanish("too many")), report(DumpError("[b].xml", 1, "no dump"))])

    ended = CliRunner().invoke(command)
    assert ended.stderr.splitlines() == [
        "Error: a[red]b.xml: too many; load a complete dump with --allow-vanish, a dump that holds only some records with --partial",
        "Error: [b].xml: no dump (at byte 1 of the XML)",
    ]
    assert (ended.stdout, ended.exit_code) == ("", ExitCode.VANISHED)


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
    with pytest.raises(NoDumpsError, match=r"the folder holds no \.xml or \.xml\.gz file$"):
        find_dumps([tmp_path])


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
        (redis.exceptions.ResponseError("no"), "Error: Redis refuses: no\n", 8),
        (
            redis.exceptions.OutOfMemoryError("used memory > 'maxmemory'"),
            "Error: Redis is full (used memory > 'maxmemory'); raise GRAPHINATOR_REDIS_MEGABYTES and start the stack again, or `maxmemory` of your own Redis; then `graphinator resume`\n",
            8,
        ),
        (
            redis.exceptions.AuthenticationError("WRONGPASS"),
            "Error: Redis refuses the login (WRONGPASS); check user and password in GRAPHINATOR_REDIS_URL\n",
            8,
        ),
        (
            redis.exceptions.TimeoutError("t"),
            "Error: Redis does not answer (t); `graphinator up` starts the stack, `graphinator resume` goes on with a load\n",
            8,
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(error: Exception, line: str, exit_code: int) -> None:
    ended = CliRunner().invoke(_ending_with(error), ["demo"])
    assert (ended.stderr, ended.exit_code) == (line, exit_code)


@pytest.mark.parametrize("failure", [*FAILURES.values()], ids=[kind.__name__ for kind in FAILURES])
def test_hints_name_what_exists(failure: Failure) -> None:
    settings = {variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"GRAPHINATOR_\w+", failure.hint)) <= settings
    load = main.get_command(click.Context(main), "load")
    assert load is not None
    options = {option for each in load.params for option in each.opts}
    assert set(re.findall(r"--[a-z-]+", failure.hint)) <= options
    for command in re.findall(r"`graphinator ([a-z ]+)`", failure.hint):
        assert CliRunner().invoke(main, [*command.split(), "--help"]).exit_code == 0


def test_a_hint_calls_the_command_as_the_user_does() -> None:
    assert describe(ServerNotSet("X is not set"), "g --home h").startswith(
        "X is not set; start the stack with `g --home h up`"
    )


def test_a_closed_pipe_ends_quietly() -> None:
    ended = CliRunner().invoke(_ending_with(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))), ["demo"])
    assert (ended.output, ended.exit_code) == ("", 1)


def test_hints_name_the_home_that_was_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAPHINATOR_TEST_HOME", raising=False)  # the tests' own, no setting
    monkeypatch.setattr("sys.argv", ["graphinator"])
    home = tmp_path / "a home"
    context = Context(load_settings(home=home))
    assert context.command("up") == f"graphinator --home '{home}' up"
    console = plain_console()
    console.file = io.StringIO()
    print_status(console, {"stack": None}, context.command)
    print_status(console, {"stack": None, "workers": ["worker1@a"]}, context.command)
    assert console.file.getvalue().splitlines() == [
        f"the embedded stack is not running: `graphinator --home '{home}' up` starts it",
        "1 worker takes work",
        "  worker1@a",
    ]
    monkeypatch.setenv("GRAPHINATOR_HOME", str(home))
    assert context.command("up") == "graphinator up"
    monkeypatch.setenv("GRAPHINATOR_HOME", "~nouser/x")
    assert context.command("up") == f"graphinator --home '{home}' up"


@pytest.mark.parametrize("arguments", [[], ["quarantine"]])
def test_the_list_of_commands_cuts_no_sentence_off(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.delenv("GRAPHINATOR_TEST_HOME", raising=False)
    told = CliRunner().invoke(main, [*arguments, "--help"], terminal_width=80).output
    assert "Commands:" in told
    assert "..." not in told.partition("Commands:")[2]


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'\nversion = "{ops.__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert ops.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_an_exported_entry_is_one_line_of_json() -> None:
    from ops.commands.quarantine import _lines

    entry = Entry(RecordType.LABELS, None, "labels.xml", -1, "a\nb", b"<label>\xff\n</label>", "run", 2, 0.0)
    (line,) = _lines([entry])
    told = json.loads(line)
    assert told["raw"] == "<label>\\xff\n</label>"
    assert (told["record_id"], told["run"], told["attempts"], told["at"]) == (
        None, "run", 2, "1970-01-01T00:00:00+00:00",
    )  # fmt: skip

"""The commands, without servers: reports, progress, tables, errors as one line, names as they are."""

import errno
import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import redis.exceptions
from click.testing import CliRunner
from kombu.exceptions import OperationalError
from rich.cells import cell_len
from rich.console import Console

import ops
from ops.cli import _Commands, main
from ops.commands.console import plain_console, print_table
from ops.commands.context import Context
from ops.commands.load import as_json, print_all, print_reports, print_warnings
from ops.commands.progress import ByteProgress, LoadProgress
from ops.commands.quarantine import _lines
from ops.commands.status import faults, print_status
from ops.commands.up import describe_stopped
from ops.exit_codes import FAILURES, ExitCode, Failure
from ops.exit_codes import describe as describe_error
from pipeline.errors import DumpError, GraphinatorError, printable
from pipeline.model import RecordType
from pipeline.reader.dump import find_dumps
from workers.loader import Progress, Report, WouldVanish
from workers.sender import NO_WORKER, LoadBroken, TaskFailed
from workers.settings import ServerNotSet, Settings, load_settings, variable
from workers.state.runs import Reading, Tally
from workers.upstream.quarantine import Entry

ROOT = Path(__file__).parents[2]
HALF_WAY = Progress(
    RecordType.LABELS,
    Path("x[red].xml"),
    Reading(time.time() - 20, 10, 250, 1000),
    Tally(created=1),
    1,
    waiting_for="",
)


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Context:
    """The context of a command whose home has white space and brackets in its name."""
    monkeypatch.setattr("sys.argv", ["graphinator"])
    return Context(load_settings(home=tmp_path / "a [red] home"))


def printed(width: int | None = None) -> Console:
    """Return a console that prints to a string; `width` makes it a terminal."""
    console = plain_console()
    console.file = io.StringIO()
    if width is not None:
        console._force_terminal, console._width = True, width
        console.is_interactive = True
    return console


def text_of(console: Console) -> str:
    """Return the output of a console without terminal codes."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", console.file.getvalue())


def report(*problems: GraphinatorError, quarantined: int = 0) -> Report:
    tally = Tally(created=3, quarantined=quarantined)
    return Report(RecordType.LABELS, Path("a[red]b.xml"), 3, tally, 2, 0.5, [*problems])


def test_json_holds_all_four_record_types() -> None:
    result = json.loads(as_json([report(), report()]))
    assert list(result) == ["artists", "labels", "masters", "releases", "complete"]
    assert set(result["artists"].values()) == {0}
    labels = result["labels"]
    assert (labels["read"], labels["created"], labels["vanished"], labels["seconds"]) == (6, 6, 4, 1.0)
    assert result["complete"] is True


def test_json_of_a_load_that_did_not_end_is_incomplete() -> None:
    assert json.loads(as_json([report()], complete=False))["complete"] is False
    assert json.loads(as_json([report(DumpError("x", 1, "y")), report()]))["complete"] is False


def test_brackets_in_names_and_paths_are_printed_as_they_are(context: Context) -> None:
    console = printed()
    print_reports(console, [report(quarantined=1)], context)
    print_warnings(console, ["[bold] :on:"])
    assert text_of(console).splitlines()[-2:] == [
        f"1 record quarantined: `{context.command('quarantine list')}` shows the reasons",
        "Warning: [bold] :on:",
    ]
    assert "a [red] home" in context.program()


HEADINGS = ("load", "state", "read", "quarantined")
ROWS = [(("artists: \u97f3.xml", "finished"), (18_488_888, 0)), (("labels: x.xml", "failed"), (7, 1_000))]


def test_a_table_is_aligned() -> None:
    wide, pipe = printed(80), printed()
    print_table(wide, HEADINGS, ROWS)
    print_table(pipe, HEADINGS, ROWS)
    assert text_of(wide) == text_of(pipe)
    assert text_of(pipe).splitlines() == [
        "load             state           read  quarantined",
        "artists: \u97f3.xml  finished  18,488,888            0",
        "labels: x.xml    failed             7        1,000",
    ]


def test_a_table_wider_than_the_terminal_becomes_blocks() -> None:
    narrow = printed(40)
    print_table(narrow, HEADINGS, ROWS)
    assert text_of(narrow).splitlines() == [
        "artists: \u97f3.xml  finished",
        "  read 18,488,888  quarantined 0",
        "labels: x.xml  failed",
        "  read 7  quarantined 1,000",
    ]
    tiny = printed(20)
    print_table(tiny, HEADINGS, ROWS)
    assert text_of(tiny).splitlines()[1:3] == ["  read 18,488,888", "  quarantined 0"]


def test_each_problem_is_printed_once_and_names_its_dump(context: Context) -> None:
    @click.command()
    def command() -> None:
        print_all(context, iter([report()]), as_json_=True)
        failed = [report(WouldVanish(RecordType.LABELS, 3, 4)), report(DumpError("[b].xml", 1, "no dump"))]
        print_all(context, iter(failed), as_json_=True)

    ended = CliRunner().invoke(command)
    first, second = ended.stderr.splitlines()
    assert first.startswith(
        "Error: a[red]b.xml: this dump lacks 3 of the 4 labels in the graph, so none was removed; load a complete"
    )
    assert second == "Error: [b].xml: no dump (at byte 1 of the XML)"
    assert [json.loads(line)["complete"] for line in ended.stdout.splitlines()] == [True, False]
    assert ended.exit_code == ExitCode.VANISHED


def test_an_error_after_a_dump_does_not_hide_its_report(context: Context) -> None:
    def reports() -> Iterator[Report]:
        yield report(LoadBroken("a poison batch"))
        raise TaskFailed("the statistics: no memory")

    @click.command()
    def command() -> None:
        print_all(context, reports())

    ended = CliRunner().invoke(command)
    assert isinstance(ended.exception, TaskFailed)
    assert ended.stdout.splitlines()[-1].split()[:2] == ["labels", "3"]
    assert "Error: a[red]b.xml: a poison batch" in ended.stderr


def test_what_is_not_printable_is_escaped() -> None:
    assert printable("a\n\tb\x1b[2Jc\u2028d\x00\x9b\udcff") == r"a\n\tb\x1b[2Jc\u2028d\x00\x9b\udcff"
    for text in ("Café del Mar\xa0№ 1", "幾何学\u3000模様", r"C:\new"):
        assert printable(text) == text


@pytest.mark.parametrize(
    "words",
    [
        ["--home", "HOME", "status"],
        ["status", "--home", "HOME"],
        ["quarantine", "list", "--home=HOME"],
        ["--home", "elsewhere", "down", "--home", "HOME"],
    ],
)
def test_the_home_may_stand_behind_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "stack.json").write_text("{}}")
    ended = CliRunner().invoke(main, [word.replace("HOME", str(tmp_path)) for word in words])
    assert str(tmp_path / "stack.json") in ended.stderr
    ended = CliRunner().invoke(main, ["status", "--home"])
    assert (ended.exit_code, ended.stderr.splitlines()[-1]) == (2, "Error: --home names a folder")


@pytest.mark.parametrize("command", ["load", "verify"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_file_name_is_printable_in_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, encoding: str
) -> None:
    path = tmp_path / "ä\x1b[2J\r\n.xml"
    path.write_text("<a>")
    runner = CliRunner(charset=encoding)
    for name in (path, f"{path}x", f"--{path.name}"):
        ended = runner.invoke(main, ["--home", str(tmp_path), command, str(name)])
        assert ended.exit_code in (2, 3)
        (*_, line) = ended.stderr.splitlines()
        assert r"\x1b[2J\r\n.xml" in line
        assert line.isprintable()


def test_a_folder_without_dumps_is_named(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"the folder holds no \.xml or \.xml\.gz file$"):
        find_dumps([tmp_path])


def test_hidden_files_of_a_folder_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "._discogs_20260101_labels.xml").write_bytes(b"\0\5\x16\7 Mac OS X")
    with pytest.raises(DumpError, match="holds no"):
        find_dumps([tmp_path])
    dump = tmp_path / "discogs_20260101_labels.xml"
    dump.write_text("<labels/>")
    assert find_dumps([tmp_path]) == [dump]


@pytest.mark.parametrize("command", ["load", "verify"])
def test_a_fifo_and_a_device_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    fifo = tmp_path / "labels.xml"
    os.mkfifo(fifo)
    for path in (str(fifo), "/dev/null"):
        ended = CliRunner().invoke(main, ["--home", str(tmp_path), command, path])
        assert ended.stderr == f"Error: {path}: not a file, but a FIFO, a socket or a device\n"
        assert ended.exit_code == ExitCode.DUMP


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """The folder of an unreadable dump, even if root started this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        dump = folder / "labels.xml"
        dump.write_text("<labels/>")
        dump.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            yield dump
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("command", ["load", "verify"])
def test_a_dump_without_permission_to_read_it_is_a_file_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, command: str, forbidden: Path
) -> None:
    for path in (forbidden, forbidden.parent):
        ended = CliRunner().invoke(main, ["--home", str(forbidden.parent), command, str(path)])
        assert ended.stderr == f"Error: {forbidden}: the file cannot be opened: Permission denied\n"
        assert ended.exit_code == ExitCode.STACK


@pytest.mark.parametrize(("typed", "meant"), [("laod", "load"), ("verfy", "verify"), ("stauts", "status")])
def test_a_mistyped_command_is_answered_with_the_nearest_one(typed: str, meant: str) -> None:
    ended = CliRunner().invoke(main, [typed, "x"])
    assert ended.stderr.splitlines()[-1] == f"Error: no such command `{typed}`: did you mean `{meant}`?"
    assert ended.exit_code == ExitCode.USAGE
    assert "did you mean" not in CliRunner().invoke(main, ["zzz"]).stderr


def test_a_path_that_is_not_utf8_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DumpError) as raised:
        find_dumps([tmp_path / "caf\udce9.xml"])
    assert printable(str(raised.value)) == f"{tmp_path}/caf\\udce9.xml: the path is not UTF-8"


def _ending_with(error: BaseException) -> click.Group:
    @click.group(cls=_Commands)
    def group() -> None:
        raise error

    return group


def _kombus(cause: Exception) -> OperationalError:
    error = OperationalError("no")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "line", "exit_code"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b: Permission denied\n", 4),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device\n", 4),
        (click.FileError("/a/b", "Is a directory"), "Could not open file '/a/b': Is a directory\n", 4),
        (redis.exceptions.ResponseError("no"), "Redis refuses: no\n", 8),
        (redis.exceptions.OutOfMemoryError("used memory > 'maxmemory'"), "Redis is full (", 8),
        (redis.exceptions.ResponseError("used memory > 'maxmemory'"), "Redis is full (", 8),
        (redis.exceptions.AuthenticationError("WRONGPASS"), "Redis refuses the login (WRONGPASS); check ", 8),
        (
            _kombus(redis.exceptions.AuthenticationError("WRONGPASS")),
            "Redis refuses the login (no); check ",
            8,
        ),
        (_kombus(redis.exceptions.ConnectionError("gone")), "Redis does not answer (no); ", 8),
        (redis.exceptions.TimeoutError("t"), "Redis does not answer (t); ", 8),
        (KeyboardInterrupt(), "interrupted; ", 130),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error: BaseException, line: str, exit_code: int) -> None:
    ended = CliRunner().invoke(_ending_with(error), ["demo"])
    assert ended.exit_code == exit_code
    assert ended.stderr.startswith(f"Error: {line}")
    assert ended.stderr.count("\n") == 1


def test_a_closed_pipe_ends_quietly() -> None:
    ended = CliRunner().invoke(_ending_with(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))), ["demo"])
    assert (ended.output, ended.exit_code) == ("", 1)


def test_a_bug_is_not_hidden() -> None:
    ended = CliRunner().invoke(_ending_with(ZeroDivisionError()), ["demo"])
    assert isinstance(ended.exception, ZeroDivisionError)


@pytest.mark.parametrize("failure", [*FAILURES.values()], ids=[kind.__name__ for kind in FAILURES])
def test_hints_name_commands_options_and_settings_that_exist(failure: Failure) -> None:
    settings = {variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"GRAPHINATOR_\w+", failure.hint)) <= settings
    commands = [main.get_command(click.Context(main), name) for name in ("load", "resume", "fetch")]
    options = {option for each in commands if each for parameter in each.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", failure.hint)) <= options
    for command in re.findall(r"`graphinator ([a-z ]+)`", failure.hint):
        assert CliRunner().invoke(main, [*command.split(), "--help"]).exit_code == 0


def test_hints_name_the_home_that_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, context: Context
) -> None:
    home = tmp_path / "a [red] home"
    assert context.command("up") == f"graphinator --home '{home}' up"
    console = printed()
    nothing: dict[str, Any] = {"stack": None}
    print_status(console, {**nothing, "faults": [*faults(nothing, context)]}, context)
    assert text_of(console) == f"the stack is not running: `graphinator --home '{home}' up` starts it\n"
    assert describe_error(ServerNotSet("X"), context.program()) == (
        f"the stack is not running; start it with `graphinator --home '{home}' up`, or set X"
    )
    monkeypatch.setenv("GRAPHINATOR_HOME", str(home))
    assert context.command("up") == "graphinator up"
    monkeypatch.setenv("GRAPHINATOR_HOME", "~nouser/x")
    assert context.command("up") == f"graphinator --home '{home}' up"


@pytest.mark.parametrize(("arguments", "last"), [([], "flower"), (["quarantine"], "show")])
def test_help_fits_a_screen_and_cuts_nothing(arguments: list[str], last: str) -> None:
    lines = CliRunner().invoke(main, [*arguments, "--help"], terminal_width=80).output.splitlines()
    assert lines[-1].startswith(f"  {last}  ")
    assert len(lines) < 24  # a line is the prompt
    assert not any(line.endswith("...") for line in lines[1:])


def test_down_says_what_it_stopped() -> None:
    roles = ["neo4j", "valkey", "worker1", "worker2"]
    assert describe_stopped(roles) == "stopped 2 workers, Valkey, Neo4j"
    assert describe_stopped(["worker1"]) == "stopped 1 worker"
    assert describe_stopped([]) == "the stack is not running"


@pytest.mark.parametrize("command", [["down"], ["status"]])
def test_a_stack_that_does_not_run_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    ended = CliRunner().invoke(main, ["--home", str(tmp_path), *command])
    assert ended.stdout.startswith("the stack is not running")
    assert (ended.stderr, ended.exit_code) == ("", 0)


def test_a_check_of_a_stack_that_does_not_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = CliRunner().invoke(main, ["--home", str(tmp_path), "status", "--check"])
    assert ended.stdout.startswith("the stack is not running: `")
    assert (ended.stdout.count("\n"), ended.stderr, ended.exit_code) == (1, "", ExitCode.UNHEALTHY)


@pytest.mark.parametrize("command", [["resume"], ["finish"], ["quarantine", "list"]])
def test_a_command_that_needs_the_stack_says_so_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    ended = CliRunner().invoke(main, ["--home", str(tmp_path), *command])
    assert ended.stderr.startswith("Error: the stack is not running; start it with `")
    assert ended.stderr.endswith(" up`, or set GRAPHINATOR_REDIS_URL\n")
    assert ended.exit_code == ExitCode.USAGE


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'\nversion = "{ops.__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert ops.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_the_command_runs_as_the_module_that_the_image_names() -> None:
    (module,) = re.findall(r"exec python (-m \w+) ", (ROOT / "Dockerfile").read_text())
    words = [sys.executable, *module.split(), "--version"]
    shown = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown == f"graphinator, version {ops.__version__}\n"


def test_an_exported_entry_is_one_line_of_json() -> None:
    entry = Entry(RecordType.LABELS, None, "labels.xml", -1, "a\nb", b"<label>\xff\n</label>", "run", 2, 0.0)
    (line,) = _lines([entry])
    exported = json.loads(line)
    assert exported["raw"] == "<label>\\xff\n</label>"
    assert (exported["record_id"], exported["run"], exported["attempts"], exported["at"]) == (
        None, "run", 2, "1970-01-01T00:00:00+00:00",
    )  # fmt: skip


def show(context: Context, console: Console, *progress: Progress, wait: str = "") -> None:
    """Show the progress of a load up to the end of its first dump."""
    with LoadProgress(context, console, [HALF_WAY.path, Path("y.xml")]) as display:
        for each in progress:
            display.show(each)
            display._live.refresh()
        if wait:
            display.wait(wait)
            display.wait(wait)
        display.ended(replace(report(), path=HALF_WAY.path))


def test_off_a_terminal_a_dump_begins_and_ends_with_a_line(context: Context) -> None:
    console = printed()
    show(context, console, HALF_WAY, HALF_WAY, wait="[a]")
    assert text_of(console).splitlines() == [
        "x[red].xml: loading labels, file 1 of 2",
        "waiting for [a]",
        "x[red].xml: 3 labels in 0:00, 6/s",
    ]


def test_off_a_terminal_lines_show_what_is_done_and_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch, context: Context
) -> None:
    monkeypatch.setattr("ops.commands.progress.LINE_SECONDS", 0.0)
    console = printed()
    show(context, console, HALF_WAY, replace(HALF_WAY, waiting_for=NO_WORKER))
    _, first, second, _ = text_of(console).splitlines()
    assert first.startswith("x[red].xml: 2 %, --:-- left, 1 record done, ")
    assert first.endswith("/s, 1 batch in flight")
    assert second.endswith(f", waiting for a worker: none answers; `{context.command('up')}` starts one")


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (
            120,
            r"discogs_20261101_releases-of-the-year +reading +18,489,888 +18.5M +99 % +0 +--:-- +1,000",
        ),
        (80, r"…\S*year +reading +18,489,888 +18.5M +99 % +0 +--:-- +1,000"),
        (50, r"…\S*year +18,489,888 +99 % +--:-- +1,000"),
    ],
)
def test_the_table_of_a_load_fits_the_terminal(context: Context, width: int, row: str) -> None:
    console = printed(width)
    console.height = 25
    console.soft_wrap = False  # as on standard error
    dumps = [
        Path("/d/discogs_20261101_releases-of-the-year.xml.gz"),
        *[Path(f"/d/{n}.xml") for n in range(40)],
    ]
    read = Reading(0.0, 18_489_888, 999, 1000, whole=False)
    tally = Tally(18_488_888, quarantined=1_000)
    progress = Progress(RecordType.RELEASES, dumps[0], read, tally, 8, NO_WORKER)
    with LoadProgress(context, console, dumps) as display:
        display.show(progress)
        display._live.refresh()
    frame = [line.rstrip() for line in re.split("\r|\n", text_of(console))]
    assert max(map(cell_len, frame)) <= width
    assert any(re.fullmatch(row, line) for line in frame), frame
    assert "8 batches in flight" in frame
    assert any(line.startswith("waiting for a worker: none answers;") for line in frame)
    assert "and 24 dumps more" in frame


@pytest.mark.parametrize(("width", "size"), [(80, 11_200_898_615), (60, None)])
def test_the_progress_of_a_download_fits_the_terminal(context: Context, width: int, size: int | None) -> None:
    console = printed(width)
    console.soft_wrap = False  # as on standard error
    dump = Path("discogs_20261101_releases.xml.gz")
    with ByteProgress(context, console, "fetching", files=4) as display:
        display.show(dump, RecordType.RELEASES, 9_876_543_210, size, 0)
        display._bar.refresh()
        display.wait("the next attempt at 12:34:56: data.discogs.com does not answer (503)")
        display.end(dump, "11.2 GB in 12:34:56, 12.3 MB/s")
    frame = re.split("\r|\n", text_of(console))
    assert max(map(cell_len, frame)) <= width
    share = 88 if size else 0
    assert any(
        re.fullmatch(rf"releases [━╸╺ ]{{10,}} {share} % --:-- left, file 1 of 4 *", line) for line in frame
    )
    # Without a rate: nothing has been downloaded yet, what is there is read.
    assert any(line.rstrip() == f"  9.9 GB{' of 11.2 GB' if size else ''}" for line in frame)
    assert "\u2026" not in text_of(console)


def test_servers_of_ones_own_get_their_workers_from_celery(
    monkeypatch: pytest.MonkeyPatch, context: Context
) -> None:
    monkeypatch.setattr("ops.commands.progress.LINE_SECONDS", 0.0)
    own = Context(context.settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))
    console = printed()
    show(own, console, replace(HALF_WAY, waiting_for=NO_WORKER))
    assert "worker` starts one" in text_of(console)


def test_health_does_not_wait_for_workers_of_a_redis_that_stands_still(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("GRAPHINATOR_REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        ended = CliRunner().invoke(main, ["--home", str(tmp_path), "health", "--liveness"])
    assert (ended.exit_code, ended.output[:21]) == (ExitCode.FAILED, "Redis does not answer")
    assert time.monotonic() - began < 20.0  # the time-out of the health checks

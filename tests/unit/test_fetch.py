"""`graphinator fetch` against a local site that misbehaves."""

import datetime
import hashlib
import json
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli import main
from ops.exit_codes import ExitCode
from tests.dump_site import DumpSite, Request, busy, cut, dump_site, error_page, forbidden, too_large

YEAR = datetime.datetime.now(datetime.UTC).year
DATE, BEFORE = f"{YEAR}0201", f"{YEAR}0101"
TYPES = ("artists", "labels", "masters", "releases")


@pytest.fixture
def site() -> Iterator[DumpSite]:
    with dump_site() as site:
        site.publish(DATE, *TYPES)
        yield site


def environment(site: DumpSite, layout: str = "Discogs") -> dict[str, str]:
    return {f"GRAPHINATOR_{name.upper()}": value for name, value in site.settings(layout).items()}


def fetch(site: DumpSite, folder: Path, *options: str, layout: str = "Discogs") -> Result:
    words = ["--home", str(folder.parent / "home"), "fetch", *options, str(folder)]
    return CliRunner().invoke(main, words, env=environment(site, layout))


def labels(site: DumpSite, folder: Path, *options: str) -> Result:
    return fetch(site, folder, "--type", "labels", *options)


def is_right(site: DumpSite, folder: Path, *types: str, date: str = DATE) -> bool:
    """Return True if the folder holds these dumps, their checksums, and nothing else."""
    names = {*(f"discogs_{date}_{each}.xml.gz" for each in types), f"discogs_{date}_CHECKSUM.txt"}
    found = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
    return found == {name: site.files[name] for name in names}


def error_of(ended: Result) -> str:
    """Return the only error."""
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    return line


@pytest.mark.parametrize("layout", ["Discogs", "bucket", "folder"])
def test_all_dumps_of_the_newest_month_arrive(site: DumpSite, tmp_path: Path, layout: str) -> None:
    site.publish(BEFORE, *TYPES)
    ended = fetch(site, tmp_path / "dumps", "--json", layout=layout)
    assert ended.exit_code == 0, ended.output
    assert is_right(site, tmp_path / "dumps", *TYPES)
    told = json.loads(ended.stdout)
    assert told["date"] == DATE
    assert [each["type"] for each in told["dumps"]] == [*TYPES]
    for each in told["dumps"]:
        body = Path(each["path"]).read_bytes()
        assert (each["sha256"], each["received"]) == (hashlib.sha256(body).hexdigest(), len(body))
    # Discogs' site refuses all requests for an hour after some fifteen.
    assert len(site.asked) == 6


def test_what_is_there_and_right_is_not_downloaded_again(site: DumpSite, tmp_path: Path) -> None:
    fetch(site, tmp_path)
    dump = tmp_path / f"discogs_{DATE}_masters.xml.gz"
    dump.write_bytes(b"\x1f\x8b damaged")
    site.asked.clear()
    ended = fetch(site, tmp_path)
    assert ended.exit_code == 0
    assert [name for name, _ in site.asked if name.endswith(".gz")] == [dump.name]
    assert is_right(site, tmp_path, *TYPES)
    assert ended.stdout.splitlines()[0] == f"{DATE}: {', '.join(TYPES)} downloaded and checked"


def test_the_newest_month_is_the_newest_that_is_complete(site: DumpSite, tmp_path: Path) -> None:
    site.publish(f"{YEAR}0301", "labels", checksums=False)
    site.files[f"discogs_{YEAR}0301_CHECKSUM.txt.asc"] = b"another file"
    site.publish(f"{YEAR}0401", "artists", "labels")
    assert json.loads(labels(site, tmp_path, "--json").stdout)["date"] == f"{YEAR}0401"
    assert json.loads(fetch(site, tmp_path, "--json").stdout)["date"] == DATE
    assert json.loads(labels(site, tmp_path, "--month", DATE[:6], "--json").stdout)["date"] == DATE
    ended = labels(site, tmp_path, "--month", f"{YEAR}03")
    assert (ended.exit_code, len(list(tmp_path.glob(f"*{YEAR}0301*")))) == (ExitCode.DISCOGS, 0)
    assert f"{YEAR}03 is not complete: 127.0.0.1:" in error_of(ended)
    listed = fetch(site, tmp_path, "--list").stdout.splitlines()
    assert listed[1:] == [
        f"{YEAR}0301  labels  (not complete)",
        f"{YEAR}0401  artists, labels  (not complete)",
    ]
    months = json.loads(labels(site, tmp_path, "--list", "--json").stdout)
    assert [each["complete"] for each in months] == [True, False, True]


def test_at_the_beginning_of_a_year_the_newest_month_is_one_of_the_last(tmp_path: Path) -> None:
    date = f"{YEAR - 1}1201"
    with dump_site() as site:
        assert "lists no complete month of labels in " in error_of(labels(site, tmp_path))
        site.publish(date, "labels")
        assert labels(site, tmp_path).exit_code == 0
        assert is_right(site, tmp_path, "labels", date=date)
        assert fetch(site, tmp_path, "--list").stdout.startswith(date)
        assert f"{YEAR}01 is not there" in error_of(labels(site, tmp_path, "--month", f"{YEAR}01"))


def test_a_download_that_is_cut_off_goes_on_where_it_was(site: DumpSite, tmp_path: Path) -> None:
    site.faults += [cut, cut]
    ended = labels(site, tmp_path, "--json")
    assert ended.exit_code == 0
    size = len(site.files[f"discogs_{DATE}_labels.xml.gz"])
    first, second, third = site.asked_for("labels")
    assert (first, second) == (None, f"bytes={size // 2}-")
    assert third == f"bytes={size // 2 + size // 4}-"
    assert json.loads(ended.stdout)["dumps"][0]["received"] == size
    assert is_right(site, tmp_path, "labels")


def test_without_ranges_a_download_that_is_cut_off_begins_again(site: DumpSite, tmp_path: Path) -> None:
    site.has_ranges = False
    site.faults.append(cut)
    assert labels(site, tmp_path).exit_code == 0
    assert is_right(site, tmp_path, "labels")


def test_a_passing_refusal_is_tried_again_up_to_ten_times(site: DumpSite, tmp_path: Path) -> None:
    site.faults += [busy] * 3
    assert labels(site, tmp_path).exit_code == 0
    assert is_right(site, tmp_path, "labels")
    site.faults += [cut, *[busy] * 20]
    ended = fetch(site, tmp_path, "--type", "artists")
    assert ended.exit_code == ExitCode.DISCOGS
    assert "does not answer (503 Service Unavailable); the same command goes on" in error_of(ended)
    assert len(site.asked_for("artists")) == 10
    assert "waiting for the next attempt at " in ended.stderr
    site.faults.clear()
    assert fetch(site, tmp_path, "--type", "artists").exit_code == 0
    assert site.asked_for("artists")[-1] is not None
    assert is_right(site, tmp_path, "artists", "labels")


def test_a_site_that_asks_for_a_day_is_not_waited_for(site: DumpSite, tmp_path: Path) -> None:
    site.faults.append(lambda request: request.send(429, Retry_After="86400"))
    ended = labels(site, tmp_path)
    assert "asks to wait for 24 hours (429 Too Many Requests)" in error_of(ended)
    assert ended.exit_code == ExitCode.DISCOGS


def test_a_refusal_ends_the_command_at_once(site: DumpSite, tmp_path: Path) -> None:
    site.faults.append(forbidden)
    ended = labels(site, tmp_path)
    assert "refuses (403 Forbidden); a browser may" in error_of(ended)
    assert (ended.exit_code, len(site.asked_for("labels"))) == (ExitCode.DISCOGS, 1)


def test_a_password_in_an_address_is_shown_in_no_message(site: DumpSite, tmp_path: Path) -> None:
    site.url = site.url.replace("127.0.0.1", "me:secret@127.0.0.1")
    site.faults += [busy, forbidden]
    ended = labels(site, tmp_path)
    assert ended.exit_code == ExitCode.DISCOGS
    assert "127.0.0.1:" in ended.stderr
    assert "secret" not in ended.output


def test_an_error_page_is_not_taken_for_a_dump_or_a_list(site: DumpSite, tmp_path: Path) -> None:
    site.faults += [cut, error_page]
    ended = labels(site, tmp_path)
    assert ended.exit_code == 0
    assert site.asked_for("labels")[2] is not None
    assert "the site sent no gzip file, but <?xml version='1.0'?><Error><Code>" in ended.stderr
    assert is_right(site, tmp_path, "labels")
    site.files[f"discogs_{DATE}_CHECKSUM.txt"] = b"<Error>No</Error>"
    ended = fetch(site, tmp_path)
    assert error_of(ended) == f"Error: discogs_{DATE}_CHECKSUM.txt has no checksums: <Error>No</Error>"
    assert ended.exit_code == ExitCode.DISCOGS


def test_a_dump_with_a_wrong_checksum_never_gets_its_name(site: DumpSite, tmp_path: Path) -> None:
    labels(site, tmp_path)
    before = (tmp_path / f"discogs_{DATE}_labels.xml.gz").read_bytes()
    checksums = site.files[f"discogs_{DATE}_CHECKSUM.txt"]
    site.files[f"discogs_{DATE}_CHECKSUM.txt"] = checksums.replace(
        hashlib.sha256(before).hexdigest().encode(), b"0" * 64
    )
    ended = labels(site, tmp_path)
    assert f"discogs_{DATE}_labels.xml.gz arrived with another sha256 than" in error_of(ended)
    assert ended.exit_code == ExitCode.DISCOGS
    assert list(tmp_path.glob("*.part*")) == []
    assert (tmp_path / f"discogs_{DATE}_labels.xml.gz").read_bytes() == before
    site.files[f"discogs_{DATE}_CHECKSUM.txt"] = checksums.replace(b"labels", b"others")
    assert "has no checksum of discogs_" in error_of(labels(site, tmp_path))


def test_a_dump_that_is_replaced_while_it_is_read_is_the_new_one(site: DumpSite, tmp_path: Path) -> None:
    def replace(request: Request) -> None:
        cut(request)
        site.publish(DATE, "labels", body=b"\x1f\x8b" + b"another version" * 9999)

    site.faults.append(replace)
    ended = labels(site, tmp_path)
    assert ended.exit_code == 0, ended.output
    assert is_right(site, tmp_path, "labels")
    assert b"another version" in (tmp_path / f"discogs_{DATE}_labels.xml.gz").read_bytes()


@pytest.fixture
def held(site: DumpSite) -> Iterator[Callable[[Request], None]]:
    """A fault: half of the file is sent, the rest once the test has ended."""
    end = threading.Event()

    def hold(request: Request) -> None:
        request.serve(0.5)
        end.wait()

    yield hold
    end.set()


def start(
    site: DumpSite, folder: Path, part: Path, held: Callable[[Request], None]
) -> "subprocess.Popen[str]":
    """Start a download and wait until half of it has arrived."""
    site.faults.append(held)
    process = subprocess.Popen(
        [sys.executable, "-c", "from ops.cli import main; main()", "fetch", "--type", "labels", str(folder)],
        env={**environment(site), "GRAPHINATOR_HOME": str(folder / "home"), "PYTHONPATH": ":".join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    half = len(site.files[f"discogs_{DATE}_labels.xml.gz"]) // 2
    while not part.exists() or part.stat().st_size < half // 2:
        assert process.poll() is None, process.communicate()
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_download_that_is_killed_goes_on_with_what_has_arrived(
    site: DumpSite, tmp_path: Path, held: Callable[[Request], None], how: signal.Signals
) -> None:
    part = tmp_path / f"discogs_{DATE}_labels.xml.gz.part"
    with start(site, tmp_path, part, held) as process:
        second = labels(site, tmp_path)
        assert "another download into this folder is under way" in error_of(second)
        assert second.exit_code == ExitCode.BUSY
        process.send_signal(how)
        assert process.wait(60) != 0
    arrived = part.stat().st_size
    assert labels(site, tmp_path).exit_code == 0
    assert site.asked_for("labels") == [None, f"bytes={arrived}-"]
    assert is_right(site, tmp_path, "labels")


def test_what_had_arrived_before_its_renaming_is_not_downloaded_again(site: DumpSite, tmp_path: Path) -> None:
    dump = tmp_path / f"discogs_{DATE}_labels.xml.gz"
    part, version = Path(f"{dump}.part"), Path(f"{dump}.part.json")
    part.write_bytes(site.files[dump.name])
    version.write_text('{"validator": "\\"1\\"", "size": null}')
    assert labels(site, tmp_path).exit_code == 0
    assert site.asked_for("labels") == []
    assert is_right(site, tmp_path, "labels")


@pytest.mark.parametrize(
    "known", ["", '{"validator": "", "size": 1}', '{"validator": "\\"other\\"", "size": 1}']
)
def test_what_has_arrived_of_an_unknown_version_is_not_used(
    site: DumpSite, tmp_path: Path, known: str
) -> None:
    dump = tmp_path / f"discogs_{DATE}_labels.xml.gz"
    Path(f"{dump}.part").write_bytes(b"\x1f\x8b of last week")
    Path(f"{dump}.part.json").write_text(known)
    assert labels(site, tmp_path).exit_code == 0
    assert is_right(site, tmp_path, "labels")


def test_more_than_the_whole_file_is_begun_again(site: DumpSite, tmp_path: Path) -> None:
    dump = tmp_path / f"discogs_{DATE}_labels.xml.gz"
    body = site.files[dump.name]
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    Path(f"{dump}.part").write_bytes(body + b"more")
    Path(f"{dump}.part.json").write_text(json.dumps({"validator": f'"{etag}"', "size": len(body)}))
    assert labels(site, tmp_path).exit_code == 0
    assert site.asked_for("labels") == [f"bytes={len(body) + 4}-", None]
    assert is_right(site, tmp_path, "labels")


def test_a_folder_that_cannot_be_used_is_one_line(site: DumpSite, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = labels(site, tmp_path / "file" / "dumps")
    assert (ended.stderr, ended.exit_code) == (f"Error: {tmp_path}/file/dumps: Not a directory\n", 4)
    site.faults.append(too_large)
    ended = labels(site, tmp_path / "dumps")
    assert ended.exit_code == ExitCode.STACK
    error = error_of(ended)
    assert error.startswith(
        f"Error: {tmp_path}/dumps: 1.0 EB of discogs_{DATE}_labels.xml.gz are missing, and "
    )
    assert error.endswith(" are free; free some space, then run the same command again")


def test_the_commands_of_the_page_do_what_it_says(site: DumpSite, tmp_path: Path) -> None:
    site.publish("20261001", *TYPES)
    page = Path(__file__).parents[2] / "docs/howto/monthly-update.md"
    commands = re.findall(r"^\$ graphinator (fetch .*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command.replace("~", str(tmp_path)), comments=True)
        ended = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), *words], env=environment(site))
        assert ended.exit_code == 0, ended.output
    arrived = {path.name for path in (tmp_path / "dumps").glob("*.gz")}
    newest = max(DATE, "20261001")
    assert arrived == {
        "discogs_20261001_labels.xml.gz",
        *(f"discogs_{newest}_{each}.xml.gz" for each in TYPES),
    }


def test_the_folder_is_one_of_the_home_by_default(site: DumpSite, tmp_path: Path) -> None:
    words = ["--home", str(tmp_path), "fetch", "--type", "masters"]
    assert CliRunner().invoke(main, words, env=environment(site)).exit_code == 0
    assert is_right(site, tmp_path / "dumps", "masters")


@pytest.mark.parametrize("month", [f"{YEAR}13", "2026", "newest"])
def test_a_month_that_is_no_month_is_wrong_usage(site: DumpSite, tmp_path: Path, month: str) -> None:
    ended = fetch(site, tmp_path, "--month", month)
    assert f"{month} is neither `latest` nor a month such as 202611" in ended.stderr
    assert (ended.exit_code, site.asked) == (ExitCode.USAGE, [])


def test_an_update_without_a_stack_asks_the_site_for_nothing(site: DumpSite, tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["--home", str(tmp_path), "update"], env=environment(site))
    assert error_of(ended).startswith("Error: the stack is not running; ")
    assert (ended.exit_code, site.asked) == (ExitCode.USAGE, [])

"""The commands of docs/operations.md, run in one shell as a reader would."""

import gzip
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.stack.state import load_state
from tests.acceptance.conftest import COMMAND
from tests.conftest import choose_ports, free_ports
from tests.dump_site import DumpSite, dump_site
from tests.unit.test_fetch import DATE
from workers.settings import load_settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/operations.md"
BLOCK = re.compile(r"^```console(?P<needs>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
#: Between the output of a command and its exit code, which is between two of them.
MARK = "\x1e"
#: The largest share of commands that no test can run: those that need root, a download, or servers of one's own.
NOT_RUN = 0.3


@dataclass(frozen=True)
class Command:
    """A command of the page, and the output that the page shows."""

    line: int
    text: str
    shown: list[str]
    #: For the reader: what it needs that a test has not.
    needs: str


def commands() -> Iterator[Command]:
    page = PAGE.read_text(encoding="utf-8")
    for block in BLOCK.finditer(page):
        line = page.count("\n", 0, block.start("text")) + 1
        found: Command | None = None
        for number, text in enumerate(block["text"].splitlines(), line):
            if text.startswith("$ "):
                if found is not None:
                    yield found
                found = Command(number, text[2:], [], block["needs"].strip())
            else:
                assert found is not None, f"line {number}: output before a command"
                found.shown.append(text)
        assert found is not None, f"line {line}: no command"
        yield found


def pattern(shown: list[str]) -> str:
    """Return what matches this output with other numbers and spaces.

    `…` stands for the rest of a line; alone, for some lines.
    """
    lines = []
    for line in shown:
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
            continue
        words = [
            re.sub(r"\d[\d.,:]*|-(?=\\? |$)", r"[-\\d.,:]+", re.escape(word).replace("…", ".*"))
            for word in line.split()
        ]
        lines.append(r"\s*" + r"[^\S\n]+".join(words) + r"[^\S\n]*\n")
    return "".join(lines)


def run(home: Path, environment: dict[str, str]) -> None:
    """Run the commands and compare what they print."""
    wanted = [command for command in commands() if not command.needs]
    ports = load_state(home / ".local/share/graphinator").ports
    metrics = environment.pop("METRICS")

    def here(text: str) -> str:
        """Return a text of the page with the home and the ports of the test."""
        usual = {"/home/me": str(home), ":5555": f":{ports['flower']}", "9808": metrics}
        for old, new in usual.items():
            text = text.replace(old, new)
        return text

    script = "".join(f"{here(each.text)}\nprintf '{MARK}%d{MARK}' $?\n" for each in wanted)
    ended = subprocess.run(
        ["bash", "-c", script],  # noqa: S607 - a name, not a path
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    parts = ended.stdout.split(MARK)
    for command, output, code in zip(wanted, parts[:-1:2], parts[1::2], strict=True):
        place = f"{PAGE.name}, line {command.line}: {command.text}\n{output}"
        assert code == "0", f"{place}\n{ended.stderr}"
        if command.shown:
            assert re.fullmatch(pattern([*map(here, command.shown)]), output), f"{place}\n{ended.stderr}"


@pytest.fixture
def site(sample: list[Path]) -> Iterator[DumpSite]:
    """Discogs with the sample labels, one of them changed."""
    with dump_site() as site:
        text = gzip.decompress(sample[1].read_bytes()).replace(b"<profile>", b"<profile>New: ", 1)
        site.publish(DATE, "labels", body=gzip.compress(text))
        yield site


def test_the_commands_do_what_the_page_shows(site: DumpSite, classes: None, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    stack = tmp_path / ".local/share/graphinator"
    choose_ports(stack)
    environment = {
        **own,
        "HOME": str(tmp_path),
        "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
        "GRAPHINATOR_CACHE": str(load_settings().cache),
        "METRICS": str(free_ports(1)[0]),
        **{f"GRAPHINATOR_{name.upper()}": value for name, value in site.settings().items()},
    }
    try:
        run(tmp_path, environment)
    finally:
        subprocess.run([COMMAND, "--home", stack, "down"], check=True, capture_output=True)


def test_few_commands_are_not_run() -> None:
    every = [*commands()]
    assert sum(bool(each.needs) for each in every) <= NOT_RUN * len(every)

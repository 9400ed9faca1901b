"""The progress of `load` and `verify` on a terminal of 80 columns and 24 lines."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.cells import cell_len

from tests.acceptance.conftest import BOUND_SECONDS, COMMAND, Product

WIDTH = 80
CODES = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")
BAR = r"{} [━╸╺]{{10,}} \d+ % (\d+:)?[\d-]+:[\d-]+ left, file {} of 2 *"


class Terminal:
    """The output of a command on a terminal."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int) -> None:
        self.process = process
        self._master = master
        self._output = b""

    def resize(self, width: int) -> None:
        """Change the width of the terminal."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def lines(self) -> list[str]:
        """Return all lines that were ever shown, without terminal codes."""
        return re.split(r"[\r\n]+", CODES.sub("", self._output.decode(errors="ignore")))

    def until(self, *texts: str, width: int = WIDTH) -> None:
        """Read until each text was shown, or, without any, until the command ends.

        `width` is that of its line, at most.
        """

        def is_shown(text: str) -> bool:
            return any(text in line and cell_len(line) <= width for line in self.lines())

        while not texts or not all(map(is_shown, texts)):
            try:
                more = os.read(self._master, 1 << 16)
            except OSError:  # Linux's end of a terminal
                more = b""
            if not more:
                assert not texts, self.lines()
                return
            self._output += more


@contextmanager
def on_terminal(product: Product, *arguments: object, **settings: object) -> Iterator[Terminal]:
    """Run the command on a terminal."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    words = [str(COMMAND), *map(str, arguments)]
    environment = {**product.environment(**settings), "TERM": "xterm"}
    # Processes of pytest-xdist have the size of another terminal there, which would count.
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    with subprocess.Popen(words, env=environment, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)


def is_readable(lines: list[str]) -> bool:
    """Return True if every line fits the terminal and nothing in it is cut."""
    return all(cell_len(line) <= WIDTH and "…" not in line for line in lines)


def shown(pattern: str, lines: list[str]) -> list[int]:
    """Return the indices of the lines that match."""
    return [index for index, line in enumerate(lines) if re.fullmatch(pattern, line)]


def test_a_load_shows_what_it_waits_for_and_what_is_written(product: Product, sample: list[Path]) -> None:
    product.workers(0)
    with on_terminal(product, "load", sample[1], sample[3], chunk_records=20) as terminal:
        terminal.until("0 workers", "waiting for a worker: none answers; `graphinator up` starts one")
        product.workers(2)
        terminal.until("2 workers")
        terminal.until()
        lines = terminal.lines()
        assert terminal.process.wait(BOUND_SECONDS) == 0
    assert is_readable(lines)
    labels, releases = (rf"discogs_20200806_{name} +" for name in ("labels", "releases"))
    numbers = r" +[\d,]+ +[\d.k]+ +\d+ % +[\d,]+ +[\d:-]+ *"
    first = shown(labels + "(reading|writing)" + numbers, lines)
    assert [lines[place + 1].split() for place in first] == [["discogs_20200806_releases", "waiting"]] * len(
        first
    )
    second = shown(releases + "(reading|writing)" + numbers, lines)
    done = [lines[place - 1].split()[1:5] for place in second]
    assert done == [["done", "1,000", "1.0k", "100"]] * len(second)
    assert first
    assert second
    assert shown(r"\d+ batch(es)? in flight, 2 workers *", lines)
    for complete in shown(r".* (reading|writing) .* 100 % .*", lines):
        assert " 1,000 " in lines[complete]
        assert any("0 batches in flight" in line for line in lines[complete + 1 : complete + 3])
    assert shown(r"total +2,000 +0 +2,000 +0 +0 +0 +[\d:]+ +[\d,]+", lines)


def test_a_terminal_that_gets_narrow_and_an_interrupt_leave_a_readable_table(
    product: Product, sample: list[Path], tmp_path: Path
) -> None:
    product.workers(0)
    long = tmp_path / f"{'a long way to a name ' * 10}.xml.gz"
    long.symlink_to(sample[1])
    with on_terminal(product, "load", long, sample[3], chunk_records=20) as terminal:
        terminal.until("waiting for a worker")
        before = len(terminal.lines())
        terminal.resize(50)
        terminal.until("…", width=50)
        terminal.process.send_signal(signal.SIGINT)
        terminal.until()
        lines = terminal.lines()
        assert terminal.process.wait(BOUND_SECONDS) == 130
    assert all(cell_len(line) <= WIDTH for line in lines[:before])
    last = max(shown(r"dump .*", lines))
    assert re.fullmatch(r"….*a name +(reading|writing) +.*", lines[last + 1])
    assert re.fullmatch(r"….*releases +waiting *", lines[last + 2])
    assert all(cell_len(line) <= 50 for line in lines[last : last + 3])
    assert any(line.startswith("Error: interrupted") for line in lines[last + 3 :])


def test_a_comparison_has_the_same_bar(product: Product, sample: list[Path]) -> None:
    product.load(sample[1], sample[3])
    with on_terminal(product, "verify", sample[1], sample[3], chunk_records=20) as terminal:
        terminal.until()
        lines = terminal.lines()
        assert terminal.process.wait(BOUND_SECONDS) == 0
    assert is_readable(lines)
    for number, name in enumerate(("labels", "releases"), 1):
        assert shown(BAR.format(name, number), lines)
    assert not shown(r".* 100 % .*", lines)
    assert shown(r"discogs_20200806_releases.xml.gz: 1,000 releases compared in [\d:]+", lines)

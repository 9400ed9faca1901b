"""The progress of `load` and `verify` on a terminal of 80 columns and 24 lines."""

import fcntl
import os
import re
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

    def lines(self) -> list[str]:
        """Return all lines that were ever shown, without terminal codes."""
        return re.split(r"[\r\n]+", CODES.sub("", self._output.decode(errors="ignore")))

    def until(self, *texts: str) -> None:
        """Read until each text was shown, or, without any, until the command ends."""
        while not texts or not all(any(text in line for line in self.lines()) for text in texts):
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
    for number, name in enumerate(("labels", "releases"), 1):
        assert shown(BAR.format(name, number), lines)
    assert shown(r"  [\d,]+ records done, [\d,]+/s, \d+ batch(es)? in flight, 2 workers *", lines)
    # The number of batches is below the bar.
    for complete in shown(r".* 100 % .*", lines):
        assert " 1,000 records done" in lines[complete + 1]
        assert " 0 batches in flight" in lines[complete + 1]
    assert shown(r"discogs_20200806_labels.xml.gz: 1,000 labels in [\d:]+, [\d,]+/s", lines)
    assert shown(r"total +2,000 +0 +2,000 +0 +0 +0 +[\d:]+ +[\d,]+", lines)


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

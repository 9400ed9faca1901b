"""The reader stays below 100 MB for every file."""

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.reader.source import INFLATE_RATIO

# More than deflate can reach.
ANY_RATIO = 1100
LIMIT_BYTES = 100_000_000
# The share of the reader in the process of a load.
GROWTH_BYTES = 34_000_000
MIB = 1 << 20
TINY = 30_000
MEMBER = b"<id>123</id><name>Some One</name>"
RECORD = b'<release id="7"><title>t</title><notes>%b</notes></release>\n' % (b"All about it. " * 300)

READ = """
import resource, sys
from pathlib import Path
from pipeline.reader.dump import open_dump
from pipeline.errors import DumpError

def peak():
    # After exec, ru_maxrss still holds the peak of the parent; VmHWM does not.
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

records = rejected = 0
reason = ""
before = peak()
try:
    with open_dump(sys.argv[1], inflate_ratio=int(sys.argv[2])) as dump:
        for chunk in dump.chunks(500, 4 << 20):
            records += len(chunk.ids)
            rejected += len(chunk.rejected)
except DumpError as error:
    reason = error.reason
print(records, rejected, before, peak(), reason, sep="|")
"""


def usual() -> Iterator[bytes]:
    yield b"<releases>\n"
    for _ in range(100):
        yield RECORD * (MIB // len(RECORD))
    yield b"</releases>\n"


def one_record() -> Iterator[bytes]:
    yield b'<releases>\n<release id="1"><title>'
    for _ in range(100):
        yield b"x" * MIB
    yield b'</title></release>\n<release id="2"/>\n</releases>'


def without_an_end() -> Iterator[bytes]:
    yield b'<releases><release id="1"><title>'
    for _ in range(100):
        yield b"<a b='c'>" * (MIB // 9)


def text_between() -> Iterator[bytes]:
    yield b'<releases>\n<release id="1"/>\n'
    for _ in range(100):
        yield b"< garbage! ?" * (MIB // 12)
    yield b'<release id="2"/>\n</releases>'


def comment_between() -> Iterator[bytes]:
    yield b'<releases>\n<release id="1"/>\n<!--'
    for _ in range(100):
        yield b" a long story" * (MIB // 13)
    yield b'-->\n<release id="2"/>\n</releases>'


def nothing_but_space() -> Iterator[bytes]:
    yield b"<releases>"
    for _ in range(100):
        yield b" " * MIB
    yield b"</releases>"


def ids_behind_long_records() -> Iterator[bytes]:
    """Artists of nearly 4 MiB with the id at the end, every other one malformed."""
    members = MEMBER * ((4 * MIB - 1000) // len(MEMBER))
    yield b"<artists>\n"
    for _ in range(1):
        yield b"<artist><members>" + members + b"</members><id>7</id></artist>\n"
        yield b"<artist><members>" + members + b"</member><id>7</id></artist>\n"
    yield b"</artists>"


def bomb() -> Iterator[bytes]:
    """10 GiB of XML in 10 MB."""
    yield b'<releases>\n<release id="1"/>\n<release id="2"><title>'
    part = b"x" * MIB
    for _ in range(10_240):
        yield part


def many_tiny() -> Iterator[bytes]:
    yield b"<masters>"
    yield b"<master/>" * TINY
    yield b"</masters>"


@pytest.mark.parametrize(
    ("content", "inflate_ratio", "records", "rejected", "reason"),
    [
        (usual, ANY_RATIO, 100 * (MIB // len(RECORD)), 0, ""),
        (one_record, ANY_RATIO, 1, 1, ""),
        (without_an_end, ANY_RATIO, 0, 0, "the file ends inside the <release> that begins at byte 10"),
        (text_between, ANY_RATIO, 2, 1, ""),
        (comment_between, ANY_RATIO, 2, 0, ""),
        (nothing_but_space, ANY_RATIO, 0, 0, ""),
        (many_tiny, INFLATE_RATIO, 0, TINY, ""),
        (ids_behind_long_records, ANY_RATIO, 1, 1, ""),
        (bomb, INFLATE_RATIO, 1, 0, "the gzip data inflates to more than 200 times its size"),
    ],
)
def test_memory_is_bounded(
    tmp_path: Path,
    content: Callable[[], Iterator[bytes]],
    inflate_ratio: int,
    records: int,
    rejected: int,
    reason: str,
) -> None:
    path = tmp_path / "dump.xml.gz"
    members: dict[bytes, bytes] = {}
    with path.open("wb") as file:
        for part in content():
            if part not in members:
                members[part] = gzip.compress(part, 6)
            file.write(members[part])
    result = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(inflate_ratio)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    found_records, found_rejected, before, peak, found_reason = result.stdout.strip().split("|")
    assert (int(found_records), int(found_rejected)) == (records, rejected)
    assert found_reason.startswith(reason) if reason else not found_reason
    assert int(peak) < LIMIT_BYTES
    assert int(peak) - int(before) < GROWTH_BYTES

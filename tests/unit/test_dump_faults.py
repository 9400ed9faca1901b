"""A file that is no dump, or a damaged one, ends in one clear error."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.errors import DamagedError, DumpError
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.reader.source import ANY_RATIO_BYTES

# Records that do not compress well, so that a fault in the middle has many of them on either side.
RECORDS = [
    b'<release id="%d"><title>%x</title></release>' % (number, number**97 % (1 << 400))
    for number in range(1, 2001)
]
DUMP = b"<releases>\n" + b"\n".join(RECORDS) + b"\n</releases>\n"
COMPRESSED = gzip.compress(DUMP, mtime=0)


def read(path: Path) -> tuple[list[bytes], DumpError]:
    """The records delivered before the error, and the error."""
    records: list[bytes] = []
    with open_dump(path) as dump, pytest.raises(DumpError) as error:
        for chunk in dump.chunks(100, 1 << 20):
            assert chunk.rejected == []
            records += chunk.records
    return records, error.value


def refused(path: Path) -> DumpError:
    with pytest.raises(DumpError) as error:
        open_dump(path)
    assert "\n" not in str(error.value)
    place = f" (at byte {error.value.position:,} of the XML)" if error.value.position else ""
    assert str(error.value) == f"{path}: {error.value.reason}{place}"
    return error.value


def written(folder: Path, content: bytes) -> Path:
    path = folder / "dump.xml.gz"
    path.write_bytes(content)
    return path


@hypothesis.settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(missing=st.integers(1, 12) | st.integers(13, len(COMPRESSED) - 100))
def test_a_truncated_gzip_file_is_read_up_to_its_end(tmp_path: Path, missing: int) -> None:
    cut = COMPRESSED[:-missing]
    inflated = zlib.decompressobj(wbits=31).decompress(cut)
    records, error = read(written(tmp_path, cut))
    assert records == RECORDS[: DUMP[: error.position].count(b"</release>")]
    assert error.reason == f"the gzip file is truncated; the {len(records):,} records before that were read"
    # Libraries differ by the last copy of at most 258 bytes.
    assert len(inflated) - 258 <= error.position <= len(inflated)


def test_checksum_and_length_of_a_gzip_file_are_verified(tmp_path: Path) -> None:
    for offset in range(-8, 0):
        corrupt = bytearray(COMPRESSED)
        corrupt[offset] ^= 0x40
        records, error = read(written(tmp_path, bytes(corrupt)))
        assert records == RECORDS
        assert error.reason == (
            "the gzip data is corrupt: its checksum does not match; the 2,000 records before that were read, "
            "and may be wrong"
        )


def test_a_checksum_in_the_middle_is_verified(tmp_path: Path) -> None:
    first = bytearray(gzip.compress(DUMP[:50_000]))
    first[-8] ^= 1
    records, error = read(written(tmp_path, bytes(first) + gzip.compress(DUMP[50_000:])))
    # Chunks of 100 records: the last one is left out.
    assert records == RECORDS[: DUMP[:50_000].count(b"</release>") // 100 * 100]
    assert "its checksum does not match" in error.reason


def test_a_corrupt_gzip_file_is_read_up_to_the_fault(tmp_path: Path) -> None:
    compressed = bytearray(gzip.compress(DUMP[:100_000]) + gzip.compress(DUMP[100_000:]))
    at = compressed.index(b"\x1f\x8b\x08", 1)
    compressed[at + 10] = 0b111  # a block type that deflate does not have
    records, error = read(written(tmp_path, bytes(compressed)))
    assert records == RECORDS[: DUMP[:100_000].count(b"</release>")]
    assert error.reason.startswith("the gzip data is corrupt: ")
    assert error.position == 100_000
    assert error.reason.endswith("records before that were read, and may be wrong after byte 100,000")


@hypothesis.settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(at=st.integers(10_000, len(COMPRESSED) - 100), bit=st.integers(0, 7))
def test_no_record_of_a_damaged_gzip_file_is_rejected(tmp_path: Path, at: int, bit: int) -> None:
    damaged = bytearray(COMPRESSED)
    damaged[at] ^= 1 << bit
    records, error = read(written(tmp_path, bytes(damaged)))
    assert type(error) is DamagedError
    assert f"{len(records):,} records before" in error.reason or not records


def test_a_broken_record_of_an_intact_gzip_file_is_rejected(tmp_path: Path) -> None:
    xml = DUMP.replace(RECORDS[500], b"text" + RECORDS[500])
    with open_dump(written(tmp_path, gzip.compress(xml))) as dump:
        chunks = [*dump.chunks(100, 1 << 20)]
    assert [each.raw for chunk in chunks for each in chunk.rejected] == [b"text"]
    assert sum(len(chunk.ids) for chunk in chunks) == 2000


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_a_file_may_be_deleted_while_it_is_read(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    path = written(tmp_path, compress(DUMP.replace(RECORDS[500], b"text" + RECORDS[500])))
    with open_dump(path) as dump:
        path.unlink()
        assert sum(len(chunk.ids) for chunk in dump.chunks(100, 1 << 20)) == 2000


def swollen(mib: int) -> bytes:
    """Within a record, text that inflates to a thousand times its size."""
    return (
        gzip.compress(DUMP.removesuffix(b"</releases>\n") + b"<release id='9'>")
        + gzip.compress(b"x" * (1 << 20)) * mib
    )


def test_a_gzip_bomb_is_read_up_to_where_it_shows(tmp_path: Path) -> None:
    records, error = read(written(tmp_path, swollen(100)))
    assert records == RECORDS
    assert error.reason == (
        "the gzip data inflates to more than 200 times its size: a gzip bomb; "
        "the 2,000 records before that were read"
    )
    # The file's honest beginning earns the rest a little more.
    assert ANY_RATIO_BYTES < error.position < 2 * ANY_RATIO_BYTES


def test_small_files_and_those_within_the_limit_may_be_repetitive(tmp_path: Path) -> None:
    for mib, inflate_ratio in ((63, 10), (80, 1100)):
        content = swollen(mib) + gzip.compress(b"</release>\n</releases>")
        with open_dump(written(tmp_path, content), inflate_ratio=inflate_ratio) as dump:
            chunks = [*dump.chunks(1000, 1 << 20)]
        assert sum(len(chunk.ids) for chunk in chunks) == 2000
        assert [one.reason.partition(":")[0] for chunk in chunks for one in chunk.rejected] == [
            "longer than 4,194,304 bytes"
        ]


def test_anything_behind_the_dump_is_an_error(tmp_path: Path) -> None:
    tails = [
        (b"<html>not gzip</html>", "the gzip data is followed by something else"),
        (b"\0\0tail of another kind", "the gzip data is followed by something else"),
        (b"\x1f\x8b", "the gzip file is truncated"),
        (b"\x1f\x8b\x07" + b"\0" * 20, "the gzip data is corrupt: unknown header"),
        (b"\x1f\x8b\x08\x08\0\0\0\0\0\0a name without an end", "the gzip file is truncated"),
        (gzip.compress(b"junk"), "something follows after </releases>"),
    ]
    for tail, reason in tails:
        records, error = read(written(tmp_path, COMPRESSED + tail))
        assert records == RECORDS
        assert error.reason == f"{reason}; the 2,000 records before that were read"


def test_a_missing_end_of_the_root_is_an_error_after_all_records(tmp_path: Path) -> None:
    records, error = read(written(tmp_path, DUMP.removesuffix(b"</releases>\n")))
    assert records == RECORDS
    assert error.reason == "the file ends without </releases>; the 2,000 records before that were read"
    assert error.position == len(DUMP) - len(b"</releases>\n")


def test_one_record_before_a_fault_is_counted_in_the_singular(tmp_path: Path) -> None:
    _, error = read(written(tmp_path, b"<masters><master id='1'/>"))
    assert error.reason.endswith("; the one record before that was read")


def test_another_root_is_refused_with_the_right_ones_named(tmp_path: Path) -> None:
    roots = [
        (b"<rss><channel/></rss>", 0),
        (b"<?xml version='1.0'?>\n<tracks>", 22),
        (b"<release id='1'></release>", 0),
        (b"<releasesx>", 0),
        (b"<x:releases>", 0),
    ]
    for root, position in roots:
        for content in (root, gzip.compress(root)):
            error = refused(written(tmp_path, content))
            assert error.position == position
            assert error.reason.endswith("but a dump has one of <artists>, <labels>, <masters>, <releases>")


def tar() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(__file__, "dump.xml")
    return archive.getvalue()


def test_a_file_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    files = [
        (tar(), "this is not XML but a tar archive"),
        (gzip.compress(COMPRESSED), "this is not XML but gzip inside gzip"),
        (b"PK\x03\x04 and so on", "this is not XML but a zip archive"),
        (b"\x28\xb5\x2f\xfd and so on", "this is not XML but zstd"),
        (b'{"artists": []}', "this is not XML"),
        (b"\0" * 5000, "this is not XML"),
        (b"<!doctype html>\n<html lang='en'><body></body></html>", "this is an HTML page, not a dump"),
        (b"\n<HTML><body>404</body></HTML>", "this is an HTML page, not a dump"),
        (b"", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"<?xml version='1.0'?><!-- <releases> ", "the file ends before its root element begins"),
        (b"<releases", "the file ends before its root element begins"),
        (b"<!-- " + b"x" * 3_000_000, "no root element begins in the first 1,024 KiB"),
        (b" " * 3_000_000, "no root element begins in the first 1,024 KiB"),
        (COMPRESSED[:7], "the gzip file is truncated"),
        (COMPRESSED[:15], "the gzip file is truncated"),
        (DUMP.decode().encode("utf-16"), "the encoding is UTF-16, but a dump is UTF-8"),
        (DUMP.decode().encode("utf-16-be"), "the encoding is UTF-16, but a dump is UTF-8"),
        (
            b"<?xml version='1.0' encoding='iso-8859-1'?>" + DUMP,
            "the encoding is iso-8859-1, but a dump is UTF-8",
        ),
        (
            b"<?xml version='1.0' encoding='a\n b\x1b[2J" + b"x" * 100 + b"'?>" + DUMP,
            r"the encoding is a\n b\x1b[2J" + "x" * 42 + ", but a dump is UTF-8",
        ),
    ]
    for content, reason in files:
        assert refused(written(tmp_path, content)).reason == reason


def test_a_root_is_searched_in_the_beginning_of_a_file_only(tmp_path: Path) -> None:
    assert refused(written(tmp_path, b" " * 3_000_000)).position <= 2 << 20


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).reason == "the file cannot be opened: Is a directory"
    assert refused(tmp_path / "none").reason == "the file cannot be opened: No such file or directory"


def test_a_record_type_is_told_before_a_fault_behind_it(tmp_path: Path) -> None:
    compressed = COMPRESSED[:3000]
    with open_dump(written(tmp_path, compressed)) as dump:
        assert dump.record_type is RecordType.RELEASES

"""Dumps of every shape are read whole, once, in chunks."""

import gzip
from pathlib import Path

import pytest

from pipeline.model import Chunk, RecordType
from pipeline.reader.dump import ids_in, open_dump

SAMPLES = Path(__file__).parents[2] / "ops" / "sample"
RECORDS = [b"<label><id>%d</id><name>L</name></label>" % number for number in range(1, 24)]
DUMP = b"<labels>\n" + b"\n".join(RECORDS) + b"\n</labels>\n"


def written(folder: Path, content: bytes, name: str = "dump.xml") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def chunks_of(path: Path, records: int = 1000, size_bytes: int = 1 << 20) -> list[Chunk]:
    with open_dump(path) as dump:
        return list(dump.chunks(records, size_bytes))


def raw_of(path: Path) -> list[bytes]:
    return [raw for chunk in chunks_of(path) for raw in chunk.records]


@pytest.mark.parametrize("record_type", list(RecordType))
def test_a_sample_dump_is_read_whole(record_type: RecordType) -> None:
    path = SAMPLES / f"discogs_20200806_{record_type}.xml.gz"
    xml = gzip.decompress(path.read_bytes())
    with open_dump(path) as dump:
        assert dump.record_type is record_type
        assert dump.path == path
        assert dump.size == path.stat().st_size
        chunks = list(dump.chunks(300, 1 << 30))
        assert dump.consumed == dump.size
    assert [len(chunk.ids) for chunk in chunks] == [300, 300, 300, 100]
    for chunk in chunks:
        assert chunk.record_type is record_type
        assert chunk.rejected == []
        assert all(map(xml.startswith, chunk.records, chunk.positions))
    between = xml
    for chunk in chunks:
        for record in chunk.records:
            between = between.replace(record, b"", 1)
    assert between.split() == [f"<{record_type}>".encode(), f"</{record_type}>".encode()]


def test_a_chunk_holds_at_most_so_many_records(tmp_path: Path) -> None:
    chunks = chunks_of(written(tmp_path, DUMP), records=10)
    assert [chunk.ids for chunk in chunks] == [[*range(1, 11)], [*range(11, 21)], [21, 22, 23]]


def test_a_chunk_ends_once_it_reaches_its_size(tmp_path: Path) -> None:
    chunks = chunks_of(written(tmp_path, DUMP), size_bytes=100)
    assert {len(chunk.ids) for chunk in chunks[:-1]} == {3}
    assert [len(chunk.ids) for chunk in chunks_of(written(tmp_path, DUMP), size_bytes=1)] == [1] * 23


def test_a_chunk_holds_at_least_one_record(tmp_path: Path) -> None:
    with open_dump(written(tmp_path, DUMP)) as dump, pytest.raises(ValueError, match="at least one"):
        next(dump.chunks(0, 1))


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 10, 41, 4096])
def test_chunks_do_not_depend_on_the_size_of_blocks(tmp_path: Path, block_bytes: int) -> None:
    for content in (DUMP, gzip.compress(DUMP)):
        with open_dump(written(tmp_path, content), block_bytes=block_bytes) as dump:
            assert list(dump.chunks(5, 1000)) == chunks_of(written(tmp_path, DUMP, "plain"), 5, 1000)


def test_gzip_is_told_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    assert raw_of(written(tmp_path, gzip.compress(DUMP), "dump.xml")) == RECORDS
    assert raw_of(written(tmp_path, DUMP, "dump.xml.gz")) == RECORDS


def test_gzip_members_are_read_as_one_file(tmp_path: Path) -> None:
    parts = [gzip.compress(DUMP[start : start + 50]) for start in range(0, len(DUMP), 50)]
    assert raw_of(written(tmp_path, b"".join(parts))) == RECORDS
    assert raw_of(written(tmp_path, gzip.compress(b"") + gzip.compress(DUMP) + b"\0" * 20_000)) == RECORDS


def test_every_optional_field_of_a_gzip_header_is_skipped(tmp_path: Path) -> None:
    plain = gzip.compress(DUMP, mtime=0)
    header = plain[:3] + b"\x1e" + plain[4:10] + b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\x12\x34"
    assert raw_of(written(tmp_path, header + plain[10:])) == RECORDS


@pytest.mark.parametrize(
    "prolog",
    [
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?>\r\n",
        b"<?xml version='1.0' encoding=\"utf-8\" standalone='yes' ?>",
        b"<?xml version='1.0' encoding='us-ascii'?>",
        b"\n <!-- a comment <releases> --> <?a <artists>?>\n",
        b"<!-- <!DOCTYPE labels> --><?a <!DOCTYPE labels> ?>",
        b"<!-- " + b"x" * 20_000 + b" -->",
    ],
)
def test_a_prolog_is_passed_over(tmp_path: Path, prolog: bytes) -> None:
    for root in (
        b"<labels>",
        b"<labels\n a='>' b=\"<labels>\">".replace(b"<labels>", b"&lt;>"),
        b"<labels >",
    ):
        path = written(tmp_path, prolog + DUMP.replace(b"<labels>", root))
        assert raw_of(path) == RECORDS
        with open_dump(path, block_bytes=1000) as dump:
            assert dump.record_type is RecordType.LABELS


def test_records_without_a_usable_id_are_set_aside_in_their_chunk(tmp_path: Path) -> None:
    xml = b"<masters>\n<master id='0'/>\n<master id='1'/>\n<master/>\noops\n<master id='2'/>\n</masters>"
    (chunk,) = chunks_of(written(tmp_path, xml))
    assert chunk.ids == [1, 2]
    assert [(one.position, one.raw, one.reason) for one in chunk.rejected] == [
        (10, b"<master id='0'/>", "the id is not a number from 1 to 2^63-1: 0"),
        (44, b"<master/>", "the master has no id"),
        (54, b"oops", "text between records"),
    ]


@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        (b"<label><id>3</id>", [3]),
        (b"<label><name>x</name><id>3</id><profile>", [3]),
        (b"<label><id>3</id><profile>" + b"x" * (5 << 20) + b"</profile></label>", [3]),
        (b"<label><id>0</id></label>", []),
        (b"<label><name>", []),
        (b"text", []),
        (b'{"id": "\xff"}', []),
    ],
)
def test_what_is_set_aside_has_an_id_where_it_is_legible(tmp_path: Path, raw: bytes, ids: list[int]) -> None:
    xml = b"<labels>\n%b\n<label><id>1</id></label>\n</labels>" % raw
    (chunk,) = chunks_of(written(tmp_path, xml))
    assert len(chunk.rejected) == 1
    assert list(ids_in(chunk)) == [1, *ids]


def test_what_is_set_aside_counts_towards_a_chunk(tmp_path: Path) -> None:
    xml = b"<masters>" + b"<master/>" * 25 + b"</masters>"
    assert [len(chunk.rejected) for chunk in chunks_of(written(tmp_path, xml), 10)] == [10, 10, 5]


def test_progress_is_counted_in_bytes_of_the_file(tmp_path: Path) -> None:
    xml = (
        b"<masters>" + b"".join(b"<master id='%d'/>" % number for number in range(1, 50_000)) + b"</masters>"
    )
    for content in (xml, gzip.compress(xml)):
        with open_dump(written(tmp_path, content), block_bytes=10_000) as dump:
            seen = [dump.consumed for _ in dump.chunks(1000, 1 << 20)]
            assert seen == sorted(seen)
            assert 0 < seen[0] < dump.size / 2
            assert seen[-1] == dump.size == len(content)


def test_the_file_is_closed_with_the_dump(tmp_path: Path) -> None:
    xml = (
        b"<masters>" + b"".join(b"<master id='%d'/>" % number for number in range(1, 50_000)) + b"</masters>"
    )
    with open_dump(written(tmp_path, xml), block_bytes=10_000) as dump:
        chunks = dump.chunks(1000, 1 << 20)
        next(chunks)
    with pytest.raises(ValueError, match="closed file"):
        list(chunks)


def test_the_white_space_in_which_a_broken_record_is_cut_is_not_counted_twice(tmp_path: Path) -> None:
    broken = b"<label><id>1</id>" + b"x" * 82
    xml = b"<labels>\n" + broken + b"\n\n<label><id>2</id></label>\n</labels>"
    path = tmp_path / "labels.xml"
    path.write_bytes(xml)
    with open_dump(path, max_record_bytes=len(broken) + 1) as dump:
        (chunk,) = dump.chunks(10, 1 << 20)
    assert [(each.position, each.raw) for each in chunk.rejected] == [(9, broken)]
    assert (chunk.ids, chunk.positions) == ([2], [xml.index(b"<label><id>2")])

"""Dumps of every shape are read whole, once, in chunks."""

import gzip
from itertools import pairwise
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.chunk import Chunk
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.reader.ids import DumpIds

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


def test_a_record_of_another_type_is_text(tmp_path: Path) -> None:
    record = b'<release id="1"><title>T</title></release>'
    xml = b'<releases>%b<master id="2"></release>%b</releases>' % (record, record)
    (chunk,) = chunks_of(written(tmp_path, xml))
    assert chunk.records == [record, record]
    assert [each.raw for each in chunk.rejected] == [b'<master id="2"></release>']


def test_a_record_never_takes_the_id_of_the_next_one(tmp_path: Path) -> None:
    broken = b"<artist><images><image/></artist>"
    xml = b"<artists>%b<artist></images><id>2</id></artist><artist><id>3</id></artist></artists>" % broken
    (chunk,) = chunks_of(written(tmp_path, xml))
    assert chunk.ids == [3]
    assert chunk.rejected[0].raw == broken


@hypothesis.settings(
    max_examples=80,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(
    block_bytes=st.integers(1, 60) | st.integers(61, 4096),
    records=st.integers(1, 30),
    size_bytes=st.integers(1, 300) | st.just(1 << 20),
    members=st.none() | st.lists(st.integers(0, len(DUMP)), max_size=4),
    padding=st.sampled_from([0, 1, 20_000]),
)
def test_chunks_depend_on_their_limits_only(
    tmp_path: Path, block_bytes: int, records: int, size_bytes: int, members: list[int] | None, padding: int
) -> None:
    content = DUMP
    if members is not None:
        cuts = [0, *sorted(members), len(DUMP)]
        parts = [gzip.compress(DUMP[start:end], 1) for start, end in pairwise(cuts)]
        content = b"".join(part + b"\0" * padding for part in parts)
    with open_dump(written(tmp_path, content), block_bytes=block_bytes) as dump:
        chunks = list(dump.chunks(records, size_bytes))
    assert [raw for chunk in chunks for raw in chunk.records] == RECORDS
    assert [number for chunk in chunks for number in chunk.ids] == [*range(1, 24)]
    positions = [position for chunk in chunks for position in chunk.positions]
    assert positions == [DUMP.index(record) for record in RECORDS]
    for chunk, following in zip(chunks, [*chunks[1:], None], strict=True):
        sizes = [len(raw) for raw in chunk.records]
        assert len(sizes) <= records
        assert sum(sizes[:-1]) < size_bytes
        assert max(sizes[1:], default=0) <= size_bytes // 2
        is_full = len(sizes) == records or sum(sizes) >= size_bytes
        assert is_full or following is None or len(following.records[0]) > size_bytes // 2


def test_a_chunk_ends_once_it_reaches_its_size(tmp_path: Path) -> None:
    path = written(tmp_path, DUMP)
    assert [len(chunk.ids) for chunk in chunks_of(path, size_bytes=100)] == [3] * 7 + [2]
    assert [len(chunk.ids) for chunk in chunks_of(path, size_bytes=1)] == [1] * 23
    assert [len(chunk.ids) for chunk in chunks_of(path, records=10)] == [10, 10, 3]


def test_a_long_record_starts_a_chunk(tmp_path: Path) -> None:
    sizes = [10, 10, 51, 49, 50, 50]
    records = [b"<label><id>%d</id>%b</label>" % (n, b"x" * (s * 10)) for n, s in enumerate(sizes, 1)]
    path = written(tmp_path, b"<labels>" + b"".join(records) + b"</labels>")
    assert [chunk.ids for chunk in chunks_of(path, size_bytes=1046)] == [[1, 2], [3, 4], [5], [6]]


def test_a_chunk_holds_at_least_one_record(tmp_path: Path) -> None:
    with open_dump(written(tmp_path, DUMP)) as dump, pytest.raises(ValueError, match="at least one"):
        next(dump.chunks(0, 1))


def test_gzip_is_told_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    assert raw_of(written(tmp_path, gzip.compress(DUMP), "dump.xml")) == RECORDS
    assert raw_of(written(tmp_path, DUMP, "dump.xml.gz")) == RECORDS


def test_every_optional_field_of_a_gzip_header_is_skipped(tmp_path: Path) -> None:
    plain = gzip.compress(DUMP, mtime=0)
    header = plain[:3] + b"\x1e" + plain[4:10] + b"\x03\x00abc" + b"name\0" + b"comment\0" + b"\x12\x34"
    assert raw_of(written(tmp_path, header + plain[10:])) == RECORDS


def test_a_prolog_is_passed_over(tmp_path: Path) -> None:
    prologs = [
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf<?xml version='1.0' encoding='UTF-8'?>\r\n",
        b"<?xml version='1.0' encoding=\"utf-8\" standalone='yes' ?>",
        b"<?xml version='1.0' encoding='us-ascii'?>",
        b"\n <!-- a comment <releases> --> <?a <artists>?>\n",
        b"<!-- <!DOCTYPE labels> --><?a <!DOCTYPE labels> ?>",
        b"<!-- " + b"x" * 20_000 + b" -->",
    ]
    for prolog in prologs:
        for root in (b"<labels>", b"<labels\n a='>' b=\"&lt;>\">", b"<labels >"):
            path = written(tmp_path, prolog + DUMP.replace(b"<labels>", root))
            for block_bytes in (1000, 1 << 20):
                with open_dump(path, block_bytes=block_bytes) as dump:
                    assert dump.record_type is RecordType.LABELS
                    assert [raw for chunk in dump.chunks(1000, 1 << 20) for raw in chunk.records] == RECORDS


def test_records_without_a_valid_id_are_rejected_in_their_chunk(tmp_path: Path) -> None:
    xml = b"<masters>\n<master id='0'/>\n<master id='1'/>\n<master/>\noops\n<master id='2'/>\n</masters>"
    (chunk,) = chunks_of(written(tmp_path, xml))
    assert chunk.ids == [1, 2]
    assert [(one.position, one.raw, one.reason) for one in chunk.rejected] == [
        (10, b"<master id='0'/>", "the id is not a number from 1 to 2^63-1: 0"),
        (44, b"<master/>", "the master has no id"),
        (54, b"oops", "text between records"),
    ]


def test_a_rejected_record_has_an_id_where_it_is_legible(tmp_path: Path) -> None:
    found = {
        b"<label><id>3</id>": [3],
        b"<label><name>x</name><id>3</id><profile>": [3],
        b"<label><images><image uri=''/></images><id>3</id><profile>": [3],
        b"<label><id>3</id><profile>" + b"x" * (5 << 20) + b"</profile></label>": [3],
        b"<label><id>0</id></label>": [],
        b"<label><name>": [],
        b"text": [],
        b'{"id": "\xff"}': [],
    }
    for raw, ids in found.items():
        xml = b"<labels>\n%b\n<label><id>1</id></label>\n</labels>" % raw
        (chunk,) = chunks_of(written(tmp_path, xml))
        assert len(chunk.rejected) == 1
        contained = DumpIds()
        contained.add(chunk)
        assert list(contained.ids) == [1, *ids], raw[:60]


def test_rejected_records_count_towards_a_chunk(tmp_path: Path) -> None:
    xml = b"<masters>" + b"<master/>" * 25 + b"</masters>"
    assert [len(chunk.rejected) for chunk in chunks_of(written(tmp_path, xml), 10)] == [10, 10, 5]


def test_progress_is_counted_in_bytes_of_the_file(tmp_path: Path) -> None:
    xml = (
        b"<masters>" + b"".join(b"<master id='%d'/>" % number for number in range(1, 40_000)) + b"</masters>"
    )
    for content in (xml, gzip.compress(xml)):
        with open_dump(written(tmp_path, content), block_bytes=10_000) as dump:
            seen = [dump.consumed for _ in dump.chunks(1000, 1 << 20)]
            assert seen == sorted(seen)
            assert 0 < seen[0] < dump.size / 2
            assert seen[-1] == dump.size == len(content)


def test_the_file_is_closed_with_the_dump(tmp_path: Path) -> None:
    xml = (
        b"<masters>" + b"".join(b"<master id='%d'/>" % number for number in range(1, 40_000)) + b"</masters>"
    )
    with open_dump(written(tmp_path, xml), block_bytes=10_000) as dump:
        chunks = dump.chunks(1000, 1 << 20)
        next(chunks)
    with pytest.raises(ValueError, match="closed file"):
        list(chunks)

"""The splitter finds the same records wherever blocks end, and loses none beside broken ones."""

from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.model import RecordType
from pipeline.reader.prolog import read_prolog
from pipeline.reader.source import Buffer, ReadError
from pipeline.reader.splitter import KEPT_BYTES, RawRecord, Splitter

ONE_BLOCK = 1 << 20
#: Small blocks end within tags, the others within records.
BLOCKS = st.one_of(st.integers(1, 40), st.integers(41, 1000))
#: The first 512 bytes of a file are read at once. Only behind them do small blocks end anywhere.
PROLOG = b"<!-- %b -->" % (b"x" * 600)
NO_END = "<label> has no end tag of its own"
TEXT = "text between records"

# Deterministic, and independent of the load of the machine.
examples = hypothesis.settings(max_examples=150, derandomize=True, deadline=None, database=None)


def split(xml: bytes, block: int = ONE_BLOCK, limit: int = ONE_BLOCK) -> list[RawRecord]:
    buffer = Buffer(xml[start : start + block] for start in range(0, len(xml), block))
    record_type, root_closed = read_prolog(buffer)
    return list(Splitter(record_type, buffer, root_closed=root_closed, max_record_bytes=limit))


def records_of(found: list[RawRecord]) -> list[bytes]:
    return [each.raw for each in found if each.reason is None]


#: Content of records that a reader of tags alone would misread.
MISLEADING = [
    b"text ! ?\n",
    b"<label/>",
    b"<label a=\"x>/\" b='>'/>",
    b"<label id=\"2\" name='/'>Two</label >",
    b"<labels/>",
    b"<labelled>x</labelled>",
    b"<!-- </label> <label> -->",
    b"<![CDATA[</label>]]>",
    b"<?p </label> ?>",
    b"!" * 300,
]
CONTENT = st.recursive(
    st.sampled_from(MISLEADING),
    lambda inner: st.builds(
        lambda name, parts: b'<%b q="/>">%b</%b\n>' % (name, b"".join(parts), name),
        st.sampled_from([b"label", b"labels", b"labelled"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)
WELL_FORMED = st.builds(
    lambda shape, parts: shape % b"".join(parts),
    st.sampled_from([b"<label>%b</label>", b"<label x='>'>%b</label\n>", b'<label\ta="/">%b<x/></label >']),
    st.lists(CONTENT, max_size=4),
) | st.sampled_from([b"<label/>", b'<label a=">" />'])
GAPS = [b"", b"\n", b"\r\n\t", b" " * 600, b"<!-- <label> -->", b"<?x <label>?>\n", b"\n<!-- a --> <?b?>\n"]


@examples
@hypothesis.given(
    records=st.lists(WELL_FORMED, max_size=6),
    gap=st.sampled_from(GAPS),
    prolog=st.sampled_from([b"", PROLOG]),
    block=BLOCKS,
)
def test_every_record_of_a_well_formed_dump_is_found_wherever_blocks_end(
    records: list[bytes], gap: bytes, prolog: bytes, block: int
) -> None:
    xml = (
        prolog + b"<labels a='>'>" + b"".join(gap + record for record in records) + gap + b"</labels\n>" + gap
    )
    # The limit decides how much is read ahead, so only a tight one lets blocks end anywhere.
    tight = max(map(len, records), default=1)
    for found in (split(xml), split(xml, block, tight)):
        assert [each.reason for each in found] == [None] * len(records)
        assert records_of(found) == records
        assert all(xml.startswith(each.raw, each.position) for each in found)


GOOD = [
    b"<label><id>%d</id><name>n</name></label>",
    b"<label ><id>%d</id></label>",
    b"<label><id>%d</id><!-- <label> --></label>",
    b"<label><id>%d</id><sublabels><label id='9'>x</label><label id='8'/></sublabels></label>",
    b"<label><id>%d</id><profile>a\nb <![CDATA[<label>]]></profile></label>",
]
NOT_GOOD = [
    b"<label><id>%d</id><name>",
    b"<label><id>%d</id></labe>",
    b"<label><id>%d</id><sublabels><label id='9'></sublabels></label>",
    b"<label id='%d",
    b"<label><id>%d</id><?p </label>",
    b"<label><id>%d</id>" + b"y" * 900 + b"</label>",
    b"junk %d",
    b"<junk>%d</junk>",
    b"<!-- %d -->",
    b"<?p %d?>",
]
LINES = st.lists(
    st.tuples(st.sampled_from(GOOD), st.just(True)) | st.tuples(st.sampled_from(NOT_GOOD), st.just(False)),
    max_size=8,
)


@examples
@hypothesis.given(
    lines=LINES,
    gap=st.sampled_from([b"\n", b"\n  ", b"\r\n\t", b"\n" + b" " * 200]),
    prolog=st.sampled_from([b"", PROLOG]),
    block=BLOCKS,
)
def test_no_good_record_on_a_line_of_its_own_is_lost_or_swallowed(
    lines: list[tuple[bytes, bool]], gap: bytes, prolog: bytes, block: int
) -> None:
    numbered = [(raw % number, is_good) for number, (raw, is_good) in enumerate(lines, 1)]
    xml = prolog + b"<labels>%b\n</labels>" % b"".join(gap + raw for raw, _ in numbered)
    found = split(xml, limit=600)
    assert records_of(found) == [raw for raw, is_good in numbered if is_good]
    assert all(xml.startswith(each.raw, each.position) for each in found)
    assert split(xml, block, limit=600) == found


@examples
@hypothesis.given(lines=LINES, block=BLOCKS)
def test_no_good_record_in_a_file_of_one_line_is_lost_or_swallowed(
    lines: list[tuple[bytes, bool]], block: int
) -> None:
    numbered = [(raw % number, is_good) for number, (raw, is_good) in enumerate(lines, 1)]
    xml = b"<labels>%b</labels>" % b"".join(raw for raw, _ in numbered)
    found = split(xml, limit=600)
    good = [raw for raw, is_good in numbered if is_good]
    # A nested record behind a broken start tag is read as one more record.
    assert [raw for raw in records_of(found) if raw in good] == good
    assert split(xml, block, limit=600) == found


LONG = b"<label><id>1</id>" + b"x" * 200_000 + b"</label>"
#: XML between the tags of the root, limit, and the records found there.
FOUND: dict[str, tuple[bytes, int, list[tuple[bytes, str | None]]]] = {
    "a record without an end ends before the next one indented alike": (
        b"\n  <label><id>1</id><a>\n    <label/>\n  <label><id>2</id></label>\n",
        99,
        [(b"<label><id>1</id><a>\n    <label/>", NO_END), (b"<label><id>2</id></label>", None)],
    ),
    "so does one behind another": (
        b"\n <label>1\n <label>2\n  <label/>\n <label>3</label>\n",
        99,
        [(b"<label>1", NO_END), (b"<label>2\n  <label/>", NO_END), (b"<label>3</label>", None)],
    ),
    "so does one behind text": (
        b"\n x\n <label>2\n  <label/>\n <label>3</label>\n",
        99,
        [(b"x", TEXT), (b"<label>2\n  <label/>", NO_END), (b"<label>3</label>", None)],
    ),
    "in a file of one line it ends before the next start tag": (
        b"<label><id>1</id> <label>2</label><label>3</label>",
        99,
        [(b"<label><id>1</id>", NO_END), (b"<label>2</label>", None), (b"<label>3</label>", None)],
    ),
    "the last one ends at the end of the root": (b"\n<label><id>1</id>\n", 99, [(b"<label><id>1</id>", NO_END)]),
    "a record may be as long as the limit": (b"<label>56789</label>", 20, [(b"<label>56789</label>", None)]),
    "but not longer": (
        b"<label>56789a</label>",
        20,
        [(b"<label>56789a</label", "longer than 20 bytes: 21")],
    ),
    "nor may one that needs a closer look": (
        b"<label>56789a</label><label/><label>5<a/>9</label ><label>5<a/></label >",
        20,
        [
            (b"<label>56789a</label", "longer than 20 bytes: 21"),
            (b"<label/>", None),
            (b"<label>5<a/>9</label", "longer than 20 bytes: 22"),
            (b"<label>5<a/></label", "longer than 20 bytes: 21"),
        ],
    ),
    "white space does not count": (
        b"\n<label>5678901234567\n\n<label/>\n",
        21,
        [(b"<label>5678901234567", NO_END), (b"<label/>", None)],
    ),
    "a very long one is kept in part": (
        b"\n%b\n<label/>" % LONG,
        100_000,
        [(LONG[:KEPT_BYTES], f"longer than 100,000 bytes: {len(LONG):,}"), (b"<label/>", None)],
    ),
    "a long one within the limit is kept whole": (
        b"\n%b\n%b\n<label/>" % (LONG, LONG[:-8]),
        300_000,
        [(LONG, None), (LONG[:-8], NO_END), (b"<label/>", None)],
    ),
    "text between records is kept": (
        b"\n<label/>\nsome text\n<x><y/></x>\n<label/>\n]]>\n<!-- c --><label/>x<label/>",
        99,
        [
            (b"<label/>", None),
            (b"some text\n<x><y/></x>", TEXT),
            (b"<label/>", None),
            (b"]]>\n<!-- c -->", TEXT),
            (b"<label/>", None),
            (b"x", TEXT),
            (b"<label/>", None),
        ],
    ),
    "a record without a start tag is text": (
        b"\n<id>1</id></label>\n<label>2</label>",
        99,
        [(b"<id>1</id></label>", TEXT), (b"<label>2</label>", None)],
    ),
    "a comment or instruction does not end in its own start": (
        b"<!--> <label/> --><?><label/>?><label>1</label>",
        99,
        [(b"<label>1</label>", None)],
    ),
    "control characters are text": (b"\v <label/> \f\n", 99, [(b"\v", TEXT), (b"<label/>", None), (b"\f", TEXT)]),
    "long text is kept in part": (
        b"<label/>%b<label/>" % (b"y" * 300_000),
        ONE_BLOCK,
        [(b"<label/>", None), (b"y" * KEPT_BYTES, TEXT), (b"<label/>", None)],
    ),
    "text as long as what is kept is whole": (
        b"%b \n<label/>" % (b"y" * (KEPT_BYTES - 2)),
        ONE_BLOCK,
        [(b"y" * (KEPT_BYTES - 2), TEXT), (b"<label/>", None)],
    ),
    "other names are no records": (
        b"<labels/><labelled/></labelled><label/></labelx>",
        99,
        [(b"<labels/><labelled/></labelled>", TEXT), (b"<label/>", None), (b"</labelx>", TEXT)],
    ),
    "a start tag that does not end spoils one record": (
        b"\n<label a='\n<label>2</label>\n<label/<></label>\n<label>4</label>",
        99,
        [(b"<label a='", NO_END), (b"<label>2</label>", None), (b"<label/<></label>", None), (b"<label>4</label>", None)],
    ),
    "white space before a record does not count either": (
        b"%b<label/<>5678901234567</label>" % (b" " * 50),
        40,
        [(b"<label/<>5678901234567</label>", None)],
    ),
    "white space may be longer than any buffer": (
        b"%b<label/>%b" % (b" " * 600_000, b"\n" * 600_000),
        99,
        [(b"<label/>", None)],
    ),
    "nothing": (b" \n", 99, []),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_what_is_found_is(case: str) -> None:
    inner, limit, expected = FOUND[case]
    xml = PROLOG + b"<labels>" + inner + b"</labels>"
    blocks = (1, 7, 1000, ONE_BLOCK) if len(inner) < 1000 else (9999, 1 << 16, ONE_BLOCK)
    for block in blocks:
        found = split(xml, block, limit)
        assert [(each.raw, each.reason) for each in found] == expected, block
        assert all(xml.startswith(each.raw, each.position) for each in found)


def test_a_comment_or_instruction_may_be_longer_than_any_buffer() -> None:
    for opening, closing in ((b"<!--", b"-->"), (b"<?", b"?>")):
        xml = b"<labels><label/>" + opening + b"x" * 270_000 + closing + b"<label/></labels>"
        assert records_of(split(xml, 2)) == [b"<label/>", b"<label/>"]


@pytest.mark.parametrize(
    ("record_type", "record"),
    [
        (RecordType.RELEASES, b'<release id="1"><released>1999</released><releases/></release>'),
        (RecordType.MASTERS, b'<master id="1"><artists><artist/></artists></master>'),
        (RecordType.ARTISTS, b"<artist><artists/></artist>"),
    ],
)
def test_records_of_each_type_are_found(record_type: RecordType, record: bytes) -> None:
    root = record_type.value.encode()
    for gap in (b"", b"\n"):
        xml = b"<%b>" % root + (gap + record) * 3 + b"</%b>" % root
        assert records_of(split(xml)) == records_of(split(xml, 3)) == [record] * 3
    for empty in (b"<%b/>", b"<%b a='/>' />\n<!-- -->", b"<%b></%%b>"):
        assert split(empty % root if empty.count(b"%b") == 1 else b"<%b></%b>" % (root, root)) == []


#: The end of a file behind one record of 22 bytes and a space; position and reason of the error.
BROKEN_OFF = {
    b"": (30, "the file ends without </labels>"),
    b"\n": (31, "the file ends without </labels>"),
    b"</label": (37, "the file ends without </labels>"),
    b"</labels": (38, "the file ends without </labels>"),
    b"<lab": (34, "the file ends without </labels>"),
    b"<label": (36, "the file ends without </labels>"),
    b"<!-- ": (35, "the file ends inside the <!-- that begins at byte 30"),
    b"<?p >": (35, "the file ends inside the <? that begins at byte 30"),
    b"<label><id>3</id>": (47, "the file ends inside the <label> that begins at byte 30"),
    b"<label><!-- </label>": (50, "the file ends inside the <label> that begins at byte 30"),
    b"</labels><labels>": (39, "something follows after </labels>"),
    b"</labels>\n\0\0": (40, "something follows after </labels>"),
}


@pytest.mark.parametrize("end", BROKEN_OFF)
def test_a_dump_that_breaks_off_is_read_up_to_there(end: bytes) -> None:
    xml = b"<labels><label>12345 </label> " + end
    for block in (1, 7, ONE_BLOCK):
        buffer = Buffer(xml[start : start + block] for start in range(0, len(xml), block))
        read_prolog(buffer)
        splitter = iter(Splitter(RecordType.LABELS, buffer))
        assert next(splitter) == RawRecord(8, b"<label>12345 </label>")
        with pytest.raises(ReadError) as fault:
            next(splitter)
        assert (fault.value.position, fault.value.reason) == BROKEN_OFF[end]


def test_a_fault_of_the_file_comes_after_all_records_before_it() -> None:
    def blocks(end: bytes) -> Iterator[bytes]:
        yield b"<labels>\n<label/>\n<label>"
        yield b"</label>\n" + end
        raise ReadError(39, "the disk is on fire")

    for end in (b"", b"<label>", b"text", b"<!--", b"</labels>"):
        buffer = Buffer(blocks(end))
        read_prolog(buffer)
        splitter = iter(Splitter(RecordType.LABELS, buffer))
        assert [next(splitter).raw, next(splitter).raw] == [b"<label/>", b"<label></label>"]
        with pytest.raises(ReadError, match="the disk is on fire"):
            next(splitter)

"""Where records begin and end, whatever they look like and wherever the blocks end."""

from collections.abc import Iterator
from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.model import RecordType
from pipeline.reader.prolog import read_prolog
from pipeline.reader.source import Buffer, ReadError
from pipeline.reader.splitter import RawRecord, Splitter

LABELS = b"""<?xml version='1.0' encoding="utf-8"?>
<!-- <labels><label><id>9</id></label> -->
<labels a="x > y">
  <label>
    <id>1</id>
    <sublabels>
      <label id="2">Two</label>
      <label/>
      <label id='3' name='a>/>'>Three</label >
    </sublabels>
  </label>
  <!-- </labels> <label> -->
  <label/><label><id>4</id></label> <label ><id>5</id></label
  ><?a b </labels> ?>
  <label><id>6</id><profile><![CDATA[</label><label>]]></profile></label>
  <label><id>7</id><!-- </label> --><?p </label> ?></label>
  <label name="/"><id>8</id><labels/><labelled/></label>\r
</labels
>
<!-- the end -->
"""


def window_of(xml: bytes, block: int) -> Buffer:
    return Buffer(xml[start : start + block] for start in range(0, len(xml), block))


def pieces_of(xml: bytes, block: int = 1 << 20, limit: int = 1 << 20) -> list[RawRecord]:
    window = window_of(xml, block)
    record_type, root_closed = read_prolog(window)
    return list(Splitter(record_type, window, root_closed=root_closed, max_record_bytes=limit))


def records_of(xml: bytes, block: int = 1 << 20) -> list[bytes]:
    return [piece.raw for piece in pieces_of(xml, block) if piece.reason is None]


def test_records_are_found_in_a_file_with_every_oddity_of_xml() -> None:
    assert [raw.split() for raw in records_of(LABELS)] == [
        raw.split()
        for raw in (
            LABELS[LABELS.index(b"<label>\n") : LABELS.index(b"  <!-- </labels>")],
            b"<label/>",
            b"<label><id>4</id></label>",
            b"<label ><id>5</id></label\n  >",
            b"<label><id>6</id><profile><![CDATA[</label><label>]]></profile></label>",
            b"<label><id>7</id><!-- </label> --><?p </label> ?></label>",
            b'<label name="/"><id>8</id><labels/><labelled/></label>',
        )
    ]


def test_a_piece_stands_at_its_position() -> None:
    for piece in pieces_of(LABELS):
        assert LABELS[piece.position :].startswith(piece.raw)


@pytest.mark.parametrize("block", [*range(1, 40), 63, 64, 65, 100, 255, 256, 257])
def test_pieces_do_not_depend_on_where_blocks_end(block: int) -> None:
    assert pieces_of(LABELS, block) == pieces_of(LABELS)


@pytest.mark.parametrize("block", [*range(1, 40), 63, 64, 65, 100, 255, 256, 257])
def test_what_is_set_aside_does_not_depend_on_where_blocks_end(block: int) -> None:
    xml = (
        b"<labels>\n <label><id>1</id></label>\n <label><id>2</id>\n <label><id>3</id></label>\n"
        b" rest &amp; </foo> <label><id>4</id></label>\n <other/>\n <label><id>5</id><!-- --></label>\n"
        b" <label><id>6</id><sublabels><label></sublabels></label>\n <label><id>7</id></label>\n</labels>"
    )
    assert pieces_of(xml, block, 120) == pieces_of(xml, limit=120)
    assert [p.raw for p in pieces_of(xml, limit=120) if p.reason is None] == [
        b"<label><id>%d</id></label>" % number if number != 5 else b"<label><id>5</id><!-- --></label>"
        for number in (1, 3, 4, 5, 7)
    ]


@pytest.mark.parametrize("block", [*range(1, 40), 1 << 20])
def test_a_block_that_ends_behind_a_slash_ends_no_tag(block: int) -> None:
    # The first 512 bytes are at hand at once.
    prolog = b"<!-- " + b"x" * 600 + b" -->"
    record = b'<label a="' + b"x/" * 60 + b" <b></label>"
    xml = prolog + b"<labels>\n" + record + b"\n<label><id>2</id></label>\n</labels>"
    assert records_of(xml, block) == [record, b"<label><id>2</id></label>"]


@pytest.mark.parametrize("block", [*range(1, 40), 1 << 20])
def test_a_record_right_behind_another_is_judged_by_itself(block: int) -> None:
    prolog = b"<!-- " + b"x" * 600 + b" -->"
    records = [b"<label><id>1</id></label>", b"<label/<></label>", b"<label><id>3</id></label>"]
    xml = prolog + b"<labels>\n %b%b\n %b\n</labels>" % tuple(records)
    assert records_of(xml, block) == records


def test_released_is_not_a_release() -> None:
    record = b'<release id="1"><released>1999</released><releases/></release>'
    assert records_of(b"<releases>" + record + record + b"</releases>") == [record, record]


def test_a_self_closed_record_does_not_swallow_the_next() -> None:
    assert records_of(b'<masters>\n<master id="1"/>\n<master id="2"></master>\n</masters>') == [
        b'<master id="1"/>',
        b'<master id="2"></master>',
    ]


@pytest.mark.parametrize(
    ("name", "tags"), [("artists", b"artist"), ("masters", b"master"), ("labels", b"label")]
)
def test_windows_line_ends_and_one_line_files_are_split_alike(name: str, tags: bytes) -> None:
    record = b"<%b><id>1</id></%b>" % (tags, tags)
    for gap in (b"\r\n", b"\n", b"", b"\t", b" \n\n  ", b" " * 600):
        xml = b"<%b>" % name.encode() + gap + (record + gap) * 5 + b"</%b>" % name.encode()
        assert records_of(xml) == [record] * 5
        assert records_of(xml, 3) == [record] * 5


def test_a_record_without_an_end_is_set_aside_up_to_the_next_one_indented_alike() -> None:
    xml = b"<releases>\n  <release id='1'><title>\n  <release id='2'></release>\n</releases>"
    assert pieces_of(xml) == [
        RawRecord(13, b"<release id='1'><title>", "<release> has no end tag of its own"),
        RawRecord(39, b"<release id='2'></release>"),
    ]


def test_a_record_without_an_end_swallows_nothing_in_a_file_of_one_line() -> None:
    xml = b"<releases><release id='1'><release id='2'></release><release id='3'></release></releases>"
    assert pieces_of(xml) == [
        RawRecord(10, b"<release id='1'>", "<release> has no end tag of its own"),
        RawRecord(26, b"<release id='2'></release>"),
        RawRecord(52, b"<release id='3'></release>"),
    ]


@pytest.mark.parametrize("first", [b"<label><id>1</id>", b"<label><id>1</id>%b</label>" % (b"x" * 99), b"x"])
def test_behind_what_is_set_aside_a_record_still_stands_on_a_line_of_its_own(first: bytes) -> None:
    # What stands before a record without an end tells where the next one begins.
    lines = [first, b"<label><id>2</id>", b"<label><id>3</id></label>", b"<label><id>4</id></label>"]
    xml = b"<labels>\n  %b\n</labels>" % b"\n  ".join(lines)
    for block in (1, 7, 1 << 20):
        pieces = pieces_of(xml, block, limit=80)
        assert [piece.raw for piece in pieces] == [first[:80], *lines[1:]]
        assert [piece.reason is None for piece in pieces] == [False, False, True, True]


GOOD = [
    b"<label><id>%d</id><name>n</name></label>",
    b"<label ><id>%d</id></label >",
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


@hypothesis.settings(max_examples=500, derandomize=True, deadline=None, database=None)
@hypothesis.given(
    lines=st.lists(
        st.sampled_from([(raw, True) for raw in GOOD] + [(raw, False) for raw in NOT_GOOD]), max_size=8
    ),
    gap=st.sampled_from([b"\n", b"\n  ", b"\r\n\t", b"\n" + b" " * 200]),
    block=st.sampled_from([7, 64, 1 << 20]),
)
def test_no_good_record_on_a_line_of_its_own_is_lost_beside_others(
    lines: list[tuple[bytes, bool]], gap: bytes, block: int
) -> None:
    numbered = [(raw % number, is_good) for number, (raw, is_good) in enumerate(lines, 1)]
    xml = b"<labels>%b\n</labels>" % b"".join(gap + raw for raw, _ in numbered)
    found = [piece.raw for piece in pieces_of(xml, block, limit=600) if piece.reason is None]
    assert [raw for raw, is_good in numbered if is_good] == found


def test_the_last_record_without_an_end_is_set_aside_up_to_the_end_of_the_root() -> None:
    xml = b"<labels>\n<label><id>1</id></label>\n<label><id>2</id>\n</labels>\n"
    assert pieces_of(xml)[1] == RawRecord(35, b"<label><id>2</id>", "<label> has no end tag of its own")


def test_a_record_that_is_too_long_is_set_aside_with_its_beginning() -> None:
    long = b"<label><id>1</id><profile>" + b"x" * 200_000 + b"</profile></label>"
    xml = b"<labels>\n" + long + b"\n<label><id>2</id></label>\n</labels>"
    for block in (1000, 1 << 16, 1 << 20):
        first, second = pieces_of(xml, block, limit=100_000)
        assert first.reason == "longer than 100,000 bytes: 200,044"
        assert first.raw == long[: 64 << 10]
        assert second.raw == b"<label><id>2</id></label>"


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_of_a_record_that_is_too_long_no_more_is_kept_than_is_allowed(block: int) -> None:
    long = b"<label><id>1</id><profile>" + b"x" * 2000 + b"</profile></label>"
    (piece,) = pieces_of(b"<labels>" + long + b"</labels>", block, limit=1000)
    assert piece == RawRecord(8, long[:1000], "longer than 1,000 bytes: 2,044")


def test_text_between_records_is_set_aside() -> None:
    xml = b"<labels>\n<label/>\nsome text\n<x><y/></x>\n<label/>\n]]>\n<!-- c --><label/></labels>"
    assert [piece for piece in pieces_of(xml) if piece.reason] == [
        RawRecord(18, b"some text\n<x><y/></x>", "text between records"),
        RawRecord(49, b"]]>\n<!-- c -->", "text between records"),
    ]
    assert [piece.raw for piece in pieces_of(b"<labels>\v <label/> \f\n</labels>")] == [
        b"\v",
        b"<label/>",
        b"\f",
    ]


def test_long_text_between_records_is_kept_in_part() -> None:
    text = b"y" * 300_000
    xml = b"<labels><label/>" + text + b"<label/></labels>"
    for block in (5000, 1 << 20):
        pieces = pieces_of(xml, block)
        assert [len(piece.raw) for piece in pieces] == [8, 64 << 10, 8]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("end", "position", "reason"),
    [
        (b"", 30, "the file ends without </labels>"),
        (b"\n", 31, "the file ends without </labels>"),
        (b"</label", 37, "the file ends without </labels>"),
        (b"</labels", 38, "the file ends without </labels>"),
        (b"<lab", 34, "the file ends without </labels>"),
        (b"<!-- ", 35, "the file ends inside the <!-- that begins at byte 30"),
        (b"<label><id>3</id>", 47, "the file ends inside the <label> that begins at byte 30"),
        (b"<label><!-- </label>", 50, "the file ends inside the <label> that begins at byte 30"),
        (b"</labels><labels>", 39, "something follows after </labels>"),
        (b"</labels>\n\0\0", 40, "something follows after </labels>"),
    ],
)
def test_a_dump_that_breaks_off_is_read_up_to_there(
    end: bytes, position: int, reason: str, block: int
) -> None:
    found: list[bytes] = []
    window = window_of(b"<labels><label>12345 </label> " + end, block)
    read_prolog(window)
    with pytest.raises(ReadError) as fault:
        for piece in Splitter(RecordType.LABELS, window):
            found.append(piece.raw)  # noqa: PERF401 - what is found before the error is the point
    assert found == [b"<label>12345 </label>"]
    assert (fault.value.position, fault.value.reason) == (position, reason)


def test_a_fault_of_the_file_comes_after_all_records_before_it() -> None:
    def blocks() -> Iterator[bytes]:
        yield b"<labels>\n<label/>\n<label>"
        yield b"</label>\n<label>"
        raise ReadError(39, "the disk is on fire")

    window = Buffer(blocks())
    read_prolog(window)
    splitter = iter(Splitter(RecordType.LABELS, window))
    assert [next(splitter).raw, next(splitter).raw] == [b"<label/>", b"<label></label>"]
    with pytest.raises(ReadError, match="the disk is on fire"):
        next(splitter)


def test_markup_is_found_where_its_second_byte_is_frequent() -> None:
    text = b"!" * 10_000
    record = b"<label><name>" + text + b"</name><!-- </label> --></label>"
    assert records_of(b"<labels>" + record + b"<label/></labels>") == [record, b"<label/>"]


@pytest.mark.parametrize("root", [b"<releases/>", b"<releases a='/>' />\n<!-- -->", b"<releases></releases>"])
def test_an_empty_root_has_no_records(root: bytes) -> None:
    assert pieces_of(root) == []


def element(random: Random, depth: int) -> bytes:
    """Some content of a record: misleading mark-up, or an element with such in it."""
    if depth > 3 or random.random() < 0.3:
        return random.choice(
            [
                b"<label/>",
                b"text\n",
                b"<!-- </label> <label> -->",
                b"<![CDATA[</label>]]>",
                b"<?p </label> ?>",
                b"<label a=\"x>/\" b='>'/>",
            ]
        )
    name = random.choice([b"label", b"labels", b"labelled"])
    inside = b"".join(element(random, depth + 1) for _ in range(random.randint(0, 3)))
    return b"<%b%b>%b</%b >" % (name, random.choice([b"", b' q="/>"']), inside, name)


@pytest.mark.parametrize("seed", range(100))
def test_records_of_any_well_formed_dump_are_found(seed: int) -> None:
    random = Random(seed)
    gap = random.choice([b"", b"\n", b"\n  ", b"<!-- <label> -->", b"<?x <label>?>\n"])
    records = [
        random.choice([b"<label>%b</label>", b"<label x='>'>%b</label\n>", b"<label>%b<x/></label>"])
        % b"".join(element(random, 0) for _ in range(random.randint(0, 4)))
        for _ in range(6)
    ]
    xml = b"<labels>" + b"".join(gap + record for record in records) + gap + b"</labels>"
    for block in (1, 5, 1 << 20):
        assert records_of(xml, block) == records

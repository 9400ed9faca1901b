"""A record that cannot be read does not affect the others."""

from itertools import product

from pipeline.model import RecordType, Row
from pipeline.records.parse import Malformed, parse

GOOD = b"<label><id>%d</id><name>L</name></label>"


def parsed(*records: bytes) -> list[Row | Malformed]:
    return parse(RecordType.LABELS, records)


def named(xml: bytes) -> str | None:
    (record,) = parsed(b"<label><id>1</id><name>" + xml + b"</name></label>")
    assert not isinstance(record, Malformed), record
    name: str | None = record["properties"].get("name")
    return name


def reason(xml: bytes) -> str:
    (record,) = parsed(xml)
    assert isinstance(record, Malformed)
    return record.reason


def test_no_records_are_no_values() -> None:
    assert parsed() == []


def test_the_others_survive_a_malformed_record() -> None:
    for bad, place in product(
        [b"<label><id>0</id></label>", b"<label><id>1</id>", b"", b"<!--", b"\xff"], [0, 40, 99]
    ):
        records = [GOOD % number for number in range(1, 100)]
        records.insert(place, bad)
        found = parsed(*records)
        assert isinstance(found.pop(place), Malformed)
        assert [row["id"] for row in found if not isinstance(row, Malformed)] == [*range(1, 100)]


HALVES = [
    (b"<label><id>1</id>", b"</label>"),
    (b"<label><id>1</id><!-- ", b" --></label>"),
    (b"<label><id>1</id></label><label>", b"<id>2</id></label>"),
    (b"<label><id>1</id><name><![CDATA[", b"]]></name></label>"),
    (b"<label><id>1</id></label><label><id>2</id></label>", b""),
    (b"<label><id>1</id></label> text", b"<label><id>2</id></label>x"),
]


def test_two_halves_do_not_make_a_record() -> None:
    for first, second in HALVES:
        assert all(isinstance(record, Malformed) for record in parsed(first, second))


REASONS = [
    (
        b"<label>\n<id>1</id>\n <name>a & b</name></label>",
        "line 3, column 11: xmlParseEntityRef: no name",
    ),
    (b"<label><name>a</nome></label>", "line 1, column 22: Opening and ending tag mismatch: name"),
    (b"<label><name>&nbsp;</name></label>", "line 1, column 20: Entity 'nbsp' not defined"),
    (b"<label><name>\xff</name></label>", "line 1, column 14: Invalid bytes in character encoding"),
    (
        b"<label><name>\xed\xa0\x80</name></label>",
        "line 1, column 14: Invalid bytes in character encoding",
    ),
    (b"<label a='1' a='2'/>", "line 1, column 19: Attribute a redefined"),
    (b"<label>", "line 1, column 8: Premature end of data in tag label line 1"),
    (b"<label/></label>", "line 1, column 9: Extra content at the end of the document"),
    (b"<label/>text", "line 1, column 1: not one element"),
    (b"<artist><id>1</id></artist>", "line 1, column 1: not <label> but <artist>"),
    (b"<label/>", "line 1, column 1: <label> without an id from 1 to 2^63-1"),
    (b"<label><id>-1</id></label>", "line 1, column 1: <label> without an id from 1 to 2^63-1"),
    (b"<label><id>9223372036854775808</id></label>", "line 1, column 1: <label> without an id from"),
    (b"<!DOCTYPE label [<!ENTITY a 'b'>]><label/>", "line 1, column 2: StartTag: invalid element name"),
]


def test_the_reason_names_fault_and_place() -> None:
    for xml, expected in REASONS:
        assert reason(xml).startswith(expected)
        assert "\n" not in reason(xml)


def test_references_to_characters_that_xml_forbids_are_dropped() -> None:
    for code in [0, 1, 8, 0xB, 0xC, 0xE, 0x1F, 0xFFFE, 0xFFFF, 0xD800, 0xDFFF, 0x110000, 10**30]:
        assert named(b"a&#%d;b&#x%x;c&#x%X;d&#00%d;" % (code, code, code, code)) == "abcd"


def test_characters_that_xml_forbids_are_dropped() -> None:
    for character in "\0\1\b\x0b\x0c\x0e\x1f\ufffe\uffff":
        assert named(f"a{character}b".encode()) == "ab"


def test_characters_that_xml_allows_are_kept() -> None:
    for character in "\t\x7f\x85\ud7ff\ue000\ufffd\U00010000\U0010ffff":
        text = f"a{character}b"
        assert named(text.encode()) == text
        assert named(f"a&#{ord(character)};b\1".encode()) == text


def test_what_looks_like_a_reference_but_is_none_is_kept() -> None:
    assert named(b"\x01&amp;#1; <![CDATA[&#1;]]><!-- &#1; -->") == "&#1; &#1;"
    assert named(b"<![CDATA[&#1;]]>") == "&#1;"


def test_a_value_does_not_depend_on_its_neighbours() -> None:
    odd = [
        b"<label><id>1</id><name><![CDATA[&#1;]]></name></label>",
        b"<label><id>2</id><name>\1x</name></label>",
    ]
    assert parsed(*odd) == [*parsed(odd[0]), *parsed(odd[1])]


def test_no_entity_is_resolved_and_no_file_read() -> None:
    assert isinstance(
        parsed(b'<!DOCTYPE label [<!ENTITY x SYSTEM "file:///etc/hostname">]><label><id>1</id>&x;</label>')[
            0
        ],
        Malformed,
    )


def test_comments_and_instructions_are_not_part_of_a_text() -> None:
    assert named(b" a<!-- x -->b<?x y?>c<![CDATA[<d>]]> ") == "abc<d>"


def test_a_text_of_more_than_ten_million_bytes_is_read() -> None:
    assert len(named(b"x" * 11_000_000) or "") == 11_000_000

"""Dictionaries follow the same rules as dump XML."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.chunk import MAX_RECORD_BYTES
from pipeline.model import RecordType, Row
from pipeline.records.accept import Accepted, Refused, accept, accept_raw, refusal
from pipeline.records.normalise import fingerprint
from pipeline.records.parse import parse
from tests.integration.history import draw_record, to_xml

XML = {
    RecordType.ARTISTS: """<artist><id>1</id><name> Ann\x0b </name><realname></realname><profile>p</profile>
        <urls><url>u</url><url/><url>u</url><url>v</url></urls>
        <aliases><name id="2">Bob</name><name id="0">Nobody</name><name id="1">Ann</name><name id="2">B</name></aliases>
        <groups><name id="3">Cy</name></groups><members><name id="4">Di</name></members></artist>""",
    RecordType.LABELS: """<label><id>1</id><name>One</name><contactinfo>c</contactinfo>
        <parentLabel id="2">Two</parentLabel><sublabels><label id="3">Three</label><label id="1">One</label></sublabels>
        </label>""",
    RecordType.MASTERS: """<master id="1"><title>t</title><year>0</year><main_release>5</main_release>
        <artists><artist><id>2</id><name>Bob</name></artist></artists>
        <genres><genre>Rock</genre></genres><styles><style>Punk</style><style>Punk</style></styles></master>""",
    RecordType.RELEASES: """<release id="1" status="Accepted"><title>t</title><released>1999-03-00</released>
        <country>UK</country><formats><format name="LP"/><format name="LP"/><format name=""/></formats>
        <artists><artist><id>2</id><name>Bob</name></artist></artists>
        <labels><label id="3" name="L" catno="A"/><label id="3" name="M" catno="B"/></labels><master_id>9</master_id>
        <extraartists><artist><id>2</id><name>Bob</name><role>Producer</role></artist>
        <artist><id>0</id><name>Cy</name><role>Mastered By</role></artist>
        <artist><id>0</id><name>Cy</name><role/></artist></extraartists></release>""",
}
DICTIONARIES: dict[RecordType, dict[str, Any]] = {
    RecordType.ARTISTS: {
        "id": 1,
        "name": " Ann\x0b ",
        "real_name": "",
        "profile": "p",
        "urls": ["u", "", "u", "v"],
        "aliases": [
            {"id": 2, "name": "Bob"},
            {"id": 0, "name": "Nobody"},
            {"id": 1, "name": "Ann"},
            {"id": 2, "name": "B"},
        ],
        "groups": [{"id": 3, "name": "Cy"}],
        "members": [{"id": 4, "name": "Di"}],
    },
    RecordType.LABELS: {
        "id": 1,
        "name": "One",
        "contact_info": "c",
        "parents": [{"id": 2, "name": "Two"}],
        "sublabels": [{"id": 3, "name": "Three"}, {"id": 1}],
    },
    RecordType.MASTERS: {
        "id": 1,
        "title": "t",
        "year": 0,
        "main_release": 5,
        "artists": [{"id": 2, "name": "Bob"}],
        "genres": ["Rock"],
        "styles": ["Punk", "Punk"],
    },
    RecordType.RELEASES: {
        "id": 1,
        "status": "Accepted",
        "title": "t",
        "released": "1999-03-00",
        "country": "UK",
        "formats": ["LP", "LP", ""],
        "artists": [{"id": 2, "name": "Bob"}],
        "labels": [
            {"id": 3, "name": "L", "catalog_numbers": ["A"]},
            {"id": 3, "name": "M", "catalog_numbers": ["B", "A", ""]},
        ],
        "master": 9,
        "credits": [
            {"name": "Bob", "role": "Producer", "artist_id": 2},
            {"name": "Cy", "role": "Mastered By", "artist_id": 0},
            {"name": "Cy", "role": " "},
        ],
    },
}


def row_of(record_type: RecordType, value: object) -> Row:
    accepted = accept(record_type, value)
    assert isinstance(accepted, Accepted), accepted
    assert accepted.id == 1
    (row,) = parse(record_type, [accepted.raw])
    assert isinstance(row, dict)
    return row


def test_a_dictionary_becomes_the_row_of_the_same_xml() -> None:
    for record_type in RecordType:
        assert row_of(record_type, DICTIONARIES[record_type]) == row_of(record_type, XML[record_type])


@hypothesis.given(
    record_type=st.sampled_from(list(RecordType)), id_=st.integers(1, 7), seed=st.integers(0, 10_000)
)
def test_any_dictionary_becomes_the_row_of_the_same_xml(record_type: RecordType, id_: int, seed: int) -> None:
    record = draw_record(record_type, id_, seed)
    rows = [
        parse(record_type, [accept(record_type, value).raw])
        for value in (record, to_xml(record_type, record))
    ]
    assert rows[0] == rows[1]


def test_an_id_is_all_that_a_dictionary_must_have() -> None:
    for record_type in RecordType:
        assert row_of(record_type, {"id": 1})["properties"] == {"id": 1}


def test_neither_the_order_of_fields_nor_empty_ones_make_a_new_version() -> None:
    for record_type, value in DICTIONARIES.items():
        raws = [
            accept(record_type, each).raw
            for each in (value, dict(reversed(list(value.items()))), {**value, "data_quality": " "})
        ]
        assert len({fingerprint(record_type, raw) for raw in raws}) == 1


def test_chunks_may_hold_both_forms() -> None:
    raws = [
        accept(RecordType.LABELS, value).raw
        for value in (DICTIONARIES[RecordType.LABELS], XML[RecordType.LABELS], "<label><id>7</id></label>")
    ]
    one, two, seven = parse(RecordType.LABELS, [*raws])
    assert one == two
    assert seven == {"id": 7, "properties": {"id": 7}, "assertions": [], "names": {}}


#: Values that are no records of their type, with a part of the reason.
REFUSED: list[tuple[str, object, str]] = [
        ("artists", {"id": 1, "aliases": [{"id": "2"}]}, "Expected `int`, got `str` - at `$.aliases[0].id`"),
        ("artists", {"id": 1, "aliases": [{"id": -2}]}, "Expected `int` >= 0 - at `$.aliases[0].id`"),
        ("artists", {"name": "x"}, "missing required field `id`"),
        ("artists", {"id": 0}, "Expected `int` >= 1 - at `$.id`"),
        ("labels", {"id": 1, "nmae": "x"}, "unknown field `nmae`"),
        ("labels", "{}", "a string is the XML of one record"),
        ("labels", "<artist><id>1</id></artist>", "not <label> but <artist>"),
        ("labels", "<label><id>1</id>", "line 1"),
        ("labels", "<label><name>x</name></label>", "without an id"),
        ("labels", 7, "a string of XML or a dictionary, not int"),
        ("masters", {"id": 1, "year": "1999"}, "`$.year`"),
        ("releases", {"id": 1, "year": -1, "released": "1999"}, "Expected `int` >= 0 - at `$.year`"),
        ("masters", {"id": 1, "title": "x" * MAX_RECORD_BYTES}, "longer than"),
        ("masters", f"<master id='1'>{'x' * MAX_RECORD_BYTES}</master>", "longer than"),
    ]  # fmt: skip


def test_a_refusal_names_the_fault() -> None:
    for record_type, value, reason in REFUSED:
        refused = accept(RecordType(record_type), value)
        assert isinstance(refused, Refused)
        assert reason in refused.reason
        assert refused.raw


def test_what_callers_are_told_is_printable() -> None:
    outcome = accept(RecordType.LABELS, {"id": 1, "\x1b[2J\n": 1})
    assert r"unknown field `\x1b[2J\n`" in refusal([outcome])


#: Records that half of a surrogate pair spoils, with a part of the reason and the raw text.
SURROGATES: list[tuple[object, str, bytes]] = [
    (
        {"id": 1, "n\ud800": 1},
        "the name of a field holds half of a surrogate pair",
        b'{"id": 1, "n\\ud800": 1}',
    ),
    ({"id": 0, "name": "\udfff"}, "Expected `int` >= 1", b'{"id": 0, "name": "\\udfff"}'),
    (["\ud800"], "not list", b'["\\ud800"]'),
]


def test_half_of_a_surrogate_pair_spoils_its_own_record_only() -> None:
    for value, reason, raw in SURROGATES:
        refused = accept(RecordType.LABELS, value)
        assert isinstance(refused, Refused)
        assert reason in refused.reason
        assert refused.raw == raw


def test_what_looks_like_a_dictionary_and_is_not_utf8_is_refused() -> None:
    raw = b'{"id": 1, "name": "\xff"}'
    refused = accept_raw(RecordType.LABELS, raw, 100)
    assert isinstance(refused, Refused)
    assert "can't decode byte 0xff" in refused.reason
    assert refused.raw == raw


@pytest.mark.parametrize(
    "value", [{"id": 1, "name": "a\ud800b"}, "<label><id>1</id><name>a\ud800b</name></label>"]
)
def test_half_of_a_surrogate_pair_is_no_text(value: object) -> None:
    assert row_of(RecordType.LABELS, value)["properties"]["name"] == "ab"


@pytest.mark.parametrize(
    "value", ["<label><id>1</id>%s</label>" % ("x" * 974), {"id": 1, "name": "x" * 1000}]
)
def test_the_longest_record_is_up_to_the_caller(value: object) -> None:
    accepted = accept(RecordType.LABELS, value)
    assert isinstance(accepted, Accepted)
    size = len(accepted.raw)
    assert accept(RecordType.LABELS, value, size) == accepted
    refused = accept(RecordType.LABELS, value, size - 1)
    assert refused == Refused(f"the record is longer than {size - 1:,} bytes: {size:,}", accepted.raw)


def test_years_are_those_of_the_model() -> None:
    for value, year in (
        ({"year": 10_000}, None),
        ({"year": 1999}, 1999),
        ({"released": "198?"}, None),
        ({"released": "1987", "year": 1999}, 1987),
    ):
        assert row_of(RecordType.RELEASES, {"id": 1, **value})["properties"].get("year") == year

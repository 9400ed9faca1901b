"""The id of a record is read from its bytes, wherever it stands."""

import gzip
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from lxml import etree

from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.records.identity import IdentityError, identity
from pipeline.records.parse import Malformed, parse
from tests.oddities import handmade

SAMPLES = Path(__file__).parents[2] / "ops" / "sample"
LARGEST = 2**63 - 1

ATTRIBUTES = {
    b'<release id="1" status="Accepted"></release>': 1,
    b'<release status="Accepted" id="12"/>': 12,
    b"<release\n  status = 'a > b'\tid\n=\n'13' ></release>": 13,
    b'<release data-id="5" id="14"><id>6</id></release>': 14,
    b'<release status=\'id="5"\' id="15"/>': 15,
    b'<release id=" 16 "/>': 16,
    b'<release id="&#49;7"/>': 17,
    b'<release id="1\x018"/>': 18,
    b'<release id="0019"/>': 19,
    b'<release id="9223372036854775807"/>': LARGEST,
    b'<release id="20">not & well-formed</wrong>': 20,
    b'<release id="21" a="not & well-formed': 21,
    b'<release a="" id="22"><title>cut': 22,
}
CHILDREN = {
    b"<artist><id>1</id><name>A</name></artist>": 1,
    b"<artist>\r\n\t<id> 2 </id></artist>": 2,
    b"<artist><images><image uri=''/></images><id>3</id></artist>": 3,
    b"<artist>\n <images>\n <image/>\n</images>\n <id>\n4\n</id></artist>": 4,
    b"<artist><images><id>9</id></images><id>5</id></artist>": 5,
    b"<artist><images><!-- </images><id>9</id> --></images><id>6</id></artist>": 6,
    b"<artist><images><images></images><id>9</id></images><id>7</id></artist>": 7,
    b"<artist><images><?p </images><id>9</id>?></images><id>8</id></artist>": 8,
    b"<artist><members><id>9</id><name id='9'>M</name></members><id>10</id></artist>": 10,
    b"<artist><name>N</name><groups><artist><id>9</id></artist></groups><id>11</id></artist>": 11,
    b"<artist><!-- <id>9</id> --><id>12</id></artist>": 12,
    b"<artist><id><![CDATA[13]]></id></artist>": 13,
    b"<artist id='9'><id>14</id></artist>": 14,
    b"<artist><id>1\x005</id></artist>": 15,
    b"<artist><id>16</id><name>not & well-formed</artist>": 16,
    b"<artist><id>9223372036854775807</id></artist>": LARGEST,
    b"<artist><id>17</id><id>9</id></artist>": 17,
    b"<artist><name/><id>1<!-- 9 -->8<b>9</b>9</id><id>9</id></artist>": 18,
    b"<artist><name/><id a='9'>1<![CDATA[9]]></id><id>9</id></artist>": 19,
    b"<artist><name>\x00</name><i\x01d>2&#1;&#x30;</id></artist>": 20,
    b"<artist><members>" + b"<id>9</id>\n" * 20_000 + b"</members><id>21</id></artist>": 21,
    b"<artist><name/><id>22</id><name>not & well-formed</artist>": 22,
    b"<artist><name/><id>23</id>" + b"<id>9</id>" * 20_000 + b"<name>not & well-formed</artist>": 23,
    b"<artist><images><image uri='a > b'/></images><id>24</id>": 24,
    b"<artist><name/><id>25</id><profile>cut": 25,
    b"<artist><images><image></images><id>26</id></artist>": 26,
    b"<artist>\n<images><image uri='a'/></other><image uri='&'/>\n</images>\n<id>27</id></artist>": 27,
}
NOT_A_NUMBER = ["0", "-1", "+1", "1.0", "one", "9223372036854775808", "1" * 5000, "1 2", "\u0663"]
NO_ID = {
    b"<release/>": "the release has no id",
    b'<release id=" "><id>1</id></release>': "the release has no id",
    b'<artist id="1"/>': "the artist has no id",
    b"<artist><id/></artist>": "the artist has no id",
    b"<label><x><id>1</id></x></label>": "the label has no id",
    b"<label><id><id>1</id></id></label>": "the label has no id",
    b"<label><name/><id> <b>1</b></id></label>": "the label has no id",
    b"<label><name>&</name><id>1</id></label>": "no id can be told: line 1, column 15: xmlParseEntityRef: no name",
    b"<label></label> <id>1</id>": "no id can be told: line 1, column 17: Extra content at the end of the document",
    b"<label/><label><id>1</id></label>": "no id can be told: line 1, column 9: Extra content at the end of the document",
    b"<label>\n<a><id>1</id></label>": "no id can be told: line 2, column 22: Opening and ending tag mismatch: a line 2 and label",
    b"<master id=1/>": "no id can be told: line 1, column 12: AttValue: \" or ' expected",
    b"<master id='1": "no id can be told: line 1, column 14: AttValue: ' expected",
    b"text": "no id can be told: line 1, column 1: Start tag expected, '<' not found",
}


def type_of(record: bytes) -> RecordType:
    return next(
        (each for each in RecordType if record[1:].startswith(each.element.encode())), RecordType.LABELS
    )


def reason(record: bytes) -> str:
    with pytest.raises(IdentityError) as error:
        identity(type_of(record), record)
    return str(error.value)


def test_the_id_of_a_release_or_master_is_an_attribute() -> None:
    for name in (b"release", b"master"):
        records = [
            record.replace(b"<release", b"<" + name).replace(b"</release", b"</" + name)
            for record in ATTRIBUTES
        ]
        assert [identity(type_of(record), record) for record in records] == [*ATTRIBUTES.values()]


def test_the_id_of_an_artist_or_label_is_a_child_and_not_a_grandchild() -> None:
    for name in (b"artist", b"label"):
        records = [
            record.replace(b"<artist", b"<" + name).replace(b"</artist", b"</" + name) for record in CHILDREN
        ]
        assert [identity(type_of(record), record) for record in records] == [*CHILDREN.values()]


def test_an_id_that_no_node_can_have_is_refused() -> None:
    for printed in NOT_A_NUMBER:
        for record in (f'<master id="{printed}"/>', f"<label><id>{printed}</id></label>"):
            assert reason(record.encode()) == f"the id is not a number from 1 to 2^63-1: {printed[:50]}"


def test_a_record_without_an_id_is_refused() -> None:
    assert {record: reason(record) for record in NO_ID} == NO_ID


PARTS = st.sampled_from(
    [
        b"<id>1</id>", b"<id> 2\n</id>", b"<id/>", b"<name>n</name>", b"<members><id>3</id></members>", b"\n  ", b"text",
        b"<images><image uri=''/>\n<image a=\"</images>\"/></images>", b"<images>\n</images>", b"<images><id>4</id></images>",
        b"<!-- <id>5</id> -->", b"<?p <id>6</id>?>", b"<id><![CDATA[7]]></id>", b"<id>&#56;</id>", b"<label><id>9</id></label>",
    ]
)  # fmt: skip


@hypothesis.settings(max_examples=200, derandomize=True, deadline=None, database=None)
@hypothesis.given(
    start=st.sampled_from([b"<label>", b"<label >", b"<label id='5'>"]), parts=st.lists(PARTS, max_size=5)
)
def test_the_id_is_the_one_in_the_tree(start: bytes, parts: list[bytes]) -> None:
    record = start + b"".join(parts) + b"</label>"
    try:
        tree = etree.fromstring(record, etree.XMLParser(remove_comments=True, remove_pis=True))
    except etree.XMLSyntaxError:
        hypothesis.reject()
    text = (tree.findtext("id") or "").strip()
    if text:
        assert identity(RecordType.LABELS, record) == int(text)
    else:
        assert reason(record) == "the label has no id"


def test_the_id_is_the_one_that_parsing_finds(tmp_path: Path) -> None:
    samples = [SAMPLES / f"discogs_20200806_{record_type}.xml.gz" for record_type in RecordType]
    indented = tmp_path / "indented.xml"
    artists = gzip.decompress(samples[0].read_bytes())
    indented.write_bytes(artists.replace(b"><", b">\n  <"))
    for path in [*samples, indented, *(oddity.path for oddity in handmade(tmp_path))]:
        with open_dump(path) as dump:
            for chunk in dump.chunks(500, 1 << 30):
                for number, record in zip(chunk.ids, parse(dump.record_type, chunk.records), strict=True):
                    assert isinstance(record, Malformed) or record["id"] == number

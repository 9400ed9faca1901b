"""The id of a record is told from its bytes, wherever it stands."""

import gzip
from pathlib import Path

import pytest

from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.records.identity import IdentityError, identity
from pipeline.records.parse import Malformed, parse
from tests.oddities import handmade

SAMPLES = Path(__file__).parents[2] / "ops" / "sample"


@pytest.mark.parametrize(
    ("record", "number"),
    [
        (b'<release id="1" status="Accepted"></release>', 1),
        (b'<release status="Accepted" id="12"/>', 12),
        (b"<release\n  status = 'a > b'\tid\n=\n'13' ></release>", 13),
        (b'<release data-id="5" id="14"><id>6</id></release>', 14),
        (b'<release status=\'id="5"\' id="15"/>', 15),
        (b'<release id=" 16 "/>', 16),
        (b'<release id="&#49;7"/>', 17),
        (b'<release id="1\x018"/>', 18),
        (b'<release id="0019"/>', 19),
        (b'<release id="9223372036854775807"/>', 2**63 - 1),
        (b'<release id="20">not & well-formed</wrong>', 20),
    ],
)
def test_the_id_of_a_release_is_an_attribute(record: bytes, number: int) -> None:
    assert identity(RecordType.RELEASES, record) == number
    master = record.replace(b"release", b"master")
    assert identity(RecordType.MASTERS, master) == number


@pytest.mark.parametrize(
    ("record", "number"),
    [
        (b"<artist><id>1</id><name>A</name></artist>", 1),
        (b"<artist>\r\n\t<id> 2 </id></artist>", 2),
        (b"<artist><images><image uri=''/></images><id>3</id></artist>", 3),
        (b"<artist>\n <images>\n <image/>\n</images>\n <id>\n4\n</id></artist>", 4),
        (b"<artist><images><id>9</id></images><id>5</id></artist>", 5),
        (b"<artist><images><!-- </images><id>9</id> --></images><id>6</id></artist>", 6),
        (b"<artist><images><images></images><id>9</id></images><id>7</id></artist>", 7),
        (b"<artist><images><?p </images><id>9</id>?></images><id>8</id></artist>", 8),
        (b"<artist><members><id>9</id><name id='9'>M</name></members><id>10</id></artist>", 10),
        (b"<artist><name>N</name><groups><artist><id>9</id></artist></groups><id>11</id></artist>", 11),
        (b"<artist><!-- <id>9</id> --><id>12</id></artist>", 12),
        (b"<artist><id><![CDATA[13]]></id></artist>", 13),
        (b"<artist id='9'><id>14</id></artist>", 14),
        (b"<artist><id>1\x005</id></artist>", 15),
        (b"<artist><id>16</id><name>not & well-formed</artist>", 16),
        (b"<artist><id>9223372036854775807</id></artist>", 2**63 - 1),
        (b"<artist><id>17</id><id>9</id></artist>", 17),
        (b"<artist><name/><id>1<!-- 9 -->8<b>9</b>9</id><id>9</id></artist>", 18),
        (b"<artist><name/><id a='9'>1<![CDATA[9]]></id><id>9</id></artist>", 19),
        (b"<artist><name>\x00</name><i\x01d>2&#1;&#x30;</id></artist>", 20),
        (b"<artist><members>" + b"<id>9</id>\n" * 20_000 + b"</members><id>21</id></artist>", 21),
        (b"<artist><name/><id>22</id><name>not & well-formed</artist>", 22),
        (b"<artist><name/><id>23</id>" + b"<id>9</id>" * 20_000 + b"<name>not & well-formed</artist>", 23),
    ],
)
def test_the_id_of_an_artist_is_a_child_and_not_a_grandchild(record: bytes, number: int) -> None:
    assert identity(RecordType.ARTISTS, record) == number
    label = record.replace(b"<artist", b"<label").replace(b"</artist", b"</label")
    assert identity(RecordType.LABELS, label) == number


@pytest.mark.parametrize("printed", ["0", "-1", "+1", "1.0", "one", "9223372036854775808", "1" * 5000, "1 2"])
def test_an_id_that_no_node_can_have_is_refused(printed: str) -> None:
    reason = r"the id is not a number from 1 to 2\^63-1: "
    with pytest.raises(IdentityError, match=reason):
        identity(RecordType.MASTERS, f'<master id="{printed}"/>'.encode())
    with pytest.raises(IdentityError, match=reason):
        identity(RecordType.LABELS, f"<label><id>{printed}</id></label>".encode())


@pytest.mark.parametrize(
    ("record_type", "record", "reason"),
    [
        (RecordType.RELEASES, b"<release/>", "the release has no id"),
        (RecordType.RELEASES, b'<release id=" "><id>1</id></release>', "the release has no id"),
        (RecordType.ARTISTS, b'<artist id="1"/>', "the artist has no id"),
        (RecordType.ARTISTS, b"<artist><id/></artist>", "the artist has no id"),
        (RecordType.LABELS, b"<label><x><id>1</id></x></label>", "the label has no id"),
        (RecordType.LABELS, b"<label><name>&</name><id>1</id></label>", "no id can be told: line 1, column"),
        (RecordType.LABELS, b"<label><name/><id> <b>1</b></id></label>", "the label has no id"),
        (
            RecordType.LABELS,
            b"<label></label> <id>1</id>",
            "no id can be told: line 1, column 17: Extra content",
        ),
        (
            RecordType.LABELS,
            b"<label></label><label><id>1</id></label>",
            "no id can be told: line 1, column 16: Extra content",
        ),
        (RecordType.LABELS, b"<label/>1", "no id can be told: line 1, column 9: Extra content"),
        (
            RecordType.LABELS,
            b"<label>\n<a><id>1</id></label>",
            "no id can be told: line 2, column 22: Opening",
        ),
        (RecordType.MASTERS, b"<master id=1/>", "no id can be told: line 1, column"),
        (RecordType.MASTERS, b"<master id='1", "no id can be told: line 1, column 14: "),
    ],
)
def test_a_record_without_an_id_is_refused(record_type: RecordType, record: bytes, reason: str) -> None:
    with pytest.raises(IdentityError) as error:
        identity(record_type, record)
    assert str(error.value).startswith(reason)


def test_the_id_is_the_one_that_parsing_finds(tmp_path: Path) -> None:
    samples = [SAMPLES / f"discogs_20200806_{record_type}.xml.gz" for record_type in RecordType]
    indented = tmp_path / "indented.xml"
    artists = gzip.decompress(samples[0].read_bytes())
    indented.write_bytes(artists.replace(b"><", b">\n  <"))
    for path in [*samples, indented, *(oddity.path for oddity in handmade(tmp_path))]:
        with open_dump(path) as dump:
            for chunk in dump.chunks(500, 1 << 30):
                for number, record in zip(chunk.ids, parse(dump.record_type, chunk.records), strict=True):
                    assert isinstance(record, Malformed) or record.id == number

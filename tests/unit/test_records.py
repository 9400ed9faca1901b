"""Records become rows as the graph's contract says."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.model import RELATIONSHIPS, RecordType, Row
from pipeline.reader.dump import open_dump
from pipeline.records.parse import Malformed, parse
from tests.graph_dump import differences
from tests.integration.rows import asserted, by_field, referred
from tests.oddities import handmade
from tests.oracle import Facts, Graph, NodeKey, stub
from tests.oracle import records as expected_facts

SAMPLES = Path(__file__).parents[2] / "ops" / "sample"


def row(record_type: RecordType, xml: str) -> dict[str, Any]:
    (found,) = parse(record_type, [xml.encode()])
    assert not isinstance(found, Malformed), found.reason
    return by_field(record_type, found)


def test_a_full_artist() -> None:
    xml = """<artist>
      <images><image uri=""/></images>
      <id>2</id><name> Mr. X &amp; Y </name><realname>Jesper &#228;</realname><profile>One&#13;
Two</profile><data_quality>Correct</data_quality>
      <urls><url>http://a</url><url/><url>http://b</url><url> http://a </url></urls>
      <namevariations><name>X</name><name>Y</name><name>X</name></namevariations>
      <aliases><name id="3">Alias</name><name id="3">Again</name></aliases>
      <groups><name id="4">Group</name></groups>
      <members><id>26</id><name id="26">Old</name><name id="27">New</name></members>
    </artist>"""
    assert row(RecordType.ARTISTS, xml) == {
        "id": 2,
        "properties": {
            "id": 2,
            "name": "Mr. X & Y",
            "real_name": "Jesper ä",
            "profile": "One\r\nTwo",
            "data_quality": "Correct",
            "urls": ["http://a", "http://b"],
            "name_variations": ["X", "Y"],
        },
        "aliases": [{"id": 3, "name": "Alias"}],
        "groups": [{"id": 4, "name": "Group"}],
        "members": [{"id": 26, "name": "Old"}, {"id": 27, "name": "New"}],
    }


def test_a_full_label() -> None:
    xml = """<label><id>5</id><name>Svek</name><contactinfo>Here</contactinfo><profile>P</profile>
      <data_quality>Correct</data_quality><urls><url>u</url></urls>
      <parentLabel id="4711">Goldhead Music</parentLabel>
      <sublabels><label id="6">Six</label><label/><label id="7"/></sublabels></label>"""
    assert row(RecordType.LABELS, xml) == {
        "id": 5,
        "properties": {
            "id": 5,
            "name": "Svek",
            "contact_info": "Here",
            "profile": "P",
            "data_quality": "Correct",
            "urls": ["u"],
        },
        "parents": [{"id": 4711, "name": "Goldhead Music"}],
        "sublabels": [{"id": 6, "name": "Six"}, {"id": 7, "name": None}],
    }


def test_an_id_element_refers_to_artists_only() -> None:
    xml = "<label><id>5</id><sublabels><id>8</id><label>Eight</label><label id='6'>Six</label></sublabels></label>"
    assert row(RecordType.LABELS, xml)["sublabels"] == [{"id": 6, "name": "Six"}]


def test_a_full_master() -> None:
    xml = """<master id="113"><main_release>116925</main_release>
      <artists><artist><id>3225</id><name>Vince</name><anv>V</anv><join>,</join></artist></artists>
      <genres><genre>Electronic</genre><genre>Electronic</genre></genres>
      <styles><style>Techno</style><style/><style>House</style></styles>
      <year>2002</year><title>Moments</title><data_quality>Correct</data_quality><notes>no property</notes>
      <videos><video><title>Another</title></video></videos></master>"""
    assert row(RecordType.MASTERS, xml) == {
        "id": 113,
        "properties": {
            "id": 113,
            "title": "Moments",
            "year": 2002,
            "data_quality": "Correct",
            "main_release": 116925,
        },
        "artists": [{"id": 3225, "name": "Vince", "position": 1, "credited_as": "V", "join": ","}],
        "genres": ["Electronic"],
        "styles": ["Techno", "House"],
    }


def credit(role: str, category: str, **others: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": "Alexi",
        "detail": None,
        "artist_id": 26,
        "tracks": [],
        "credited_as": [],
    }
    return {**given, "role": role, "category": category, **others}


def test_a_full_release() -> None:
    xml = """<release status="Accepted" id="1">
      <artists><artist><id>0</id><name>Nobody</name><join>,</join></artist>
        <artist><id>1</id><name>The Persuader</name><anv>Persuader</anv><join>Feat.</join></artist>
        <artist><id>1</id><name>The Persuader</name></artist></artists><title>Stockholm</title>
      <labels><label name="Svek" catno="SK 026" id="5"/><label name="Other" catno="" id="6"/>
        <label id="5" catno="SK026"/><label name="Svek" catno="SK 026" id="5"/></labels>
      <extraartists>
        <artist><id>26</id><name>Alexi</name><anv>A.</anv><role>Producer, Recorded By [At Home, Or So]</role><tracks/></artist>
        <artist><id>0</id><name>Nobody</name><role>Liner Notes</role></artist>
        <artist><id>26</id><name>Alexi</name><role>Producer</role><tracks>2, 4 to 6</tracks></artist>
      </extraartists>
      <formats><format name="Vinyl" qty="2" text="Gatefold"><descriptions><description>LP</description><description/>
        <description>Album</description></descriptions></format><format name="Vinyl" qty="1" text=""/>
        <format name="" text="no name"/></formats>
      <genres><genre>Electronic</genre></genres><styles><style>Deep House</style></styles>
      <country>Sweden</country><released>1999-03-00</released><notes>N</notes>
      <data_quality>Needs Vote</data_quality><master_id is_main_release="true">1660109</master_id>
      <companies><company><id>8</id><name>MPO</name><catno>M 1</catno><entity_type_name>Pressed By</entity_type_name>
        </company><company><id>8</id><name>MPO</name><entity_type_name>Made By</entity_type_name></company></companies>
      <series><series name="Cities" catno="3" id="12"/></series>
      <identifiers><identifier type="Barcode" description="Text" value="5 012-3"/><identifier type="Barcode" value="50123"/>
        <identifier type="Matrix / Runout" value="SK-A1"/><identifier type="Other" value=" "/></identifiers>
      <tracklist>
        <track><position/><title>Side A</title><duration/></track>
        <track><position>A1</position><title>T</title><duration>4:01</duration>
          <artists><artist><id>2</id><name>Guest</name><anv>G.</anv></artist></artists>
          <extraartists><artist><id>26</id><name>Alexi</name><anv>Al</anv><role>Producer</role></artist></extraartists></track>
        <track><title>Suite</title><sub_tracks>
          <track><title>Part</title><artists><artist><id>2</id><name>Guest</name></artist></artists></track>
          <track><position>B2</position><title/></track></sub_tracks></track>
      </tracklist>
    </release>"""
    assert row(RecordType.RELEASES, xml) == {
        "id": 1,
        "properties": {
            "id": 1,
            "title": "Stockholm",
            "year": 1999,
            "released": "1999-03-00",
            "country": "Sweden",
            "formats": ["Vinyl", "Vinyl"],
            "format_details": ["2 \N{MULTIPLICATION SIGN}, LP, Album, Gatefold", ""],
            "status": "Accepted",
            "data_quality": "Needs Vote",
            "notes": "N",
            "barcodes": ["50123"],
            "identifiers": ["Barcode (Text): 5 012-3", "Barcode: 50123", "Matrix / Runout: SK-A1"],
            "tracks": ["T", "Suite", "Part", ""],
            "track_positions": ["A1", "", "", "B2"],
            "track_durations": ["4:01", "", "", ""],
        },
        "artists": [
            {"id": 1, "name": "The Persuader", "position": 2, "credited_as": "Persuader", "join": "Feat."}
        ],
        "appearances": [{"id": 2, "name": "Guest", "tracks": ["A1", "3"], "credited_as": ["G."]}],
        "labels": [
            {"id": 5, "name": "Svek", "catalog_numbers": ["SK 026", "SK026"]},
            {"id": 6, "name": "Other", "catalog_numbers": []},
        ],
        "master": [1660109],
        "genres": ["Electronic"],
        "styles": ["Deep House"],
        "credits": [
            credit("Producer", "production", tracks=["2, 4 to 6", "A1"], credited_as=["A.", "Al"]),
            credit("Recorded By", "engineering", detail="At Home, Or So", credited_as=["A."]),
            credit("Liner Notes", "writing", name="Nobody", artist_id=None),
        ],
        "companies": [
            {"id": 8, "name": "MPO", "role": "Pressed By", "catalog_number": "M 1"},
            {"id": 8, "name": "MPO", "role": "Made By", "catalog_number": None},
        ],
        "series": [{"id": 12, "name": "Cities", "number": "3"}],
    }


EMPTY = {
    RecordType.ARTISTS: "<artist><id>1</id><name/><urls><url> </url></urls></artist>",
    RecordType.LABELS: "<label><id>1</id><sublabels/><parentLabel/></label>",
    RecordType.MASTERS: "<master id='1'><year>0</year><main_release>0</main_release></master>",
    RecordType.RELEASES: "<release id='1' status=' '><released/><formats/></release>",
}


def test_an_empty_or_absent_value_is_no_property() -> None:
    for record_type, xml in EMPTY.items():
        fields: dict[str, list[object]] = {field: [] for field in RELATIONSHIPS[record_type]}
        assert row(record_type, xml) == {"id": 1, "properties": {"id": 1}, **fields}


def test_a_reference_to_nothing_or_to_itself_asserts_nothing() -> None:
    for printed in ("0", "", " ", "-3", "x", "9223372036854775808", "10"):
        xml = f'<artist><id>10</id><aliases><name id="{printed}">A</name><name>B</name></aliases></artist>'
        assert row(RecordType.ARTISTS, xml)["aliases"] == []
        label = f'<label><id>10</id><parentLabel id="{printed}">A</parentLabel></label>'
        assert row(RecordType.LABELS, label)["parents"] == []
        if printed != "10":
            artists = f"<artists><artist><id>{printed}</id><name>A</name></artist></artists>"
            assert row(RecordType.MASTERS, f"<master id='1'>{artists}</master>")["artists"] == []
            release = f"<release id='1'><master_id>{printed}</master_id></release>"
            assert row(RecordType.RELEASES, release)["master"] == []


def test_a_release_may_have_the_id_of_its_artist_label_and_master() -> None:
    xml = """<release id="5"><artists><artist><id>5</id><name>A</name></artist></artists>
      <labels><label id="5"/></labels><master_id>5</master_id></release>"""
    found = row(RecordType.RELEASES, xml)
    assert (found["artists"][0]["id"], found["labels"][0]["id"], found["master"]) == (5, 5, [5])


#: Members in the shapes of old and new dumps, with the references that they are.
MEMBERS: dict[str, list[tuple[int, str | None]]] = {
    '<id>26</id><name id="26">A</name>': [(26, "A")],
    '<name id="26">A</name><id>27</id><name id="27">B</name>': [(26, "A"), (27, "B")],
    "<id>26</id><name>A</name>": [(26, "A")],
    "<id>26</id><id>27</id>": [(26, None), (27, None)],
    '<id>26</id><name id="27">B</name><name>C</name>': [(26, None), (27, "B")],
    '<id>0</id><name id="0">A</name><id/><name/>': [],
    '<name id="26"/><name id="26">First</name><name id="26">Second</name>': [(26, "First")],
    '<id>2</id><name id="2">Itself</name>': [],
    '<artist id="5">not a name</artist>': [],
}


def test_members_are_read_in_the_shapes_of_old_and_new_dumps() -> None:
    for members, expected in MEMBERS.items():
        found = row(RecordType.ARTISTS, f"<artist><id>2</id><members>{members}</members></artist>")
        assert [(each["id"], each["name"]) for each in found["members"]] == expected


#: The first four digits of a release's date; of a master a number up to 9999.
YEARS = {
    RecordType.RELEASES: {
        "1999-03-00": 1999, "1999": 1999, " 2001-01-01": 2001, "19991231": 1999, "0001": 1, "0000-00-00": None,
        "199?": None, "199": None, "May 1999": None, "٢٠٠٠": None,
    },
    RecordType.MASTERS: {"1970": 1970, "9999": 9999, "10000": None, "0": None, "-1": None, "x": None},
}  # fmt: skip


def test_a_year_is_from_1_to_9999() -> None:
    for record_type, tag in ((RecordType.RELEASES, "released"), (RecordType.MASTERS, "year")):
        for printed, year in YEARS[record_type].items():
            xml = f"<{record_type.element} id='1'><{tag}>{printed}</{tag}></{record_type.element}>"
            assert row(record_type, xml)["properties"].get("year") == year, printed


def test_a_credit_needs_a_name_and_a_role() -> None:
    for credit in (
        "<name>A</name><role/>",
        "<name/><role>Bass</role>",
        "<role>Bass</role>",
        "<name>A</name>",
        "<name> </name>",
    ):
        xml = f"<release id='1'><extraartists><artist><id>1</id>{credit}</artist></extraartists></release>"
        assert row(RecordType.RELEASES, xml)["credits"] == []


def test_credits_differ_by_name_role_and_artist() -> None:
    credits_ = [("A", "Bass", 1), ("A", "Drums", 1), ("B", "Bass", 1), ("A", "Bass", 2), ("A", "Bass", 0)]
    artists = "".join(
        f"<artist><id>{number}</id><name>{name}</name><role>{role}</role></artist>"
        for name, role, number in credits_ + credits_
    )
    found = row(RecordType.RELEASES, f"<release id='1'><extraartists>{artists}</extraartists></release>")
    assert [(one["name"], one["role"], one["artist_id"] or 0) for one in found["credits"]] == credits_


def test_the_first_of_two_texts_counts_and_lists_add_up() -> None:
    xml = "<master id='1'><title/><title>B</title><genres><genre>X</genre></genres><genres><genre>Y</genre></genres></master>"
    found = row(RecordType.MASTERS, xml)
    assert "title" not in found["properties"]
    assert found["genres"] == ["X", "Y"]


def test_what_is_repeated_takes_time_in_proportion() -> None:
    role = "Producer," * 100_000
    xml = f"<release id='1'><extraartists><artist><name>A</name><role>{role}</role></artist></extraartists></release>"
    began = time.process_time()
    assert len(row(RecordType.RELEASES, xml)["credits"]) == 1
    # A third of a second; half a minute if each repetition copied the earlier ones.
    assert time.process_time() - began < 5


def test_rows_survive_messagepack() -> None:
    for record_type in RecordType:
        with open_dump(SAMPLES / f"discogs_20200806_{record_type}.xml.gz") as dump:
            chunk = next(dump.chunks(100, 1 << 20))
        rows = parse(record_type, chunk.records)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(rows), type=list[Row]) == rows


def graph_of(record_type: RecordType, row: Row) -> Graph:
    """Return a row as a graph, with the stubs that it alone gives."""
    graph = Graph(relationships=asserted(record_type, row))
    for end, name in referred(record_type, row):
        stub = graph.nodes.setdefault(end, {"id": end[1]})
        if name:
            stub.setdefault("name", name)
    graph.nodes[record_type.label, row["id"]] = row["properties"]
    return graph


def expected_of(facts: Facts) -> Graph:
    """Return the facts of the oracle as a graph, without the fingerprint."""
    names: dict[NodeKey, set[str]] = {}
    for reference in facts.references:
        names.setdefault(reference.node, set()).update([reference.name] if reference.name else [])
    nodes = {node: stub(node, given) for node, given in names.items()}
    nodes[facts.node] = {name: value for name, value in facts.properties.items() if name != "fingerprint"}
    return Graph(nodes, facts.relationships)


@pytest.mark.parametrize("origin", ["samples", "oddities"])
def test_every_row_is_as_the_oracle_expects(origin: str, tmp_path: Path) -> None:
    dumps: list[tuple[Path, tuple[bytes, ...]]] = [
        (SAMPLES / f"discogs_20200806_{record_type}.xml.gz", ()) for record_type in RecordType
    ]
    if origin == "oddities":
        dumps = [(oddity.path, oddity.malformed_raw) for oddity in handmade(tmp_path)]
    for path, malformed in dumps:
        with open_dump(path) as dump:
            rows = [
                found
                for chunk in dump.chunks(100, 1 << 30)
                for found in parse(dump.record_type, chunk.records)
                if not isinstance(found, Malformed)
            ]
        for found, facts in zip(rows, expected_facts(path, malformed), strict=True):
            assert differences(expected_of(facts), graph_of(dump.record_type, found)) == []

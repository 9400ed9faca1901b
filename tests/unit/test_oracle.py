"""The oracle itself, against examples small enough to be computed by hand."""

import gzip
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.graph_dump import differences
from tests.oddities import BROKEN, borders, broken, handmade, many_tracks, oversized, two_members
from tests.oracle import (
    AnyInteger,
    Graph,
    NodeKey,
    OneOf,
    add_statistics,
    clean,
    expected_graph,
    records,
    split_roles,
)

pytestmark = pytest.mark.unit

DEFINED = AnyInteger()
#: Parallel lists.
TRACKS = ("tracks", "track_positions", "track_durations")


def graph_of(folder: Path, *dumps: str) -> Graph:
    paths = []
    for number, dump in enumerate(dumps):
        path = folder / f"{number}.xml"
        path.write_text(dump, encoding="utf-8")
        paths.append(path)
    return expected_graph(paths)


def test_an_artist_becomes_a_node_with_its_relationships_and_the_stubs_they_need(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        "<artists><artist><id>1</id><name> A </name><profile/>"
        "<urls><url/><url>u</url><url>u</url></urls><aliases><name id='2'>B</name><name id='1'>A</name></aliases>"
        "<members><id>3</id><name id='3'/></members></artist></artists>",
    )

    assert graph.nodes == {
        ("Artist", 1): {"id": 1, "name": "A", "urls": ["u"], "fingerprint": DEFINED},
        ("Artist", 2): {"id": 2, "name": OneOf(frozenset({"B"}))},
        ("Artist", 3): {"id": 3},
    }
    assert graph.relationships == {
        ("ALIAS_OF", ("Artist", 1), ("Artist", 2)): [{}],
        ("MEMBER_OF", ("Artist", 3), ("Artist", 1)): [{}],
    }


def test_a_label_joins_its_parent_and_its_sublabels(tmp_path: Path) -> None:
    graph = graph_of(
        tmp_path,
        "<labels><label><sublabels><label/><label id='3'>C</label></sublabels><id>2</id>"
        "<parentLabel id='1'>P</parentLabel></label><label><id>3</id><parentLabel id='2'>X</parentLabel></label></labels>",
    )

    assert graph.nodes == {
        ("Label", 1): {"id": 1, "name": OneOf(frozenset({"P"}))},
        ("Label", 2): {"id": 2, "fingerprint": DEFINED},
        ("Label", 3): {"id": 3, "fingerprint": DEFINED},
    }
    assert set(graph.relationships) == {
        ("SUBLABEL_OF", ("Label", 2), ("Label", 1)),
        ("SUBLABEL_OF", ("Label", 3), ("Label", 2)),
    }


def test_a_release_states_labels_once_and_each_distinct_credit(tmp_path: Path) -> None:
    credit = "<artist><id>{}</id><name>P</name><role>{}</role></artist>".format
    graph = graph_of(
        tmp_path,
        "<releases><release id='1' status='Accepted'><labels><label id='5' name='L' catno='B'/>"
        "<label id='5' name='M' catno='A'/><label id='5' name='M' catno='B'/></labels><extraartists>"
        f"{credit(7, 'Producer')}{credit(7, 'Producer')}{credit(0, 'Producer')}{credit(7, 'Guitar [Bass]')}{credit(8, '')}"
        "</extraartists><formats><format name='CD'/><format name='CD'/></formats><released>1999-03</released>"
        "<master_id>9</master_id></release></releases>",
    )
    release: NodeKey = ("Release", 1)
    person: NodeKey = ("Person", "P")

    assert graph.nodes[release] == {
        "id": 1,
        "year": 1999,
        "released": "1999-03",
        "formats": ["CD", "CD"],
        "format_details": ["", ""],
        "status": "Accepted",
        "fingerprint": DEFINED,
    }
    assert graph.nodes["Label", 5] == {"id": 5, "name": OneOf(frozenset({"L", "M"}))}
    assert graph.nodes["Master", 9] == {"id": 9}
    assert ("Artist", 8) not in graph.nodes
    assert graph.relationships == {
        ("ON", release, ("Label", 5)): [{"catalog_numbers": ["B", "A"]}],
        ("DERIVED_FROM", release, ("Master", 9)): [{}],
        ("CREDITED_ON", person, release): [
            {"role": "Producer", "category": "production", "artist_id": 7},
            {"role": "Producer", "category": "production"},
            {"role": "Guitar", "detail": "Bass", "category": "performance", "artist_id": 7},
        ],
        ("SAME_AS", person, ("Artist", 7)): [{}],
    }


def test_a_style_is_part_of_the_only_genre_of_a_record(tmp_path: Path) -> None:
    master = "<master id='{}'><genres>{}</genres><styles><style>S{}</style></styles></master>".format
    graph = graph_of(
        tmp_path,
        "<masters>"
        + master(1, "<genre>G</genre><genre>G</genre>", 1)
        + master(2, "<genre>G</genre><genre>H</genre>", 2)
        + "</masters>",
    )

    assert [key for key in graph.relationships if key[0] == "PART_OF"] == [
        ("PART_OF", ("Style", "S1"), ("Genre", "G"))
    ]
    assert graph.nodes["Genre", "H"] == {"name": "H"}


def test_only_the_newest_version_of_a_record_counts(tmp_path: Path) -> None:
    old = "<masters><master id='1'><title>Old</title><artists><artist><id>4</id></artist></artists></master></masters>"
    new = "<masters><master id='1'><title>New</title></master></masters>"

    assert graph_of(tmp_path, old, new) == Graph(
        nodes={("Master", 1): {"id": 1, "title": "New", "fingerprint": DEFINED}}
    )


def test_the_order_of_types_does_not_matter(tmp_path: Path) -> None:
    oddities = handmade(tmp_path)
    bad = [raw for oddity in oddities for raw in oddity.malformed_raw]

    forward = expected_graph([oddity.path for oddity in oddities], bad)
    backward = expected_graph([oddity.path for oddity in reversed(oddities)], bad)

    assert forward == backward


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("1999-03-00", 1999),
        ("0001", 1),
        ("0", None),
        ("", None),
        ("199?", None),
        ("99", None),
        ("0000", None),
    ],
)
def test_a_year_is_the_first_four_digits(tmp_path: Path, text: str, year: int | None) -> None:
    graph = graph_of(tmp_path, f"<masters><master id='1'><year>{text}</year></master></masters>")

    assert graph.nodes["Master", 1].get("year") == year


def test_forbidden_characters_are_dropped_and_text_that_only_looks_like_them_is_not() -> None:
    raw = b"a\x01&#2;&#x3;\xef\xbf\xbe&#xFFFF;&#9;<![CDATA[&#4;\x05]]>&amp;#6;<!--&#7;-->"

    assert clean(raw) == b"a&#9;<![CDATA[&#4;]]>&amp;#6;<!--&#7;-->"


def test_the_handmade_dumps_hold_what_their_manifest_says(tmp_path: Path) -> None:
    for oddity in handmade(tmp_path):
        content = oddity.path.read_bytes()
        if oddity.path.suffix == ".gz":
            content = gzip.decompress(content)
        good = list(records(oddity.path, oddity.malformed_raw))

        assert len(good) == oddity.records
        assert len({facts.node for facts in good}) == oddity.records - 1, "one id comes twice"
        assert all(content.count(raw) == 1 for raw in oddity.malformed_raw)
        assert b"{{" not in content


@pytest.fixture
def handmade_graph(tmp_path: Path) -> Graph:
    oddities = handmade(tmp_path)
    return expected_graph(
        [oddity.path for oddity in oddities], [raw for oddity in oddities for raw in oddity.malformed_raw]
    )


def defined(graph: Graph, label: str) -> set[int | str]:
    return {
        key
        for (kind, key), properties in graph.nodes.items()
        if kind == label and "fingerprint" in properties
    }


def stubs(graph: Graph, label: str) -> set[int | str]:
    return {key for kind, key in graph.nodes if kind == label} - defined(graph, label)


def ends(graph: Graph, kind: str) -> set[tuple[int | str, int | str]]:
    return {(start[1], end[1]) for name, start, end in graph.relationships if name == kind}


def test_the_handmade_dumps_define_and_refer_to_these_nodes(handmade_graph: Graph) -> None:
    assert defined(handmade_graph, "Artist") == {5, 6, 7, 8, 10, 11, 12, 14, 15, 17, 19}
    assert stubs(handmade_graph, "Artist") == {
        *(9001, 9002, 9003, 9201, 9301, 9303, 9306, 9307, 9308, 9320, 9321, 9330, 9331),
    }
    assert defined(handmade_graph, "Label") == {1, 2, 3, 45, 47, 48, 90, 2147483648}
    assert stubs(handmade_graph, "Label") == {9101, 9102, 9302, 9309, 9310, 9312, 9340, 9341}
    assert defined(handmade_graph, "Master") == {100, 101, 102, 105, 106, 108, 110, 111, 120}
    assert stubs(handmade_graph, "Master") == {9311}
    assert defined(handmade_graph, "Release") == {
        *(999, 1000, 1002, 1003, 1004, 1006, 1009, 1011, 1020, 1021, 1022, 1023),
    }
    assert stubs(handmade_graph, "Genre") == {"Electronic", "Rock", "Jazz"}
    assert stubs(handmade_graph, "Style") == {
        "Techno",
        "House",
        "Ambient",
        "Fusion",
        "Styles Alone",
        "Of Two",
    }
    assert stubs(handmade_graph, "Person") == {
        *("Members First", "No Artist Of Discogs", "Stub Of A Credit", "The Group"),
        *("Credit Of A Track", "Deep", "Of Many Credits", "Of Odd Credits", "Without Id"),
    }


def test_the_handmade_dumps_assert_these_relationships(handmade_graph: Graph) -> None:
    assert ends(handmade_graph, "ALIAS_OF") == {(10, 11), (10, 9001), (17, 19), (5, 6)}
    assert ends(handmade_graph, "MEMBER_OF") == {(10, 12), (10, 9002), (10, 11), (9003, 11), (6, 12)}
    assert ends(handmade_graph, "SUBLABEL_OF") == {(2, 1), (3, 2), (9101, 1), (9102, 1), (45, 90)}
    assert ends(handmade_graph, "ON") == {(1000, 1), (1000, 9302), (1004, 9310), (1011, 1), (1023, 1)}
    assert ends(handmade_graph, "BY") == {
        *((100, 10), (100, 9201), (1000, 10), (1000, 9301), (1020, 11), (1021, 10), (1021, 9320)),
    }
    assert ends(handmade_graph, "APPEARS_ON") == {(9306, 1000), (10, 1021), (9321, 1021)}
    assert ends(handmade_graph, "INVOLVES") == {(1000, 9309), (1023, 1), (1023, 9340)}
    assert ends(handmade_graph, "IN_SERIES") == {(1000, 9312), (1023, 1), (1023, 9341)}
    assert ends(handmade_graph, "DERIVED_FROM") == {(1000, 100), (1006, 9311), (1020, 100)}
    assert ends(handmade_graph, "SAME_AS") == {
        *(("Members First", 11), ("Members First", 14), ("Stub Of A Credit", 9303), ("The Group", 12)),
        *(("Credit Of A Track", 9307), ("Deep", 9308), ("Of Many Credits", 9330), ("Of Odd Credits", 9331)),
    }
    assert ends(handmade_graph, "PART_OF") == {
        *(("Techno", "Electronic"), ("House", "Electronic"), ("Ambient", "Electronic"), ("Techno", "Jazz")),
    }
    credited = {key: found for key, found in handmade_graph.relationships.items() if key[0] == "CREDITED_ON"}
    assert sum(map(len, credited.values())) == 31
    (credit,) = credited["CREDITED_ON", ("Person", "The Group"), ("Release", 1011)]
    assert (credit["role"], credit["artist_id"]) == ("Written-By", 12)


def test_the_handmade_dumps_say_these_texts(handmade_graph: Graph) -> None:
    assert handmade_graph.nodes["Artist", 9002] == {"id": 9002}
    assert handmade_graph.nodes["Artist", 19] == {"id": 19, "fingerprint": DEFINED}
    assert handmade_graph.nodes["Artist", 14] == {
        "id": 14,
        "name": "C<DATA>",
        "profile": "Not markup: </artist><artist><id>902</id></artist> & &#1; &amp; but this is: & .",
        "fingerprint": DEFINED,
    }
    assert handmade_graph.nodes["Artist", 15] == {
        "id": 15,
        "name": "Ctrl Chars",
        "real_name": "Noncharacters",
        "profile": "Tab:\tCarriage return:\r\nDel:\x7f Emoji: \U0001f600 Escaped: &#1; Next line:\x85end\xa0.",
        "fingerprint": DEFINED,
    }
    assert handmade_graph.nodes["Label", 1]["profile"] == "Line one\nLine two\r\nLine three"
    assert handmade_graph.nodes["Label", 9101]["name"] == OneOf(
        frozenset({"Stub Label", "Stub Label, Once More"})
    )
    assert handmade_graph.nodes["Release", 1009]["notes"] == "Before and after."
    parent = ("Label", 1)
    for release, catalog_numbers in ((1000, ["PR 1", "PR-1"]), (1011, ["PR 3"])):
        on = handmade_graph.relationships["ON", ("Release", release), parent]
        assert on == [{"catalog_numbers": catalog_numbers}]


def test_a_handmade_release_says_this_of_its_tracks(handmade_graph: Graph) -> None:
    release: NodeKey = ("Release", 1021)

    said = zip(*(handmade_graph.nodes[release][name] for name in TRACKS), strict=True)
    assert [*said] == [
        ("First", "A1", "3:05"),
        ("", "A2", ""),
        ("An Index Track", "", "9:59"),
        ("First Movement", "A3.a", ""),
        ("Second Movement", "", ""),
        ("Deep Within", "A3.b.1", ""),
        ("The Same Position", "A1", ""),
        ("", "", ""),
        ("An Artist Without Id", "", ""),
    ]
    assert handmade_graph.relationships["APPEARS_ON", ("Artist", 10), release] == [
        {"tracks": ["A1", "5"], "credited_as": ["A. Indent", "Zoe Indent"]}
    ]
    assert handmade_graph.relationships["APPEARS_ON", ("Artist", 9321), release] == [
        {"tracks": ["A1", "A3.a", "A3.b.1", "8"], "credited_as": ["Several"]}
    ]
    assert handmade_graph.relationships["BY", release, ("Artist", 10)] == [
        {"position": 2, "credited_as": "Indent", "join": "Feat."}
    ]
    assert handmade_graph.relationships["BY", release, ("Artist", 9320)] == [{"position": 3}]


def test_a_handmade_release_has_these_credits(handmade_graph: Graph) -> None:
    def credits_of(name: str) -> list[tuple[object, ...]]:
        found = handmade_graph.relationships["CREDITED_ON", ("Person", name), ("Release", 1022)]
        return [tuple(each.get(key) for key in ("role", "detail", "tracks", "credited_as")) for each in found]

    assert credits_of("Of Many Credits") == [
        ("Mixed By", "Additional Mix, Dub", ["1, 3 to 10", "12"], ["Many", "O. M. C."]),
        ("Producer", None, ["1, 3 to 10", "12", "1"], ["Many", "O. M. C."]),
        ("Producer", "Executive", None, None),
        ("Producer", None, None, None),
        ("Artwork By", "Package Design, Graphics, Uncredited", None, None),
        ("Remix", None, ["1", "2"], ["DJ Many", "Many"]),
        ("Remix", "Dub", ["1"], None),
    ]
    assert credits_of("Of Odd Credits") == [
        ("Guitar Solo", "Lead", None, None),
        ("Double Bass", None, None, None),
        ("Drums", None, None, None),
        ("Piano", None, None, None),
        ("Engineer", "Assistant, Mastered By", None, None),
        ("Vocals", "Soprano [High, Low], Alto", None, None),
        ("Choir", None, None, None),
        ("Other", "[Legal]", None, None),
        ("Rap", "A [B, C]", None, None),
    ]
    assert credits_of("Without Id") == [("Written-By", None, ["1"], None)]


def test_a_handmade_release_has_these_companies_series_identifiers_and_formats(
    handmade_graph: Graph,
) -> None:
    release: NodeKey = ("Release", 1023)

    assert handmade_graph.relationships["INVOLVES", release, ("Label", 9340)] == [
        {"role": "Pressed By", "catalog_number": "08 42622"},
        {"role": "Pressed By", "catalog_number": "08 42623"},
        {"role": "Mastered At", "catalog_number": "08 42622"},
        {},
    ]
    assert handmade_graph.relationships["IN_SERIES", release, ("Label", 9341)] == [
        {"number": "1"},
        {"number": "2"},
        {},
    ]
    assert handmade_graph.nodes[release] == {
        "id": 1023,
        "title": "Companies, Series, Identifiers And Formats",
        "status": "Accepted",
        "formats": ["Vinyl", "CD", "File", "Box Set", "Cassette", "DVD"],
        "format_details": ["2 ×, LP, Album, LP, Gatefold", "", "320 kbps, VBR", "", "2 ×", "PAL"],
        "barcodes": ["5012394144777", "2"],
        "identifiers": [
            "Barcode: 5 012394 144777",
            "Barcode (Text & Scanned): 5012394-144777 >",
            "Barcode: none",
            "Barcode: \N{ARABIC-INDIC DIGIT FOUR}2",
            "barcode: 7",
            "Matrix / Runout (Side A): MPO 1 A",
            "Matrix / Runout: MPO 1 A",
        ],
        "fingerprint": DEFINED,
    }


def test_without_tracks_nothing_is_left_of_the_tracklist(tmp_path: Path) -> None:
    *_, releases = handmade(tmp_path)
    graph = expected_graph([releases.path], releases.malformed_raw, tracks=False)

    assert not any(name in properties for name in TRACKS for properties in graph.nodes.values())
    assert ends(graph, "APPEARS_ON") == set()
    credited = ends(graph, "CREDITED_ON")
    assert {start for start, end in credited if end == 1022} == {"Of Many Credits", "Of Odd Credits"}
    (producer, _) = (
        credit
        for credit in graph.relationships["CREDITED_ON", ("Person", "Of Many Credits"), ("Release", 1022)]
        if credit["role"] == "Producer" and "detail" not in credit
    )
    assert producer["tracks"] == ["1, 3 to 10", "12"]


def test_releases_that_an_artist_appears_on_are_counted_apart(tmp_path: Path) -> None:
    track = "<track><artists><artist><id>{}</id></artist></artists></track>".format
    graph = graph_of(
        tmp_path,
        "<releases><release id='1'><artists><artist><id>7</id></artist></artists><released>1999</released>"
        f"<tracklist>{track(8)}{track(8)}</tracklist></release>"
        f"<release id='2'><released>1990</released><tracklist>{track(7)}{track(8)}</tracklist></release></releases>",
    )

    add_statistics(graph)

    assert graph.nodes["Artist", 7] == {
        "id": 7,
        "release_count": 1,
        "first_year": 1999,
        "appearance_count": 1,
    }
    assert graph.nodes["Artist", 8] == {"id": 8, "appearance_count": 2}


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("Producer", [("Producer", "")]),
        (
            "Mixed By [Additional Mix, Dub], Producer",
            [("Mixed By", "Additional Mix, Dub"), ("Producer", "")],
        ),
        ("A [x] b [y, z], [only], ,", [("A b", "x, y, z"), ("", "only"), ("", ""), ("", "")]),
        ("A [x [y], z], B", [("A", "x [y], z"), ("B", "")]),
        ("A [x, B", [("A", "x, B")]),
        ("A], B", [("A", ""), ("B", "")]),
    ],
)
def test_a_role_text_is_split_at_commas_outside_brackets(text: str, roles: list[tuple[str, str]]) -> None:
    assert split_roles(text) == roles


def test_what_is_planted_as_malformed_is(tmp_path: Path) -> None:
    for oddity in handmade(tmp_path):
        for planted in oddity.malformed:
            try:
                record = ET.fromstring(clean(planted.raw))
            except ET.ParseError:
                continue
            by_attribute = oddity.record_type in {"masters", "releases"}
            own_id = record.get("id") if by_attribute else record.findtext("id")
            assert own_id in {None, "", "0", "12a", "one"}, planted


def test_the_large_dumps_are_well_formed(tmp_path: Path) -> None:
    for oddity in (borders(tmp_path), many_tracks(tmp_path), oversized(tmp_path), two_members(tmp_path)):
        assert len(list(records(oddity.path, oddity.malformed_raw))) == oddity.records


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_written_where_asked(tmp_path: Path, name: str) -> None:
    assert broken(tmp_path, name).path == tmp_path / name
    assert (tmp_path / name).exists()


def test_differences_name_what_is_missing_wrong_and_too_much() -> None:
    key: NodeKey = ("Artist", 1)
    expected = Graph(
        nodes={
            key: {"id": 1, "name": OneOf(frozenset({"A"})), "fingerprint": DEFINED},
            ("Genre", "G"): {"name": "G"},
        },
        relationships={("ALIAS_OF", key, key): [{}]},
    )
    actual = Graph(nodes={key: {"id": 1, "name": "B", "extra": 0}, ("Style", "S"): {"name": "S"}})

    assert differences(expected, expected) == [
        "node Artist 1 has name=OneOf(values=frozenset({'A'})), expected OneOf(values=frozenset({'A'}))",
        "node Artist 1 has fingerprint=AnyInteger(), expected AnyInteger()",
    ]
    assert differences(expected, actual) == [
        "node Artist 1 has name='B', expected OneOf(values=frozenset({'A'}))",
        "node Artist 1 has no fingerprint, expected AnyInteger()",
        "node Artist 1 has extra=0, expected none",
        "missing node Genre 'G': {'name': 'G'}",
        "unexpected node Style 'S': {'name': 'S'}",
        "missing relationship ('Artist', 1) -ALIAS_OF-> ('Artist', 1): {}",
    ]
    assert differences(expected, actual, limit=1)[1:] == ["… and 5 more differences"]


def test_relationships_of_the_same_ends_are_told_apart_by_all_their_properties() -> None:
    key: tuple[str, NodeKey, NodeKey] = ("ON", ("Release", 1), ("Label", 2))
    first: dict[str, object] = {"a": 1, "b": OneOf(frozenset({"x"}))}
    expected = Graph(relationships={key: [first, {"a": 2}]})

    assert differences(expected, Graph(relationships={key: [{"a": 2}, {"a": 1, "b": "x"}]})) == []
    assert differences(expected, Graph(relationships={key: [{"a": 2}, {"a": 1, "b": "y"}]})) == [
        f"relationship ('Release', 1) -ON-> ('Label', 2) has b='y', expected {first['b']!r}"
    ]
    assert differences(expected, Graph(relationships={key: [{"a": 1, "b": "x"}, {"a": 2}, {"a": 2}]})) == [
        "unexpected relationship ('Release', 1) -ON-> ('Label', 2): {'a': 2}"
    ]

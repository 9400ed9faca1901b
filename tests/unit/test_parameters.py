"""Rows as parameters: every node once and sorted, relationships between places."""

from pipeline.graph.parameters import own_ends, record_parameters, shared_pairs
from tests.integration.rows import artist, credit, master, release


def test_relationships_name_their_ends_by_place() -> None:
    rows = [
        release(7, artists=[5, 3], labels=[9], master=8, genres=["Rock"], styles=["Punk", "Oi"]),
        release(8, artists=[3], genres=["Jazz", "Rock"], credits_=[credit("Ann", "Drums", 4), credit("Al")]),
    ]
    made = record_parameters(rows)
    assert made["records"] == [row["properties"] for row in rows]
    assert [end["id"] for end in made["artists"]] == [3, 4, 5]
    assert (made["masters"], made["genres"], made["styles"]) == ([8], ["Jazz", "Rock"], ["Oi", "Punk"])
    assert made["persons"] == ["Al", "Ann"]
    assert made["by"] == [[0, 2], [0, 0], [1, 0]]
    assert made["on"] == [[0, 0, ["CAT 7"]]]
    assert made["derived_from"] == [[0, 0]]
    assert made["is_genre"] == [[0, 1], [1, 0], [1, 1]]
    assert made["is_style"] == [[0, 1], [0, 0]]
    assert made["credited_on"] == [[1, 1, "Drums", "production", 4], [0, 1, "Producer", "production", None]]
    assert made["same_as"] == [[1, 1]]
    assert made["part_of"] == [[0, 1], [1, 1]]


def test_a_master_has_neither_labels_nor_credits() -> None:
    made = record_parameters([master(1, artists=[2])])
    assert not any(made[key] for key in ("labels", "masters", "persons", "on", "derived_from", "credited_on"))


def test_of_several_names_of_a_stub_the_last_one_counts() -> None:
    """In every process: hashes of strings differ from one to the next."""
    for last in ("Ann", "Annie", "A. Smith", "Ann Smith"):
        others = [name for name in ("Ann", "Annie", "A. Smith", "Ann Smith") if name != last]
        rows = [release(1, artists=[5], credits_=[credit(name, "Drums", 5) for name in [*others, last]])]
        assert record_parameters(rows)["artists"] == [{"id": 5, "name": last}]


def test_a_record_is_among_its_own_ends_and_keeps_its_place_free_of_names() -> None:
    rows = [artist(2, aliases=[3]), artist(1)]
    assert own_ends(rows, ["aliases"]) == [
        {"id": 1, "name": None},
        {"id": 2, "name": None},
        {"id": 3, "name": "Artist 3"},
    ]


def test_a_pair_that_both_of_its_ends_assert_has_no_sole_one() -> None:
    rows = [artist(1, groups=[2]), artist(2, members=[1, 3])]
    assert shared_pairs(rows, outgoing="groups", incoming="members") == [
        {"start": 1, "end": 2, "sole": None, "both": True},
        {"start": 3, "end": 2, "sole": 2, "both": False},
    ]

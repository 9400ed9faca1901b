"""Rows as parameters: every node once and sorted, relationships between places."""

from typing import Any

from pipeline.graph.batch import own_ids, parameters
from pipeline.graph.derived import DerivedChanges
from pipeline.model import RecordType, Row
from tests.integration.rows import artist, credit, master, release


def batch(record_type: RecordType, *rows: Row) -> dict[str, Any]:
    """The parameters of new records."""
    derived, missing = DerivedChanges(), [row["assertions"] for row in rows]
    for assertions in missing:
        derived.note(record_type, (), assertions)
    return parameters(record_type, rows, missing, derived.new)


def test_relationships_name_their_ends_by_place() -> None:
    rows = [
        release(7, artists=[5, 3], labels=[9], master=8, genres=["Rock"], styles=["Punk", "Oi"]),
        release(8, artists=[3], genres=["Jazz", "Rock"], credits_=[credit("Ann", "Drums", 4), credit("Al")]),
    ]
    made = batch(RecordType.RELEASES, *rows)
    assert {name: values for name, values in made.items() if values} == {
        "Release": [7, 8],
        "records": [[0, rows[0]["properties"]], [1, rows[1]["properties"]]],
        "Artist": [3, 4, 5],
        "Label": [9],
        "names": {"Artist": ["Artist 3", "Ann", "Artist 5"], "Label": ["Label 9"]},
        "Master": [8],
        "Genre": ["Jazz", "Rock"],
        "Style": ["Oi", "Punk"],
        "Person": ["Al", "Ann"],
        "artists": [[0, 2, None, None, None], [0, 0, None, None, None], [1, 0, None, None, None]],
        "labels": [[0, 0, ("CAT 7",)]],
        "master": [[0, 0]],
        "genres": [[0, 1], [1, 0], [1, 1]],
        "styles": [[0, 1], [0, 0]],
        "credits": [
            [1, 1, "Drums", None, "production", 4, None, None],
            [1, 0, "Producer", None, "production", None, None, None],
        ],
        "SAME_AS": [[1, 1]],
        "PART_OF": [[0, 1], [1, 1]],
    }


def test_a_master_has_neither_labels_nor_credits() -> None:
    made = batch(RecordType.MASTERS, master(1, artists=[2]))
    assert made.keys() >= {"records", "Artist", "Genre", "Style", "artists", "genres", "styles", "PART_OF"}
    assert made.keys().isdisjoint({"labels", "credits", "SAME_AS"})


def test_a_stub_has_the_same_one_of_several_names_in_every_process() -> None:
    """Hashes of strings differ from one process to the next."""
    for names in (["Ann", "Annie", "A. Smith"], ["A. Smith", "Annie", "Ann"]):
        row = release(1, credits_=[credit(name, "Drums", 5) for name in names])
        assert batch(RecordType.RELEASES, row)["names"] == {"Artist": ["Annie"], "Label": []}


def test_a_record_is_one_of_the_nodes_of_its_type_and_takes_its_name_from_no_reference() -> None:
    rows = [artist(2, aliases=[3, 1]), artist(1)]
    assert own_ids(RecordType.ARTISTS, rows) == [1, 2, 3]
    made = batch(RecordType.ARTISTS, *rows)
    assert (made["Artist"], made["names"]) == ([1, 2, 3], {"Artist": [None, None, "Artist 3"]})
    assert made["records"] == [[1, rows[0]["properties"]], [0, rows[1]["properties"]]]
    assert made["aliases"] == [[1, 2], [1, 0]]

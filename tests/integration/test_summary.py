"""Counts and highlights say what is in the graph."""

from pipeline.graph.driver import Driver
from pipeline.graph.summary import (
    highlights,
    node_counts,
    relationship_counts,
)
from pipeline.graph.writer import write_records
from pipeline.model import NODES, RELATIONSHIP_TYPES, RecordType
from tests.integration.rows import artist, credit, label, release


async def test_an_empty_graph_counts_zeros_and_has_nothing_to_tell(driver: Driver) -> None:
    assert await node_counts(driver) == dict.fromkeys(NODES, 0)
    assert await relationship_counts(driver) == dict.fromkeys(RELATIONSHIP_TYPES, 0)
    assert await highlights(driver) == []


async def test_counts_and_facts_are_those_of_the_graph(driver: Driver) -> None:
    await write_records(driver, RecordType.ARTISTS, [artist(1, name="The Fall", members=[2, 3])])
    await write_records(driver, RecordType.LABELS, [label(1, name="Factory")])
    rows = [
        release(
            1,
            artists=[1],
            labels=[1],
            styles=["Punk"],
            year=1979,
            credits_=[credit("Ann"), credit("Ann", "Design")],
        ),
        release(2, artists=[1], labels=[1], styles=["Punk"], year=1978, credits_=[credit("Bob")]),
        release(3, artists=[194], labels=[2], styles=["Bop"], credits_=[credit("Bob", "Design", 4)]),
        release(4, artists=[194], labels=[3], master=5, genres=["Rock"], styles=["Punk"]),
        release(5, artists=[194], labels=[4]),
    ]
    await write_records(driver, RecordType.RELEASES, rows)
    nodes = await node_counts(driver)
    assert nodes == {"Artist": 5, "Label": 4, "Master": 1, "Release": 5, "Genre": 1, "Style": 2, "Person": 2}
    assert list(nodes) == list(NODES)
    assert await relationship_counts(driver) == {
        "BY": 5,
        "APPEARS_ON": 0,
        "INVOLVES": 0,
        "IN_SERIES": 0,
        "ON": 5,
        "DERIVED_FROM": 1,
        "IS": 5,
        "CREDITED_ON": 4,
        "SAME_AS": 1,
        "MEMBER_OF": 2,
        "ALIAS_OF": 0,
        "SUBLABEL_OF": 0,
        "PART_OF": 1,
    }
    assert await highlights(driver) == [
        "The label with most releases is Factory: 2.",
        "The artist with most releases is The Fall: 2.",
        "Nobody is credited on more releases than Bob: 2.",
        "The busiest style is Punk, with 3 releases.",
        "The oldest release is “Release 2”, from 1978.",
        "The group with most members is The Fall: 2.",
    ]

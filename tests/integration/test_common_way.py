"""The common way of the benchmark writes the graph that the product writes."""

from pathlib import Path

import neo4j

from ops.bench.baseline import load
from ops.bench.generator import SAMPLE
from pipeline.graph.driver import Driver
from tests.conftest import Neo4jServer
from tests.graph_dump import differences, read_graph_at_once
from tests.oracle import Graph, Properties, expected_graph

#: It leaves out what is derived or computed, and stores empty values and a hash of its own.
LEFT_OUT = {"fingerprint", "sha256", "category"}


def compared(properties: Properties) -> Properties:
    return {
        name: value
        for name, value in properties.items()
        if name not in LEFT_OUT and value not in ("", 0, [], None)
    }


def common(graph: Graph) -> Graph:
    """Return the graph without what the common way leaves out."""
    return Graph(
        {node: compared(properties) for node, properties in graph.nodes.items()},
        {
            key: [*map(compared, found)]
            for key, found in graph.relationships.items()
            if key[0] not in {"SAME_AS", "PART_OF"}
        },
        graph.faults,
    )


def test_the_common_way_writes_the_same_graph(driver: Driver, neo4j_server: Neo4jServer) -> None:
    dumps: list[Path] = sorted(SAMPLE.glob("*.xml.gz"))
    auth = (neo4j_server.user, neo4j_server.password)
    with (
        neo4j.GraphDatabase.driver(neo4j_server.uri, auth=auth, notifications_min_severity="OFF") as sync,
        sync.session() as session,
    ):
        for dump in dumps:
            load(session, dump)
        found = read_graph_at_once(session)
    # Without SAME_AS it creates no stub of an artist who is only credited.
    expected = common(expected_graph(dumps))
    ends = {end for _, *both in expected.relationships for end in both}
    for node in [*expected.nodes]:
        if node not in ends and node not in found.nodes:
            del expected.nodes[node]
    assert differences(expected, common(found)) == []

"""`graphinator explore` and `graphinator browse`, with the sample in the graph."""

import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from ops.stack.stack import Stack
from ops.stack.state import Endpoints
from tests.acceptance.conftest import SAMPLE, Product, opened
from tests.acceptance.test_terminal import on_terminal
from tests.browsers import BROWSERS, CHROMIUMS, Browser, opened_page
from tests.conftest import Neo4jServer
from tests.graph_dump import differences
from tests.oracle import Graph, NodeKey, expected_graph

HOSTILE = """</script><script>alert("1")</script> 'q' \\u0041 \\ $key & $limit"""

# No record of the sample has a series.
pytestmark = pytest.mark.filterwarnings("ignore:(?s).*relationship type does not exist")


@pytest.fixture(scope="module")
def product(staffed: Stack, neo4j_server: Neo4jServer, servers: Endpoints) -> Iterator[Product]:
    """Two workers, and the sample in the graph."""
    with opened(staffed, neo4j_server, servers.connect(staffed.settings)) as product:
        product.load(SAMPLE)
        yield product


@pytest.fixture(scope="module")
def sample_graph() -> Graph:
    return expected_graph(sorted(SAMPLE.glob("*.xml.gz")))


def explored(product: Product, page: Path, *arguments: object) -> str:
    """Write a page and return its text."""
    ended = product.run("explore", *arguments, "--output", page)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith(f"{page}: ")
    return page.read_text()


def picture(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the nodes and the lines of a page."""
    (specs,) = re.findall(r'<script type="application/json" id="specs">(.*?)</script>', text, re.DOTALL)
    links, nodes, _ = json.loads(specs)["graph"]["data"]
    return nodes["values"], links["values"]


def query(text: str) -> str:
    """Return the Cypher that a page shows."""
    (shown,) = re.findall(r'<pre id="cypher">(.*?)</pre>', text, re.DOTALL)
    return html.unescape(shown)


def returned(product: Product, text: str) -> tuple[int, int]:
    """Return the numbers of nodes and relationships that the Cypher of a page returns."""
    with product.driver() as driver, driver.session() as session:
        graph = session.run(query(text)).graph()
    return len(graph.nodes), len(graph.relationships)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["Svek"], "label:5"),
        (["the", "persuader"], "artist:1"),
        (["jesper dahlback"], "artist:239"),
        (["--type", "person", "JESPER DAHLBÄCK"], "person:Jesper Dahlbäck"),
        (["--type=master", "Knackered EP"], "master:116"),
        (["stockholm"], "release:1"),
        (["C++"], "artist:35248"),
        (["Octaves/Tremelos"], "artist:"),
        (["Layo & Bushwacka!"], "artist:90"),
        (["Layo", "Bushwaka"], "artist:90"),
        (["artist:194"], "artist:194"),
        (["person:Jesper Dahlbäck"], "person:Jesper Dahlbäck"),
    ],
)
def test_a_name_finds_its_node(product: Product, tmp_path: Path, words: list[str], found: str) -> None:
    nodes, _ = picture(explored(product, tmp_path / "page.html", *words))
    assert f"{nodes[0]['label'].lower()}:{nodes[0]['key']}".startswith(found)


def test_several_nodes_that_fit_are_listed_the_busiest_first(product: Product) -> None:
    listed = product.run("explore", "persuader")
    assert listed.stdout.splitlines()[1:] == [
        "artist:1    The Persuader                3",
        "artist:254  ADNY & The Persuader         0",
    ]
    assert listed.stderr.endswith("explore artist:1`\n")
    assert listed.returncode == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("xyzzyxyzzy", "no name in the graph is like “xyzzyxyzzy”"),
        ("!!!", "no name in the graph is like “!!!”"),
        ('xyzzy") OR (\\', 'no name in the graph is like “xyzzy") OR (\\”'),
        ("release:99999999", "the graph has no Release 99999999"),
    ],
)
def test_a_name_that_nothing_has_is_one_line(product: Product, name: str, message: str) -> None:
    refused = product.run("explore", "--type=label", name)
    assert (refused.stderr, refused.stdout, refused.returncode) == (f"Error: {message}\n", "", 1)


@pytest.mark.parametrize(
    ("name", "centre"),
    [
        ("label:5", ("Label", 5)),
        ("artist:62", ("Artist", 62)),
        ("release:1", ("Release", 1)),
        ("master:113", ("Master", 113)),
        ("person:Jesper Dahlbäck", ("Person", "Jesper Dahlbäck")),
    ],
)
def test_a_page_has_the_neighbours_of_a_node_and_what_these_refer_to(
    product: Product, tmp_path: Path, sample_graph: Graph, name: str, centre: NodeKey
) -> None:
    text = explored(product, tmp_path / "page.html", name)
    nodes, lines = picture(text)
    keys = [(node["label"], node["key"]) for node in nodes]
    beside = {end for _, *ends in sample_graph.relationships if centre in ends for end in ends}
    shown = Graph()
    for line in lines:
        for each in line["relationships"]:
            key = (each["type"], keys[line["source"]], keys[line["target"]])
            shown.relationships.setdefault(key, []).append(each["properties"])
    references = Counter(key[1] for key, found in sample_graph.relationships.items() for _ in found)
    crowded = {node for node in beside - {centre} if references[node] > 8}
    for node in crowded:
        # Neo4j chooses which eight; those to the centre may be among them.
        found = {key: len(each) for key, each in shown.relationships.items() if key[1] == node}
        assert 8 <= sum(found.values()) <= 8 + sum(found[key] for key in found if key[2] == centre)
    expected = Graph(relationships={**sample_graph.relationships})
    for graph in (expected, shown):
        graph.relationships = {
            key: found
            for key, found in graph.relationships.items()
            if centre in key[1:] or (key[1] in beside and key[1] not in crowded)
        }
        graph.nodes = {end: {} for _, *ends in graph.relationships for end in ends}
    assert keys[0] == centre
    assert differences(expected, shown) == []
    assert returned(product, text) == (len(nodes), sum(len(line["relationships"]) for line in lines))
    assert "All relationships of" in text


@pytest.fixture
def hostile(product: Product) -> Iterator[None]:
    """A label with 10,000 releases, and a person, with names that could end a text."""
    created = """
        CREATE (label:Label {id: 99000000, name: $name})
        CREATE (:Person {name: $name})-[:CREDITED_ON {role: $name}]->(:Release {id: 99000000, title: $name})
        WITH label UNWIND range(99000001, 99010000) AS id
        CREATE (:Release {id: id, title: $name})-[:ON {catalog_numbers: [$name]}]->(label)
    """
    deleted = """
        MATCH (n) WHERE n.id >= 99000000 OR n.name = $name
        CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 5000 ROWS
    """
    with product.driver() as driver, driver.session() as session:
        session.run(created, name=HOSTILE).consume()
        yield
        session.run(deleted, name=HOSTILE).consume()


@pytest.mark.parametrize("browser", BROWSERS.values(), ids=BROWSERS)
def test_names_are_shown_as_they_are(
    product: Product, hostile: None, tmp_path: Path, browser: Browser
) -> None:
    for name in ("label:99000000", f"person:{HOSTILE}"):
        page = tmp_path / "page.html"
        text = explored(product, page, "--limit=7", name)
        nodes, lines = picture(text)
        assert {node["name"] for node in nodes} == {HOSTILE}
        assert returned(product, text) == (len(nodes), len(lines))
        drawn = browser(page)["graph"]
        (dots,) = re.findall(r'class="mark-symbol role-mark dots".*?</g>', drawn)
        assert dots.count("<path") == len(nodes)
        assert "<script" not in drawn


def test_a_node_with_many_relationships_is_read_in_part(
    product: Product, hostile: None, tmp_path: Path
) -> None:
    text = explored(product, tmp_path / "page.html", "--limit=7", HOSTILE, "--type=label")
    assert "7 of 10,000 relationships ON to" in text
    with product.driver() as driver:
        profile = driver.execute_query(f"PROFILE {query(text)}").summary.profile
    assert profile is not None
    assert sum(hits(profile)) < 1000


def hits(operator: dict[str, Any]) -> Iterator[int]:
    """Yield the accesses of a plan to the store, operator by operator."""
    yield operator.get("dbHits", 0)
    for each in operator.get("children", []):
        yield from hits(each)


def test_without_full_text_indexes_the_command_that_creates_them_is_named(product: Product) -> None:
    with product.driver() as driver:
        driver.execute_query("DROP INDEX label_name_text")
    missing = "full-text indexes are missing: label_name_text; `graphinator finish` creates them"
    assert product.run("explore", "Svek").stderr == f"Error: {missing}\n"
    product.run("finish")
    assert product.run("explore", "--type=label", "xyzzyxyzzy").stderr.startswith(
        "Error: no name in the graph"
    )


@pytest.mark.parametrize("chromium", [None, *CHROMIUMS.values()], ids=["none", *CHROMIUMS])
def test_browse_names_a_page_that_asks_for_the_password_only(
    product: Product, tmp_path: Path, chromium: str | None
) -> None:
    endpoints, printed = product.endpoints(), product.run("browse").stdout
    (url,) = re.findall(r"http\S+", printed)
    assert str(endpoints.password_file) in printed
    with urlopen(url, timeout=60) as answer:  # noqa: S310 - http
        assert "Neo4j Browser" in answer.read().decode()
    if chromium is not None:
        page = opened_page(chromium, url, tmp_path)
        form = dict(re.findall(r'<input data-testid="(\w+)"[^>]* value="([^"]*)"', page))
        address = endpoints.neo4j_uri.removeprefix("bolt://")
        assert form == {"boltaddress": address, "database": "neo4j", "username": "neo4j", "password": ""}


def test_browse_opens_a_window_from_a_terminal_and_in_a_pipe_it_does_not(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_url, program = tmp_path / "url", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {opened_url}\n')
    program.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(program))
    shown = product.run("browse").stdout
    assert not opened_url.exists()
    with on_terminal(product, "browse") as terminal:
        terminal.until()
        assert terminal.process.wait() == 0
    assert opened_url.read_text().strip() in shown


def test_without_a_stack_browse_is_one_line(product: Product, tmp_path: Path) -> None:
    refused = product.run("--home", tmp_path, "browse")
    assert (
        refused.stderr
        == f"Error: the stack is not running; start it with `graphinator --home {tmp_path} up`\n"
    )
    assert refused.returncode == 4

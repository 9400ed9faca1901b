"""The queries of docs/howto/queries.md give the results that the page shows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neo4j

from tests.acceptance.conftest import SAMPLE, Product

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "queries.md"
#: A dump to load, or a query with its result.
BLOCK = re.compile(
    r"^```xml\n(?P<dump>.*?)^```\n|"
    r"^```cypher\n(?P<query>.*?)^```\n+(?:^[\w ]+:\n\n)?(?P<shown>(?:^[|>][^\n]*\n)+)",
    re.MULTILINE | re.DOTALL,
)
#: Starts of a query that is given a name, an id or a text: the others may scan.
GIVEN = re.compile(r"\{(?:name|id): ['\d]|queryNodes|[<>]=? \d")


def _cell(value: object) -> set[str]:
    """Return a value as the texts of a cell; lists are compared as sets."""
    return set(map(str, value)) if isinstance(value, list) else {"" if value is None else str(value)}


def _compare(records: list[neo4j.Record], shown: str) -> None:
    if shown.startswith(">"):  # one path of several
        assert len(records) == shown.count(" · ") + 1
        return
    cells = ([cell.strip() for cell in line[1:-1].split("|")] for line in shown.splitlines())
    headings, _, *rows = cells
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        for heading, cell in zip(headings, row, strict=True):
            expected = set(cell.split(", ")) if isinstance(record[heading], list) else {cell}
            assert _cell(record[heading]) == expected, (heading, row)


def _operators(plan: dict[str, Any]) -> Iterator[str]:
    yield plan["operatorType"]
    for child in plan.get("children", ()):
        yield from _operators(child)


def test_queries_give_the_results_that_the_page_shows(product: Product, tmp_path: Path) -> None:
    product.load(SAMPLE)
    text = PAGE.read_text(encoding="utf-8")
    found = list(BLOCK.finditer(text))
    assert len(found) == text.count("```cypher") + text.count("```xml")
    given = 0
    with product.driver() as driver:
        # Neo4j counts the entries of indexes some time after a load; until then, plans are guesses.
        driver.execute_query("CALL db.prepareForReplanning(600)")
        for match in found:
            if match["dump"]:
                dump = tmp_path / "series.xml"
                dump.write_text(match["dump"], encoding="utf-8")
                product.load("--partial", dump)
                continue
            ran = driver.execute_query("PROFILE " + match["query"])
            _compare(ran.records, match["shown"])
            if GIVEN.search(match["query"]):
                given += 1
                assert ran.summary.profile is not None
                scans = [each for each in _operators(ran.summary.profile) if "Scan" in each]
                assert scans == [], match["query"]
    assert given == len(found) - 2, "all but the dump and the decades"


def test_the_queries_of_the_readme_are_those_of_the_page() -> None:
    queries = re.findall(r"```cypher\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert queries
    page = PAGE.read_text(encoding="utf-8")
    assert [each for each in queries if each not in page] == []

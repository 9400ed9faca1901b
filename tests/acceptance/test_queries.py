"""The queries of docs/howto/queries.md give the results that the page shows."""

import re
from pathlib import Path
from typing import LiteralString, cast

from tests.acceptance.conftest import SAMPLE, Product

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "queries.md"
QUERY = re.compile(
    r"^```cypher\n(?P<query>.*?)^```\n+(?:^[\w ]+:\n\n)?(?P<shown>(?:^[|>][^\n]*\n)+)",
    re.MULTILINE | re.DOTALL,
)


def _cell(value: object) -> set[str]:
    """Return a value as the texts of a cell; lists are compared as sets."""
    return set(map(str, value)) if isinstance(value, list) else {"" if value is None else str(value)}


def test_queries_give_the_results_that_the_page_shows(product: Product) -> None:
    product.load(SAMPLE)
    text = PAGE.read_text(encoding="utf-8")
    found = list(QUERY.finditer(text))
    assert len(found) == text.count("```cypher")
    with product.driver() as driver:
        for match in found:
            records = driver.execute_query(cast("LiteralString", match["query"])).records
            if match["shown"].startswith(">"):  # one path of several
                assert len(records) == match["shown"].count(" · ") + 1
                continue
            headings, _, *rows = [line.strip("| ").split(" | ") for line in match["shown"].splitlines()]
            assert len(records) == len(rows)
            for record, row in zip(records, rows, strict=True):
                cells = [*row, *[""] * (len(headings) - len(row))]
                for heading, cell in zip(headings, cells, strict=True):
                    shown = set(cell.split(", ")) if isinstance(record[heading], list) else {cell}
                    assert _cell(record[heading]) == shown, (heading, row)

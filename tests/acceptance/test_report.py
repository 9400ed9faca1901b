"""The report of a load has its numbers, and its page draws them."""

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.conftest import Product
from tests.browsers import BROWSERS, Browser

BROKEN = "<label><name>without an id</name></label>"


@pytest.mark.parametrize("browser", BROWSERS.values(), ids=BROWSERS)
def test_a_report_has_the_numbers_of_the_load_and_draws_them(
    product: Product, sample: list[Path], tmp_path: Path, browser: Browser
) -> None:
    first = tmp_path / "labels.xml"
    first.write_text("<labels><label><id>1</id><name>One</name></label></labels>")
    product.load(first)
    second = tmp_path / "labels-2.xml"
    second.write_text(f"<labels><label><id>1</id><name>Uno</name></label>{BROKEN}</labels>")
    ended = json.loads(product.run("load", second, sample[3], "--json").stdout)
    page = tmp_path / "report.html"
    told = json.loads(product.run("report", "--json", "--html", page).stdout)

    assert [each["record_type"] for each in told] == ["labels", "releases"]
    for each in told:
        counts = ended[each["record_type"]]
        assert {name: each[name] for name in counts if name != "seconds"} == {
            name: number for name, number in counts.items() if name != "seconds"
        }
        outcomes = ("unchanged", "created", "changed", "quarantined")
        assert {name: each["samples"][-1][name] for name in outcomes} == {
            name: counts[name] for name in outcomes
        }
        assert each["work"]["batches"] > 0
    assert told[0]["before"]["created"] == 1
    assert told[1]["before"] is None
    (reason,) = told[0]["reasons"]
    before, after = told[0]["graph_before"]["nodes"], told[-1]["graph_after"]["nodes"]
    assert after["Release"] - before["Release"] == 1000

    text = product.run("report").stdout
    assert re.search(r"releases +[\d: -]+ +finished +1,000 +0 +1,000 +0 +0 +0", text)
    assert reason in text
    assert product.run("report", told[1]["run"]).stdout.count("\nreleases ") == 2

    plots = browser(page)
    assert {"speed", "batches", "memory", "records", "graph", "quarantine", "comparison"} <= plots.keys()
    assert "Release" in plots["graph"]
    assert "releases" in plots["records"]
    assert reason[:10] in plots["quarantine"]
    assert "the one before" in plots["comparison"]
    assert all("<path" in plot for plot in plots.values())


def test_a_report_without_a_load_says_so(product: Product) -> None:
    ended = product.run("report")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "there is no load yet" in ended.stderr

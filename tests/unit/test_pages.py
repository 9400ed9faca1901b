"""A page with plots: one file, no network."""

from pathlib import Path

import pytest

from ops.pages import page
from tests.browsers import BROWSERS, Browser

VALUES = [{"month": "</script><b>May", "records": 3}, {"month": "June", "records": 5}]
ENCODING = {"x": {"field": "month"}, "y": {"field": "records", "type": "quantitative"}}
LITE = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "width": "container",
    "data": {"values": VALUES},
    "mark": "bar",
    "encoding": ENCODING,
}
FULL = {
    "$schema": "https://vega.github.io/schema/vega/v6.json",
    "width": 50,
    "height": 50,
    "marks": [{"type": "text", "encode": {"enter": {"text": {"value": "hello"}}}}],
}


@pytest.mark.parametrize("browser", BROWSERS.values(), ids=BROWSERS)
def test_a_page_draws_its_plots(tmp_path: Path, browser: Browser) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        page("Plots & more", '<div id="lite"></div><div id="full"></div>', {"lite": LITE, "full": FULL})
    )
    plots = browser(path)
    assert "&lt;/script" in plots["lite"]
    assert "June" in plots["lite"]
    assert "hello" in plots["full"]


def test_a_page_loads_nothing_and_shows_texts_as_they_are() -> None:
    text = page("Plots & more", "<p>$5</p>", {"lite": LITE})
    assert "<h1>Plots &amp; more</h1>\n<p>$5</p>" in text
    assert "</script><b>" not in text
    assert "default-src 'none'" in text

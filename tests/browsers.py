"""Browsers for pages with plots: Vega's own engine, and each Chromium that is installed."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import vl_convert

#: Draws a page; returns the SVG of each plot by its id.
Browser = Callable[[Path], dict[str, str]]


def vega(page: Path) -> dict[str, str]:
    """Draw the plots as vl-convert does, which has Vega and no browser."""
    (found,) = re.findall(
        r'<script type="application/json" id="specs">(.*?)</script>', page.read_text(), re.DOTALL
    )
    svgs = {}
    for id_, spec in json.loads(found).items():
        draw = vl_convert.vegalite_to_svg if "vega-lite" in spec["$schema"] else vl_convert.vega_to_svg
        svgs[id_] = draw(spec)
    return svgs


def opened_page(program: str, url: str, profile: Path) -> str:
    """Open a page in Chromium and return its HTML; fails for a console message."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    ended = subprocess.run(
        [program, *options, f"--user-data-dir={profile}", "--virtual-time-budget=10000", url],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "CONSOLE" not in ended.stderr, ended.stderr
    return ended.stdout


def chromium(program: str) -> Browser:
    """Return a browser that opens a page from its file."""

    def draw(page: Path) -> dict[str, str]:
        opened = opened_page(program, page.as_uri(), page.with_suffix(".profile"))
        return dict(re.findall(r'id="([^"]+)" class="[^"]*vega-embed.*?(<svg.*?</svg>)', opened, re.DOTALL))

    return draw


#: Programs by name.
CHROMIUMS = {
    name: found
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome")
    if (found := shutil.which(name))
}
BROWSERS: dict[str, Browser] = {"vega": vega, **{name: chromium(found) for name, found in CHROMIUMS.items()}}

"""HTML pages with plots of Vega, in one file that needs no network."""

import html
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from ops.extras import need

Spec = Mapping[str, Any]


def page(title: str, body: str, specs: Mapping[str, Spec]) -> str:
    """Return a page as text.

    `body` is HTML. It has an element with the id of each of the `specs`, of Vega or Vega-Lite, which is drawn there.
    Raises StackError without the extra `pages`.
    """
    need("pages")
    template = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        body=body,
        # A `<` could end the element.
        specs=json.dumps(specs).replace("<", r"\u003c"),
        vega=_vega(),
    )


@cache
def _vega() -> str:
    """Return Vega as JavaScript; it takes a second to put together."""
    import vl_convert  # noqa: PLC0415 - of an extra

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed")

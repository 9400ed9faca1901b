"""The statements, one a file: `statement("count_nodes", label="Genre")` is `count_nodes.cypher`.

Cypher takes values as parameters (`$ids`), but no labels, types or property names. A file has an `@` identifier in
their place, such as `@label`. Identifiers come from the table in `pipeline.model`, never from data.
"""

from functools import cache
from importlib import resources
from string import Template


class _Template(Template):
    delimiter = "@"


@cache
def statement(name: str, /, **identifiers: str) -> str:
    """Return the text of `<name>.cypher` with its `@` identifiers filled in.

    Raises KeyError if one is missing.
    """
    text = resources.files(__name__).joinpath(f"{name}.cypher").read_text(encoding="utf-8")
    return _Template(text).substitute(identifiers)

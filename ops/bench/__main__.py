"""The command `python -m ops.bench`."""

import json
import sys
from pathlib import Path
from statistics import median

import click
from rich.console import Console

from ops.bench.parts import PARTS, Data, measure, resized
from ops.bench.report import data_file
from pipeline.errors import GraphinatorError

#: A ratio that is lower by more than this share is a fault.
TOLERANCE = 0.2


@click.command()
@click.argument("names", metavar="[PART]...", nargs=-1, type=click.Choice([*PARTS]))
@click.option("--releases", type=int, help="Releases; of other types half as many.  [default: by part]")
@click.option("--rounds", type=int, help="Rounds; each measures everything once.  [default: by part]")
@click.option("--check", is_flag=True, help="Measure the ratios and compare them with the committed ones.")
def main(names: tuple[str, ...], releases: int | None, rounds: int | None, *, check: bool) -> None:
    """Measure the speed, part by part, and write the data of docs/benchmarks.md.

    Without a PART, all are measured, which takes more than an hour on two cores. `make docs` renders the report. Each
    stack runs in a temporary folder, which is removed at the end.
    """
    notes = Console(stderr=True)
    for name in ("ratios",) if check else names or PARTS:
        notes.print(f"measuring: {name}")
        with notes.status("") as status:
            try:
                data = measure(resized(PARTS[name], releases, rounds), status.update)
            except GraphinatorError as error:
                raise click.ClickException(str(error)) from error
        if check:
            sys.exit(compare(data))
        write(data_file(name), data)


def write(path: Path, data: Data) -> None:
    """Write the data of a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    click.echo(f"wrote {path}")


def compare(data: Data) -> int:
    """Print the ratios beside the committed ones; return 1 if one fell."""
    committed, measured = medians(json.loads(data_file("ratios").read_text("utf-8"))), medians(data)
    fallen = [name for name, ratio in committed.items() if measured[name] < ratio * (1 - TOLERANCE)]
    for name, ratio in committed.items():
        verdict = "  fell by more than a fifth" if name in fallen else ""
        click.echo(f"{name:45} {measured[name]:6.2f} x   committed {ratio:6.2f} x{verdict}")
    return int(bool(fallen))


def medians(data: Data) -> dict[str, float]:
    """Return the median of each ratio over the rounds."""
    return {name: median(each[name] for each in data["rounds"]) for name in data["rounds"][0]}


if __name__ == "__main__":
    main()

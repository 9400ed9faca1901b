"""The command `python -m ops.bench`."""

import json
import tempfile
from math import ceil
from pathlib import Path

import click
from rich.console import Console

from ops.bench.bench import Bench, Dumps
from ops.bench.generator import generate
from ops.bench.month import NEW, next_month
from ops.bench.stack import BenchStack
from ops.bench.table import as_json, as_table
from pipeline.errors import GraphinatorError
from pipeline.model import RecordType

#: Records of a sample dump, which the generator repeats as a whole.
SAMPLE_RECORDS = 1000
#: Copies loaded both ways before the first measurement, enough for the server to compile its code.
WARM_UP_COPIES = 15


@click.command()
@click.option(
    "--records", default=120_000, show_default=True, help="Releases; of the other types half as many."
)
@click.option("--rounds", default=1, show_default=True, help="Number of rounds; each measures everything.")
@click.option("--workers", type=int, help="Worker processes.  [default: one a core]")
@click.option(
    "--same-indexes/--fewer-indexes",
    default=True,
    help="Keep the search indexes of the graph for the common way too, or for ours only.  [default: same]",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the generated dumps.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the figures to this file.",
)
def main(
    records: int, rounds: int, workers: int | None, seed: int, same_indexes: bool, json_file: Path | None
) -> None:
    """Measure records per second and peak memory, beside the common way.

    Takes about a quarter of an hour on two cores. Rates count from the first record to the last one; those of the whole
    command include its start and `finish`. The stack runs in a temporary folder, which is removed at the end.
    """
    notes = Console(stderr=True)
    try:
        with tempfile.TemporaryDirectory(prefix="graphinator-bench-") as folder, notes.status("") as status:
            status.update("generating the dumps")
            dumps = make_dumps(Path(folder), records, seed)
            status.update("starting the stack")
            with BenchStack(workers) as stack:
                figures = Bench(stack, dumps, status.update, same_indexes=same_indexes).run(rounds)
    except GraphinatorError as error:
        raise click.ClickException(str(error)) from error
    Console().print(as_table(figures))
    if json_file:
        json_file.write_text(json.dumps(as_json(figures), indent=2) + "\n", encoding="utf-8")


def make_dumps(folder: Path, releases: int, seed: int) -> Dumps:
    """Generate the dumps: `releases` releases, and half as many records of each other type."""
    copies = -(-releases // SAMPLE_RECORDS)
    multiply = dict.fromkeys(RecordType, -(-copies // 2)) | {RecordType.RELEASES: copies}
    longer = generate(
        folder / "longer", {each: number + ceil(number * NEW) for each, number in multiply.items()}, seed
    )
    (folder / "next").mkdir()
    return Dumps(
        generate(folder / "warm-up", WARM_UP_COPIES, seed + 1),
        generate(folder / "this", multiply, seed),
        {
            each: next_month(longer[each], number * SAMPLE_RECORDS, folder / "next" / longer[each].name, seed)
            for each, number in multiply.items()
        },
    )


if __name__ == "__main__":
    main()

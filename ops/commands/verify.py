"""`graphinator verify`."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ops.commands.console import counted, plain_console
from ops.commands.context import Context
from ops.commands.dumps import find_dumps
from ops.exit_codes import ExitCode
from pipeline.graph.driver import Driver
from pipeline.graph.verify import Differences, Verification
from pipeline.model import Chunk, RecordType
from pipeline.reader.dump import Dump, open_dump
from workers.settings import Settings
from workers.worker import open_driver

LINE_RECORDS = 50_000


@click.command(short_help="Compare dumps with the graph.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--partial", is_flag=True, help="The files hold some records of their types, not all.")
@click.pass_context
def verify(ctx: click.Context, paths: tuple[Path, ...], partial: bool) -> None:
    """Compare dumps with the graph, record by record and relationship by relationship.

    Of several dumps of one type the last one is compared. What follows from the records (SAME_AS, PART_OF, the statistics)
    is not: `graphinator finish --full` works it out anew. Ends with exit code 1 if anything differs.
    """
    context: Context = ctx.obj
    dumps: dict[RecordType, Path] = {}
    for path in find_dumps(paths):
        with open_dump(path) as dump:
            dumps[dump.record_type] = path
    limits = context.settings.dump_limits()
    notes = plain_console(stderr=True)
    found: dict[RecordType, Differences] = {}
    with asyncio.Runner() as runner:
        driver = open_driver(context.connected())
        try:
            for record_type, path in dumps.items():
                with open_dump(path, **limits) as dump:
                    chunks = chunks_of(dump, context.settings, notes)
                    found[record_type] = _verify(runner, driver, record_type, chunks, partial)
        finally:
            runner.run(driver.close())
    print_differences(plain_console(), found)
    if any(differences.any for differences in found.values()):
        ctx.exit(ExitCode.DIFFERENT)


def _verify(
    runner: asyncio.Runner, driver: Driver, record_type: RecordType, chunks: Iterable[Chunk], partial: bool
) -> Differences:
    verification = Verification(record_type)
    for chunk in chunks:
        runner.run(verification.check(driver, chunk))
    return runner.run(verification.differences(driver, partial=partial))


def chunks_of(dump: Dump, settings: Settings, notes: Console) -> Iterator[Chunk]:
    """The chunks of a dump as a load has them, telling now and then how far it is read."""
    read = told = 0
    for chunk in dump.chunks(settings.chunk_records, settings.chunk_bytes):
        yield chunk
        read += len(chunk.ids)
        if read - told >= LINE_RECORDS:
            told = read
            percent = 100 * dump.consumed // max(1, dump.size)
            notes.print(f"{dump.path.name}: {percent} %, {counted(read, 'record')}")


def print_differences(console: Console, found: dict[RecordType, Differences]) -> None:
    """A table, one line a record type."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("records")
    headings = ("compared", "missing", "changed", "extra", "relationships missing", "relationships extra")
    for heading in headings:
        table.add_column(heading, justify="right")
    for record_type, each in found.items():
        numbers = (
            each.records, each.missing, each.changed, each.extra, each.relationships_missing, each.relationships_extra,
        )  # fmt: skip
        table.add_row(record_type.value, *(f"{number:,}" for number in numbers))
    console.print(table)
    same = not any(each.any for each in found.values())
    console.print("the graph is what the dumps say" if same else "the graph differs from the dumps")

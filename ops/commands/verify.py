"""`graphinator verify`."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from redis.exceptions import RedisError
from rich.console import Console

from ops.commands.console import counted, duration, plain_console, print_table
from ops.commands.context import Context, DumpPath
from ops.commands.load import ask_neo4j
from ops.commands.progress import DumpProgress
from ops.commands.status import print_statistics
from ops.exit_codes import ExitCode
from pipeline.chunk import Chunk
from pipeline.graph.verify import Differences, Verification
from pipeline.model import RecordType
from pipeline.reader.dump import Dump, find_dumps, open_dump
from workers.app import connect_redis
from workers.settings import ServerNotSet, Settings
from workers.state.statistics import StatisticsState
from workers.worker import open_driver


@click.command(short_help="Compare dumps with the graph.")
@click.argument("paths", nargs=-1, required=True, type=DumpPath())
@click.option(
    "--partial", is_flag=True, help="The files hold some records of their types: report none as extra."
)
@click.pass_context
def verify(ctx: click.Context, paths: tuple[Path, ...], partial: bool) -> None:
    """Compare every record and relationship of dumps with the graph.

    With several dumps of one type, only the last one is compared; with --partial, all are. SAME_AS, PART_OF and the
    statistics are not compared: the last line says if they are stale, and `graphinator finish --full` rebuilds them.

    Records of upstream tasks that a dump lacks are not extra; newer versions of its records count as changed.

    Records that cannot be read, or are too long, are counted as unreadable. The exit code is 1 if there is such a
    record or a difference.
    """
    context: Context = ctx.obj
    dumps: dict[RecordType, list[Path]] = defaultdict(list)
    for path in find_dumps(paths):
        with open_dump(path) as dump:
            if not partial:
                dumps[dump.record_type].clear()
            dumps[dump.record_type].append(path)
    asyncio.run(ask_neo4j(context.connected()))
    notes = plain_console(stderr=True)
    found: dict[RecordType, Differences] = {}
    with (
        asyncio.Runner() as runner,
        DumpProgress(context, notes, "comparing", sum(map(len, dumps.values()))) as progress,
    ):
        driver = open_driver(context.connected())
        try:
            for record_type, files in dumps.items():
                verification = Verification(record_type)
                for chunk in _chunks_of_all(files, context.settings, progress):
                    in_graph = runner.run(verification.read(driver, chunk))
                    verification.compare(chunk, in_graph)
                if not partial:
                    progress.wait(f"the search for {record_type} that the dump lacks")
                found[record_type] = runner.run(verification.differences(driver, partial=partial))
        finally:
            runner.run(driver.close())
    print_differences(plain_console(), found)
    print_derived(plain_console(), context)
    if any(differences.any for differences in found.values()):
        ctx.exit(ExitCode.FAILED)


def _chunks_of_all(paths: Iterable[Path], settings: Settings, progress: DumpProgress) -> Iterator[Chunk]:
    for path in paths:
        with open_dump(path, **settings.dump_options()) as dump:
            yield from chunks_of(dump, settings, progress)


def chunks_of(dump: Dump, settings: Settings, progress: DumpProgress) -> Iterator[Chunk]:
    """Yield the chunks of a dump as a load does, and show progress."""
    started, records = time.monotonic(), 0
    progress.advance(dump.path, dump.record_type, 0.0, records)
    for chunk in dump.chunks(settings.chunk_records, settings.chunk_bytes):
        share = dump.consumed / max(1, dump.size)
        yield chunk
        records += len(chunk.ids) + len(chunk.rejected)
        progress.advance(dump.path, dump.record_type, min(share, 0.99), records)
    seconds = duration(time.monotonic() - started)
    progress.end(dump.path, f"{counted(records, dump.record_type.element)} compared in {seconds}")


def print_derived(console: Console, context: Context) -> None:
    """Print the age of the statistics, which Redis knows."""
    try:
        found = StatisticsState(connect_redis(context.connected())).get()
    except (RedisError, ServerNotSet):
        console.print("statistics: not known whether they are stale, since Redis does not answer")
    else:
        print_statistics(console, found, context)


def print_differences(console: Console, found: dict[RecordType, Differences]) -> None:
    """Print the differences, one line per record type, and the result."""
    headings = (
        "records", "compared", "unreadable", "missing", "changed", "extra", "relationships missing", "relationships extra"
    )  # fmt: skip
    rows = []
    for record_type, each in found.items():
        numbers = (
            each.records, each.unreadable, each.missing, each.changed, each.extra,
            each.relationships_missing, each.relationships_extra,
        )  # fmt: skip
        rows.append(((record_type.value,), numbers))
    print_table(console, headings, rows)
    unreadable = sum(each.unreadable for each in found.values())
    if any(each.differs for each in found.values()):
        console.print("the graph differs from the dumps")
    elif unreadable:
        console.print(f"the graph matches the dumps, except for {counted(unreadable, 'unreadable record')}")
    else:
        console.print("the graph matches the dumps")

"""`graphinator quarantine`."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click

from ops.commands.console import aligned, counted, plain_console, print_line, utc
from ops.commands.context import Context
from ops.commands.progress import DumpProgress
from ops.exit_codes import ExitCode
from ops.stack.files import write_private
from workers.app import connect_quarantine, connect_redis
from workers.upstream.quarantine import Entry, Quarantine
from workers.upstream.replay import SkipReason
from workers.upstream.replay import replay as replay_entries

#: A way to replay a skipped entry all the same.
_HINTS = {
    SkipReason.IN_GRAPH: "--overwrite replaces it",
    SkipReason.SEVERAL_VERSIONS: "name the one to replay",
}


@click.group(short_help="List, export or replay records that could not be loaded.")
def quarantine() -> None:
    """List, export or replay records that could not be loaded.

    An earlier version of such a record stays in the graph. Load a corrected dump, or use `replay` if the record itself
    is correct, for example after an upgrade. An entry is removed when a newer version of its record is written.
    """


@quarantine.command("list", short_help="List the records, one per line.")
@click.pass_obj
def list_entries(context: Context) -> None:
    """List the records, one per line.

    The columns are: entry, record type, record id, number of times quarantined, time of the first, file and byte
    position, reason.
    """
    # Without the raw texts, which may not fit in memory.
    found = sorted((entry.source, entry.position, _cells(entry)) for entry in _open(context))
    if not found:
        print_line("nothing is quarantined")
        return
    headings = ("entry", "type", "id", "times", "since", "place", "reason")
    for line in aligned([headings, *(cells for _, _, cells in found)], names=len(headings)):
        print_line(line.rstrip())


@quarantine.command(short_help="Show one record and its raw text.")
@click.argument("entry")
@click.pass_obj
def show(context: Context, entry: str) -> None:
    """Show one record: origin and reason, then its raw text on standard output.

    On a terminal, characters that are not printable are escaped.
    """
    found = _get(context, _open(context), entry)
    place = f", byte {found.position:,}" if found.position >= 0 else ""
    number = "without a readable id" if found.record_id is None else f"{found.record_id}"
    times = f"quarantined {counted(found.attempts, 'time')}, first at {utc(found.at)}, last by {found.run}"
    print_line(f"{found.record_type.element} {number}, from {found.source}{place}", stderr=True)
    print_line(times, stderr=True)
    print_line(found.reason, stderr=True)
    if sys.stdout.isatty():
        for line in found.raw.decode("utf-8", "backslashreplace").split("\n"):
            print_line(line)
    else:
        sys.stdout.buffer.write(found.raw + b"\n")


@quarantine.command(short_help="Write all records as JSON lines.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), default="-")
@click.pass_obj
def export(context: Context, file: Path) -> None:
    """Write all records to FILE, one JSON object per line, unordered. Default: standard output.

    Only its owner can read the file.
    """
    exported = 0

    def lines() -> Iterator[str]:
        nonlocal exported
        for line in _lines(_open(context)):
            exported += 1
            yield f"{line}\n"

    if str(file) == "-":
        sys.stdout.writelines(lines())
        return
    try:
        # A link stays; a device or FIFO is no file to replace.
        path = file.resolve()
        if path.is_file() or not path.exists():
            write_private(path, lines())
        else:
            with path.open("w", encoding="utf-8") as opened:
                opened.writelines(lines())
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from error
    print_line(f"{counted(exported, 'record')} exported to {file}")


@quarantine.command(short_help="Submit records again: the given ones or all.")
@click.argument("entries", metavar="[ENTRY]...", nargs=-1)
@click.option("--overwrite", is_flag=True, help="Also replace records that are in the graph.")
@click.pass_context
def replay(ctx: click.Context, entries: tuple[str, ...], overwrite: bool) -> None:
    """Submit records again, the given ones or all. Workers write them within seconds.

    Use it if the record was not at fault: a newer graphinator can read it, or Neo4j accepts it now. A written record
    leaves the quarantine; a refused one stays with the new reason.

    A quarantined record may be older than the graph. Records that are in the graph are skipped without --overwrite. Of
    several versions of one record, name the one to replay. If all the others are refused, the exit code is 7.
    """
    context: Context = ctx.obj
    _check(context, _open(context), entries)
    with context.app() as app, DumpProgress(context, plain_console(stderr=True)) as progress:
        report = replay_entries(app, entries, progress.wait, overwrite=overwrite)
    for entry, reason in report.refused:
        print_line(f"{entry}  refused: {reason}", stderr=True)
    for entry, skipped in report.skipped:
        print_line(f"{entry}  skipped: {skipped}; {_HINTS[skipped]}", stderr=True)
    print_line(
        f"{counted(report.replayed, 'record')} replayed, {len(report.refused):,} refused, {len(report.skipped):,} skipped"
    )
    if report.refused and not report.replayed:
        ctx.exit(ExitCode.INCOMPLETE)


@quarantine.command(short_help="Delete records: the given ones or all.")
@click.argument("entries", metavar="[ENTRY]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def purge(context: Context, entries: tuple[str, ...], yes: bool) -> None:
    """Delete records from the quarantine, the given ones or all."""
    opened = _open(context)
    _check(context, opened, entries)
    if not yes:
        what = counted(len(set(entries)), "quarantined record") if entries else "all quarantined records"
        click.confirm(f"Delete {what}?", abort=True)
    purged = opened.purge(set(entries) if entries else None)
    print_line(f"{counted(purged, 'record')} purged")


def _open(context: Context) -> Quarantine:
    settings = context.connected()
    return connect_quarantine(settings, connect_redis(settings))


def _get(context: Context, opened: Quarantine, entry: str) -> Entry:
    found = opened.get(entry)
    if found is None:
        listing = context.command("quarantine list")
        raise click.BadParameter(f"no entry {entry}; `{listing}` shows all entries")
    return found


def _check(context: Context, opened: Quarantine, entries: Sequence[str]) -> None:
    """Refuse an unknown entry before the first one is processed."""
    for entry in entries:
        _get(context, opened, entry)


def _cells(entry: Entry) -> Sequence[str]:
    number = "-" if entry.record_id is None else str(entry.record_id)
    place = Path(entry.source).name + (f":{entry.position}" if entry.position >= 0 else "")
    since = utc(entry.at).removesuffix("+00:00") + "Z"
    return entry.entry_id, entry.record_type, number, f"{entry.attempts}", since, place, entry.reason


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps(
            {
                "entry": entry.entry_id,
                "record_type": entry.record_type,
                "record_id": entry.record_id,
                "source": entry.source,
                "position": entry.position,
                "reason": entry.reason,
                "run": entry.run,
                "attempts": entry.attempts,
                "at": utc(entry.at),
                # JSON holds text only, so bytes that are not UTF-8 are escaped.
                "raw": entry.raw.decode("utf-8", "backslashreplace"),
            }
        )

"""`graphinator quarantine`: the records that could not be loaded."""

import datetime
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import click

from ops.commands.console import counted, one_line, plain_console
from ops.commands.context import Context
from ops.commands.progress import LoadProgress
from workers.app import connect_quarantine, connect_redis
from workers.upstream.quarantine import Entry, Quarantine
from workers.upstream.replay import IN_GRAPH
from workers.upstream.replay import replay as replay_entries


@click.group(short_help="The records that could not be loaded: list, export, replay.")
def quarantine() -> None:
    """Look at the records that could not be loaded: each with its reason and its raw text.

    Such a record is not in the graph, except for an earlier version of it that was loaded before: that one
    stays. Mend the dump, or wait for the next month's, and load again; or, where the fault was not the record's,
    replay it.
    """


@quarantine.command("list", short_help="List the records, one a line.")
@click.pass_obj
def list_entries(context: Context) -> None:
    """List the records, one a line: id of the entry, record type and id, how often it was quarantined, where it was, why."""
    # Without the raw texts, which need not fit in memory.
    lines = sorted((entry.source, entry.position, _line(entry)) for entry in _open(context))
    for _, _, line in lines:
        click.echo(line)
    if not lines:
        click.echo("nothing is quarantined")


@quarantine.command(short_help="Show one record with its raw text.")
@click.argument("entry")
@click.pass_obj
def show(context: Context, entry: str) -> None:
    """Show one record: where it was, why it was quarantined, its raw text."""
    found = _get(context, _open(context), entry)
    place = f", byte {found.position:,}" if found.position >= 0 else ""
    number = "without a legible id" if found.record_id is None else f"{found.record_id}"
    times = f"quarantined {counted(found.attempts, 'time')}, first at {_utc(found.at)}, last by {found.run}"
    click.echo(f"{found.record_type.element} {number}, from {one_line(found.source)}{place}", err=True)
    click.echo(times, err=True)
    click.echo(one_line(found.reason), err=True)
    sys.stdout.buffer.write(found.raw + b"\n")


@quarantine.command(short_help="Write all records to a file, as JSON.")
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@click.pass_obj
def export(context: Context, file: IO[str]) -> None:
    """Write all records to FILE (default: standard output), one JSON object a line, in no order."""
    for line in _lines(_open(context)):
        click.echo(line, file=file)


@quarantine.command(short_help="Hand records over again, these or all.")
@click.argument("entries", metavar="[ENTRY]...", nargs=-1)
@click.option("--overwrite", is_flag=True, help="Also replace records that are already in the graph.")
@click.pass_obj
def replay(context: Context, entries: tuple[str, ...], overwrite: bool) -> None:
    """Hand records over again, these or all, as upstream tasks do: workers write them within seconds.

    It helps where the fault was not the record's: where another version of graphinator reads it, or Neo4j takes it now. What
    is still refused stays, with the newest reason. An entry leaves the quarantine when its record is written.

    The age of a quarantined record is unknown. So one that the graph has by now, in any version, is left alone unless
    --overwrite is given, and so are several versions of one record, of which one must be named.
    """
    _check(context, _open(context), entries)
    with context.app() as app, LoadProgress(plain_console(stderr=True)) as progress:
        outcome = replay_entries(app, entries, progress.wait, overwrite=overwrite)
    for entry, reason in outcome.refused:
        click.echo(f"{entry}  refused: {one_line(reason)}", err=True)
    for entry, why in outcome.left:
        hint = "; --overwrite replaces it" if why == IN_GRAPH else ""
        click.echo(f"{entry}  left: {why}{hint}", err=True)
    click.echo(
        f"{counted(outcome.replayed, 'record')} replayed, {len(outcome.refused):,} refused, {len(outcome.left):,} left"
    )


@quarantine.command(short_help="Forget records, these or all.")
@click.argument("entries", metavar="[ENTRY]...", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def purge(context: Context, entries: tuple[str, ...], yes: bool) -> None:
    """Forget records, these or all, after export or once they are mended."""
    opened = _open(context)
    _check(context, opened, entries)
    if not yes:
        what = counted(len(set(entries)), "quarantined record") if entries else "every quarantined record"
        click.confirm(f"Forget {what}?", abort=True)
    purged = opened.purge(set(entries) if entries else None)
    click.echo(f"{counted(purged, 'record')} purged")


def _open(context: Context) -> Quarantine:
    settings = context.connected()
    return connect_quarantine(settings, connect_redis(settings))


def _get(context: Context, opened: Quarantine, entry: str) -> Entry:
    found = opened.get(entry)
    if found is None:
        listing = context.command("quarantine list")
        raise click.BadParameter(f"there is no entry {entry}; `{listing}` shows them all")
    return found


def _check(context: Context, opened: Quarantine, entries: Sequence[str]) -> None:
    """Refuse a wrong name before anything is done."""
    for entry in entries:
        _get(context, opened, entry)


def _line(entry: Entry) -> str:
    number = "-" if entry.record_id is None else str(entry.record_id)
    place = one_line(Path(entry.source).name) + (f":{entry.position}" if entry.position >= 0 else "")
    times = f"{entry.attempts}x"
    return (
        f"{entry.entry_id}  {entry.record_type:8}  {number:>9}  {times:>3}  {place}  {one_line(entry.reason)}"
    )


def _utc(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")


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
                "at": _utc(entry.at),
                # The text may be of any bytes, which JSON cannot hold; what is not UTF-8 is escaped.
                "raw": entry.raw.decode("utf-8", "backslashreplace"),
            },
            ensure_ascii=False,
        )

"""`graphinator quarantine`: the records that were set aside."""

import datetime
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import click

from ops.console import one_line
from ops.session import Session
from workers.app import connect_quarantine, connect_redis
from workers.quarantine import Entry, Quarantine


@click.group()
def quarantine() -> None:
    """Look at the records that could not be loaded: each with its reason and its raw text.

    Such a record is not in the graph, except for an earlier version of it that was loaded before: that one
    stays. Mend the dump, or wait for the next month's, and load again.
    """


@quarantine.command("list")
@click.pass_obj
def list_entries(session: Session) -> None:
    """List the records, one a line: id of the entry, record type, where it was, why."""
    # Without the raw texts, which need not fit in memory; a set, as Redis may give an entry twice.
    lines = {
        (entry.source, entry.position, entry.entry_id, entry.record_type.value, one_line(entry.reason))
        for entry in _open(session)
    }
    for source, position, entry_id, record_type, reason in sorted(lines):
        place = one_line(Path(source).name) + (f":{position}" if position >= 0 else "")
        click.echo(f"{entry_id}  {record_type:8}  {place}  {reason}")
    if not lines:
        click.echo("nothing is set aside")


@quarantine.command()
@click.argument("entry")
@click.pass_obj
def show(session: Session, entry: str) -> None:
    """Show one record: where it was, why it was set aside, its raw text."""
    found = _open(session).get(entry)
    if found is None:
        raise click.BadParameter(f"there is no entry {entry}; `graphinator quarantine list` shows them all")
    place = f", byte {found.position:,}" if found.position >= 0 else ""
    click.echo(f"{found.record_type} from {one_line(found.source)}{place}", err=True)
    click.echo(one_line(found.reason), err=True)
    sys.stdout.buffer.write(found.raw + b"\n")


@quarantine.command()
@click.argument("file", type=click.File("w", encoding="utf-8"), default="-")
@click.pass_obj
def export(session: Session, file: IO[str]) -> None:
    """Write all records to FILE (default: standard output), one JSON object a line, in no order."""
    for line in _lines(_open(session)):
        click.echo(line, file=file)


@quarantine.command()
@click.confirmation_option(prompt="Forget every record that was set aside?")
@click.pass_obj
def clear(session: Session) -> None:
    """Forget all of them, after export or once they are mended."""
    _open(session).clear()


def _open(session: Session) -> Quarantine:
    settings = session.connected()
    return connect_quarantine(settings, connect_redis(settings))


def _lines(entries: Iterable[Entry]) -> Iterator[str]:
    seen: set[str] = set()
    for entry in entries:
        # Redis may give an entry twice.
        if entry.entry_id in seen:
            continue
        seen.add(entry.entry_id)
        yield json.dumps(
            {
                "entry": entry.entry_id,
                "record_type": entry.record_type,
                "source": entry.source,
                "position": entry.position,
                "reason": entry.reason,
                "at": datetime.datetime.fromtimestamp(entry.at, datetime.UTC).isoformat(timespec="seconds"),
                # The text may be of any bytes, which JSON cannot hold; what is not UTF-8 is escaped.
                "raw": entry.raw.decode("utf-8", "backslashreplace"),
            },
            ensure_ascii=False,
        )

"""`graphinator fetch` and `graphinator update`."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from ops.commands.console import duration, plain_console, print_line
from ops.commands.context import Context
from ops.commands.load import print_all, run_load
from ops.commands.progress import ByteProgress
from ops.extras import need
from pipeline.model import RecordType
from workers.app import connect_redis
from workers.state.runs import Run, Runs, RunState

if TYPE_CHECKING:
    from ops.fetch.download import Fetched
    from ops.fetch.site import Month

LATEST = "latest"


class _MonthName(click.ParamType[str]):
    """`202611`, or `latest`."""

    name = "YYYYMM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name."""
        text = str(value)
        is_month = len(text) == 6 and text.isascii() and text.isdigit() and "01" <= text[4:] <= "12"
        if text != LATEST and not is_month:
            self.fail(f"{text} is neither `{LATEST}` nor a month such as 202611", param, ctx)
        return text


def _arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Add what both commands take."""
    for add in (
        click.option("--json", "as_json_", is_flag=True, help="Print the result as one line of JSON."),
        click.option(
            "--type",
            "types",
            multiple=True,
            type=click.Choice([each.value for each in RecordType]),
            help="Only dumps of this type; may be given again.  [default: all four]",
        ),
        click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path)),
    ):
        command = add(command)
    return command


@click.command(short_help="Download a month's dumps from Discogs.")
@_arguments
@click.option(
    "--month",
    default=LATEST,
    type=_MonthName(),
    help="The month.  [default: latest, the newest complete one]",
)
@click.option("--list", "lists", is_flag=True, help="Show the months of the year instead of a download.")
@click.pass_obj
def fetch(
    context: Context,
    directory: Path | None,
    types: tuple[str, ...],
    month: str,
    *,
    lists: bool,
    as_json_: bool,
) -> None:
    """Download the dumps of a month, and their checksums, from Discogs into a folder.

    DIRECTORY is the folder `dumps` in the home of the stack by default. A dump gets its name there once all of it has
    arrived and its checksum is right; one that is there and right is not downloaded again. After a failure the same
    command goes on with what has arrived, if the site can send the rest of a file.

    A month is complete when the site has the dumps that are asked for, and their checksums.
    """
    record_types = _record_types(types)
    if lists:
        _print_months(_months(context, month), record_types, as_json_=as_json_)
        return
    folder = _folder(context, directory)
    date, fetched = run_fetch(context, folder, record_types, month)
    if as_json_:
        click.echo(json.dumps({"date": date, "dumps": [_as_json(each) for each in fetched]}))
        return
    print_line(f"{date}: {', '.join(each.record_type for each in fetched)} downloaded and checked")
    dumps = f"{shlex.quote(str(folder))}/discogs_{date}_*.xml.gz"
    print_line(f"load them with `{context.command('load')} {dumps}`")


@click.command(short_help="Download and load the newest month.")
@_arguments
@click.pass_obj
def update(context: Context, directory: Path | None, types: tuple[str, ...], *, as_json_: bool) -> None:
    """Download the newest complete month, as `graphinator fetch` does, and load it.

    A dump that is loaded as it is, is not loaded again: this may run every day, from cron for example. Without
    DIRECTORY, dumps go to the folder `dumps` in the home of the stack. Those of other months stay, and are not loaded.
    """
    runs = Runs(connect_redis(context.connected()))
    list(runs)  # before a long download: without Redis there is no load
    date, fetched = run_fetch(context, _folder(context, directory), _record_types(types))
    newest = {run.record_type: run for run in runs}
    paths = [each.path for each in fetched if not _is_loaded(newest.get(each.record_type), each.path)]
    if not paths and not as_json_:
        print_line(f"nothing to do: the dumps of {date} are loaded")
        return
    print_all(context, run_load(context, paths, checked=True) if paths else iter(()), as_json_=as_json_)


def run_fetch(
    context: Context, folder: Path, record_types: Sequence[RecordType], month: str = LATEST
) -> tuple[str, list["Fetched"]]:
    """Download dumps with a progress display. Return their date and the dumps."""
    need("fetch")
    from ops.fetch.download import fetch as fetch_dumps  # noqa: PLC0415 - of the extra `fetch`
    from ops.fetch.site import Site  # noqa: PLC0415 - as above

    wanted = frozenset(record_types)
    fetched = []
    with (
        ByteProgress(context, plain_console(stderr=True), "fetching", len(record_types)) as progress,
        Site(context.settings, progress.wait) as site,
    ):
        found = site.newest(wanted) if month == LATEST else site.month(month, wanted)
        for each in fetch_dumps(site, found, record_types, folder, progress.show):
            rate = decimal(int(each.received / max(each.seconds, 1e-3)))
            what = f"{decimal(each.received)} in {duration(each.seconds)}, {rate}/s"
            progress.end(each.path, what if each.received else "is there, checked")
            fetched.append(each)
    return found.date, fetched


def _months(context: Context, month: str) -> list["Month"]:
    """Return the months of a year, by default the newest one that has any."""
    need("fetch")
    from ops.fetch.site import Site  # noqa: PLC0415 - of the extra `fetch`

    with (
        ByteProgress(context, plain_console(stderr=True), "", 0) as progress,
        Site(context.settings, progress.wait) as site,
    ):
        return site.recent() if month == LATEST else site.months(int(month[:4]))


def _record_types(types: Sequence[str]) -> list[RecordType]:
    """Return the record types in load order."""
    return [each for each in RecordType if not types or each.value in types]


def _folder(context: Context, directory: Path | None) -> Path:
    return (directory or context.settings.home / "dumps").absolute()


def _is_loaded(run: Run | None, dump: Path) -> bool:
    """Return True if this file, as it is, was the last one loaded."""
    return (
        run is not None
        and run.state is RunState.FINISHED
        and not run.plan.partial
        and run.plan.path == str(dump)
        and run.plan.at > dump.stat().st_mtime
    )


def _print_months(months: Sequence["Month"], record_types: Sequence[RecordType], *, as_json_: bool) -> None:
    wanted = frozenset(record_types)
    if as_json_:
        shown = [
            {
                "date": each.date,
                "types": [kind.value for kind in RecordType if kind in each.record_types],
                "complete": each.has(wanted),
            }
            for each in months
        ]
        click.echo(json.dumps(shown))
        return
    for each in months:
        names = ", ".join(kind for kind in RecordType if kind in each.record_types)
        print_line(f"{each.date}  {names}{'' if each.has(wanted) else '  (not complete)'}")
    if not months:
        print_line("no dumps are listed")


def _as_json(fetched: "Fetched") -> dict[str, Any]:
    return {
        "type": fetched.record_type.value,
        "path": str(fetched.path),
        "sha256": fetched.sha256,
        "received": fetched.received,
        "seconds": round(fetched.seconds, 3),
    }

"""What a person, or a script, is told when a load has ended."""

import json
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table

from ops.commands.console import counted
from pipeline.model import RecordType
from workers.loader import Report
from workers.state.runs import Tally


def as_json(reports: Iterable[Report], *, complete: bool = True) -> str:
    """One line: `{<record type>: {read, unchanged, created, changed, quarantined, vanished, seconds}, …, complete}`.

    Always all four record types; several dumps of one type are added up. `complete` is False for a load that
    ended before its last report.
    """
    types: dict[str, dict[str, float]] = {
        record_type.value: {"read": 0, **Tally().as_dict(), "vanished": 0, "seconds": 0.0}
        for record_type in RecordType
    }
    for report in reports:
        counts = types[report.record_type.value]
        counts["read"] += report.read
        for name, number in report.tally.as_dict().items():
            counts[name] += number
        counts["vanished"] += report.vanished
        counts["seconds"] = round(counts["seconds"] + report.seconds, 3)
        complete = complete and report.complete
    return json.dumps({**types, "complete": complete})


def print_reports(console: Console, reports: Sequence[Report], command: Callable[[str], str]) -> None:
    """A table of the dumps, then what was quarantined; `command` says how a user calls another command."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("records")
    for heading in ("read", "unchanged", "created", "changed", "vanished", "quarantined", "per second"):
        table.add_column(heading, justify="right")
    for report in reports:
        tally = report.tally
        numbers = (
            report.read, tally.unchanged, tally.created, tally.changed, report.vanished, tally.quarantined
        )  # fmt: skip
        rate = tally.read / max(report.seconds, 1e-3)
        table.add_row(report.record_type.value, *(f"{number:,}" for number in numbers), f"{rate:,.0f}")
    console.print(table)
    quarantined = sum(report.tally.quarantined for report in reports)
    if quarantined:
        console.print(
            f"quarantined: {counted(quarantined, 'record')}; `{command('quarantine list')}` shows them, with reasons"
        )

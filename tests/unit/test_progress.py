"""What a person sees of a load that runs."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from ops.commands.console import plain_console
from ops.commands.progress import LoadProgress, describe, describe_bytes
from pipeline.model import RecordType
from workers.loader import Progress, Report
from workers.state.runs import Tally

HALF_WAY = Progress(
    RecordType.LABELS, Path("x[red].xml"), 10, Tally(created=1), 1, 250, 1000, seconds=20.0, waiting_for=""
)


def test_a_line_has_records_rate_batches_and_what_was_quarantined() -> None:
    assert describe(HALF_WAY) == "1 record, 0/s, 1 batch in flight, 0 quarantined"
    read_whole = replace(HALF_WAY, consumed_bytes=1000, tally=Tally(quarantined=4), waiting_for="a worker")
    assert (
        describe(read_whole) == "4 of 10 records, 0/s, 1 batch in flight, 4 quarantined, waiting for a worker"
    )


@pytest.mark.parametrize(("consumed", "text"), [(0, "0 %"), (250, "25 %, 0:01:00 left"), (1000, "100 %")])
def test_the_time_left_follows_from_the_bytes_read(consumed: int, text: str) -> None:
    assert describe_bytes(replace(HALF_WAY, consumed_bytes=consumed)) == text


def test_off_a_terminal_a_line_is_printed_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    console = plain_console(stderr=True)
    console.file = io.StringIO()
    monkeypatch.setattr("ops.commands.progress.LINE_SECONDS", 0.0)
    with LoadProgress(console) as progress:
        progress.show(HALF_WAY)
        progress.wait("[a]")
        progress.wait("[a]")
        progress.ended(Report(RecordType.LABELS, HALF_WAY.path, 10, Tally(created=10), 0, 1.0, []))
    assert console.file.getvalue().splitlines() == [
        "x[red].xml: 25 %, 0:01:00 left, 1 record, 0/s, 1 batch in flight, 0 quarantined",
        "waiting for [a]",
    ]

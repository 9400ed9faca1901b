"""The benchmark reads what the product reads, and notices a ratio that fell."""

import json
from pathlib import Path

import pytest

from ops.bench import __main__ as command
from ops.bench.baseline import parse
from ops.bench.generator import SAMPLE
from ops.bench.report import sevenths
from ops.bench.svg import bars, figure, lines
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump


@pytest.mark.parametrize("record_type", RecordType)
def test_the_common_way_reads_the_records_that_the_product_reads(record_type: RecordType) -> None:
    path = SAMPLE / f"discogs_20200806_{record_type}.xml.gz"
    with open_dump(path) as dump:
        ids = [number for chunk in dump.chunks(1000, 1 << 30) for number in chunk.ids]
    records = list(parse(path, record_type))
    assert [record["id"] for record in records] == ids
    assert len({record["sha256"] for record in records}) == len(ids)


@pytest.mark.parametrize(("measured", "code"), [(4.1, 0), (3.9, 1)])
def test_a_ratio_that_fell_by_more_than_a_fifth_is_a_fault(
    measured: float,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    committed = tmp_path / "ratios.json"
    committed.write_text(json.dumps({"rounds": [{"reading": 2, "writing": each} for each in (1, 5, 9)]}))
    monkeypatch.setattr(command, "data_file", lambda part: tmp_path / f"{part}.json")
    data = {"rounds": [{"reading": 2, "writing": measured}]}
    assert command.compare(data) == code
    assert ("fell by more than a fifth" in capsys.readouterr().out) == bool(code)


def test_the_rate_in_each_seventh_is_interpolated() -> None:
    curve = [(0, 0), (7, 700), (14, 1050), (28, 1400)]
    ends, rates = zip(*sevenths({"large": {"curve": curve}}), strict=True)
    assert ends == pytest.approx([200, 400, 600, 800, 1000, 1200, 1400])
    assert rates == pytest.approx([100, 100, 100, 200 / 3, 50, 200 / 7, 25], rel=0.01)


def test_plots_are_the_same_for_the_same_data() -> None:
    rows = [("first <load>", {"Neo4j": 0.4, "workers": 0.2}), ("unchanged", {"Neo4j": 0.01})]
    assert bars("Time", rows, "ms") == bars("Time", rows, "ms")
    assert "first &lt;load&gt;" in bars("Time", rows, "ms")
    assert "polyline" in lines("Growth", {"round 1": [(100, 5), (200, 6)]}, "releases", "per s")
    assert [figure(each) for each in (0, 0.0123, 1.234, 12.34, 123.4, 12_345)] == [
        "0",
        "0.0123",
        "1.23",
        "12.3",
        "123",
        "12,345",
    ]

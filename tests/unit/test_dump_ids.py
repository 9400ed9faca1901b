"""The ids of a dump, and those that its illegible records may have."""

from pathlib import Path

import pytest
from pyroaring import BitMap64

from pipeline.reader.dump import open_dump
from pipeline.reader.ids import DumpIds

BROKEN = "<label><name>Nobody</name></label>"


@pytest.mark.parametrize("chunk_records", [1, 2, 100])
@pytest.mark.parametrize(
    ("dump", "lost"),
    [
        ([3, 4, 8], [1, 2, 5, 6, 7, 9, 10]),
        ([3, 4, BROKEN, 8], [1, 2, 9, 10]),
        ([BROKEN, 3, 8], [4, 5, 6, 7, 9, 10]),
        ([3, BROKEN, BROKEN, 5, 8, BROKEN], [1, 2, 6, 7]),
        ([3, BROKEN, "<label><id>5</id>A & B</label>", 8], [1, 2, 6, 7, 9, 10]),
        ([3, BROKEN, "<label><id>5</id>", 8], [1, 2, 6, 7, 9, 10]),
        ([3, "text", 8], [1, 2, 9, 10]),
        # In another order nothing is known.
        ([8, BROKEN, 3], [1, 2, 4, 5, 6, 7, 9, 10]),
        ([BROKEN], []),
    ],
)
def test_ids_between_the_neighbours_of_an_illegible_record_are_spared(
    tmp_path: Path, chunk_records: int, dump: list[int | str], lost: list[int]
) -> None:
    path = tmp_path / "labels.xml"
    records = [each if isinstance(each, str) else f"<label><id>{each}</id></label>" for each in dump]
    path.write_text("\n".join(["<labels>", *records, "</labels>"]))
    ids = DumpIds()
    with open_dump(path) as opened:
        for chunk in opened.chunks(chunk_records, 1 << 20):
            ids.add(chunk)
    again = DumpIds.unpack(ids.pack())
    missing = BitMap64(range(1, 11)) - again.ids
    before = len(missing)
    assert again.spare(missing) == before - len(lost)
    assert list(missing) == lost

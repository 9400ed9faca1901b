"""The graph tells which records it holds, in which version."""

import pytest

from pipeline.graph.driver import Driver
from pipeline.graph.lookup import fingerprints
from pipeline.graph.writer import write_records
from pipeline.model import RecordType
from tests.integration.rows import release
from tests.integration.test_writer_redelivery import batch


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_it_knows_the_fingerprint_of_every_record_written(
    driver: Driver, record_type: RecordType
) -> None:
    rows = batch(record_type)
    await write_records(driver, record_type, rows)
    expected = {row["id"]: row["properties"]["fingerprint"] for row in rows}
    assert await fingerprints(driver, record_type, list(expected)) == expected


async def test_stubs_and_strangers_are_not_among_them(driver: Driver) -> None:
    await write_records(driver, RecordType.RELEASES, [release(1, artists=[1], labels=[1], master=1)])
    for record_type in (RecordType.ARTISTS, RecordType.LABELS, RecordType.MASTERS):
        assert await fingerprints(driver, record_type, [1, 2]) == {}
    assert await fingerprints(driver, RecordType.RELEASES, [2, 3]) == {}


@pytest.mark.parametrize(
    "ids", [[], [5], [5, 6, 7], [7, 5, 6], [5, 1_000_000], [5, 7, 2**63 - 1], [4, 6, 8], [5, 5]]
)
async def test_it_answers_for_those_asked_and_no_others_close_together_or_far_apart(
    driver: Driver, ids: list[int]
) -> None:
    known = {id_: release(id_) for id_ in (4, 5, 6, 7, 1_000_000, 2**63 - 1)}
    for row in known.values():
        row["properties"]["fingerprint"] = -(2**63) + row["id"] % 1000
    await write_records(driver, RecordType.RELEASES, list(known.values()))
    expected = {id_: known[id_]["properties"]["fingerprint"] for id_ in ids if id_ in known}
    assert await fingerprints(driver, RecordType.RELEASES, ids) == expected

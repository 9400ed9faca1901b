"""A dump is compared with the graph, and every kind of difference is counted."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.commands.context import Context
from ops.commands.verify import verify as verify_command
from pipeline.chunk import Chunk, Rejected
from pipeline.graph import verify
from pipeline.graph.driver import Driver
from pipeline.graph.verify import Differences, TooDifferent, Verification
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import RecordType
from pipeline.records.normalise import normalise
from pipeline.records.parse import Malformed, parse
from tests.conftest import Neo4jServer, empty_graph, have_schema
from tests.integration.history import draw_record, to_xml
from tests.integration.world import World
from workers.settings import Settings


def chunk_of(record_type: RecordType, raws: Sequence[bytes]) -> Chunk:
    ids = [row["id"] for row in parse(record_type, raws) if not isinstance(row, Malformed)]
    return Chunk(record_type, [0] * len(raws), ids, [*raws])


async def write(driver: Driver, chunk: Chunk) -> None:
    await write_records(driver, chunk.record_type, normalise(chunk)[0])


async def compare(driver: Driver, *chunks: Chunk, partial: bool = False) -> Differences:
    verification = Verification(chunks[0].record_type)
    for chunk in chunks:
        verification.compare(chunk, await verification.read(driver, chunk))
    return await verification.differences(driver, partial=partial)


def some(record_type: RecordType, seed: int) -> Chunk:
    raws = [to_xml(record_type, draw_record(record_type, id_, seed)).encode() for id_ in range(1, 8)]
    return chunk_of(record_type, raws)


@pytest.mark.parametrize("record_type", list(RecordType))
async def test_what_was_loaded_does_not_differ(real: World, record_type: RecordType) -> None:
    chunk = some(record_type, 1)
    await write(real.driver, chunk)
    assert await compare(real.driver, chunk) == Differences(7)
    older = some(record_type, 2)
    assert await compare(real.driver, older, chunk) == Differences(7)


LABELS = [
    b"<label><id>1</id><name>One</name><sublabels><label id='2'>Two</label></sublabels></label>",
    b"<label><id>2</id><name>Two</name></label>",
    b"<label><id>3</id><name>Three</name><parentLabel id='1'>One</parentLabel></label>",
]


async def test_each_kind_of_difference_of_labels_is_counted(real: World) -> None:
    whole = chunk_of(RecordType.LABELS, LABELS)
    assert await compare(real.driver, whole) == Differences(3, missing=3, relationships_missing=2)
    await write(real.driver, whole)
    assert not (await compare(real.driver, whole)).any
    assert await compare(real.driver, chunk_of(RecordType.LABELS, LABELS[:2])) == Differences(
        2, extra=1, relationships_extra=1
    )
    assert await compare(real.driver, chunk_of(RecordType.LABELS, LABELS[:2]), partial=True) == Differences(2)
    changed = [LABELS[0].replace(b"One", b"Uno"), LABELS[1], LABELS[2].replace(b"'1'", b"'2'")]
    assert await compare(real.driver, chunk_of(RecordType.LABELS, changed)) == Differences(
        3, changed=2, relationships_missing=1, relationships_extra=1
    )
    await remove_records(real.driver, RecordType.LABELS, [3])
    assert await compare(real.driver, whole) == Differences(3, missing=1, relationships_missing=1)


async def test_records_of_upstream_tasks_that_the_dump_lacks_do_not_differ(real: World) -> None:
    dump, rest = chunk_of(RecordType.LABELS, LABELS[:2]), chunk_of(RecordType.LABELS, LABELS[2:])
    await write(real.driver, dump)
    await write(real.driver, replace(rest, upstream=True))
    assert await compare(real.driver, dump) == Differences(2)
    # As a record of the dump it is compared like any other.
    assert await compare(real.driver, chunk_of(RecordType.LABELS, LABELS)) == Differences(3)
    other = [*LABELS[:2], LABELS[2].replace(b"<parentLabel id='1'>One</parentLabel>", b"")]
    assert await compare(real.driver, chunk_of(RecordType.LABELS, other)) == Differences(
        3, relationships_extra=1
    )
    await write(real.driver, rest)
    assert await compare(real.driver, dump) == Differences(2, extra=1, relationships_extra=1)


async def test_relationships_of_a_record_alone_are_compared_with_all_that_they_say(real: World) -> None:
    release = (
        b"<release id='1'><labels><label id='1' name='L' catno='A'/></labels><extraartists>"
        b"<artist><id>2</id><name>Ann</name><role>Producer</role></artist></extraartists></release>"
    )
    await write(real.driver, chunk_of(RecordType.RELEASES, [release]))
    other = release.replace(b"'A'", b"'B'").replace(b"Producer", b"Design")
    assert await compare(real.driver, chunk_of(RecordType.RELEASES, [other])) == Differences(
        1, changed=1, relationships_missing=2, relationships_extra=2
    )


async def test_a_malformed_record_of_the_dump_and_its_relationships_are_neither_missing_nor_extra(
    real: World,
) -> None:
    await write(real.driver, chunk_of(RecordType.LABELS, LABELS))
    broken = Chunk(RecordType.LABELS, [0] * 3, [1, 2, 3], [*LABELS[:2], b"<label><id>3</id>"])
    assert await compare(real.driver, broken) == Differences(2, unreadable=1)


async def test_what_was_set_aside_while_reading_is_neither_missing_nor_extra(real: World) -> None:
    await write(real.driver, chunk_of(RecordType.LABELS, LABELS))
    aside = [Rejected(0, "longer than 30 bytes", LABELS[0][:30]), Rejected(0, "no end", LABELS[2][:-8])]
    broken = Chunk(RecordType.LABELS, [0], [2], [LABELS[1]], aside)
    assert await compare(real.driver, broken) == Differences(1, unreadable=2)
    illegible = Rejected(2, "no id", b"<label><name>Three</name>")
    broken = Chunk(RecordType.LABELS, [0, 1], [1, 2], LABELS[:2], [illegible])
    assert await compare(real.driver, broken) == Differences(2, unreadable=1)


async def test_a_dump_of_another_graph_is_not_compared_to_its_end(
    real: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MOST_DIFFERENT", 2)
    with pytest.raises(TooDifferent, match="more than 2 labels differ"):
        await compare(real.driver, chunk_of(RecordType.LABELS, LABELS))


def written(server: Neo4jServer, *chunks: Chunk) -> None:
    """Write records to the graph, which is empty before."""

    async def run() -> None:
        async with Driver(server.uri, server.user, server.password) as driver:
            await empty_graph(driver)
            await have_schema(driver)
            for chunk in chunks:
                await write(driver, chunk)

    asyncio.run(run())


def dump_of(path: Path, *records: bytes) -> str:
    path.write_bytes(b"<labels>" + b"".join(records) + b"</labels>")
    return str(path)


def verified(settings: Settings, *arguments: str) -> tuple[Result, dict[str, int]]:
    """Run the command; return the numbers of labels by heading, too."""
    ended = CliRunner().invoke(verify_command, arguments, obj=Context(settings))
    headings, numbers, *_ = ended.stdout.splitlines()
    names = headings.removeprefix("records").replace("relationships ", "relationships-").split()
    return ended, dict(zip(names, map(int, numbers.split()[1:]), strict=True))


def test_all_parts_of_a_type_are_compared_and_without_partial_the_last_file(
    neo4j_server: Neo4jServer, settings: Settings, tmp_path: Path
) -> None:
    written(neo4j_server, chunk_of(RecordType.LABELS, LABELS[1:]))
    parts = [dump_of(tmp_path / "1.xml", LABELS[0]), dump_of(tmp_path / "2.xml", *LABELS[1:])]
    ended, numbers = verified(settings, "--partial", *parts)
    assert (numbers["compared"], numbers["missing"], numbers["extra"]) == (3, 1, 0)
    assert (ended.exit_code, ended.stdout.splitlines()[-2]) == (1, "the graph differs from the dumps")
    ended, numbers = verified(settings, *parts)
    assert (numbers["compared"], ended.exit_code) == (2, 0)
    ended, numbers = verified(settings, "--partial", *parts[1:])
    assert (numbers["compared"], ended.exit_code) == (2, 0)


def test_of_several_parts_with_one_record_the_last_counts(
    neo4j_server: Neo4jServer, settings: Settings, tmp_path: Path
) -> None:
    written(neo4j_server, chunk_of(RecordType.LABELS, LABELS))
    older = dump_of(tmp_path / "1.xml", LABELS[0].replace(b"One", b"Uno"), LABELS[1])
    newer = dump_of(tmp_path / "2.xml", LABELS[0], LABELS[2])
    ended, numbers = verified(settings, "--partial", older, newer)
    assert (numbers["compared"], numbers["changed"], ended.exit_code) == (3, 0, 0)
    ended, numbers = verified(settings, "--partial", newer, older)
    assert (numbers["compared"], numbers["changed"], ended.exit_code) == (3, 1, 1)


@pytest.mark.parametrize("in_graph", [False, True])
def test_an_unreadable_record_ends_with_exit_code_1(
    neo4j_server: Neo4jServer, settings: Settings, tmp_path: Path, in_graph: bool
) -> None:
    written(neo4j_server, chunk_of(RecordType.LABELS, LABELS[1:] if in_graph else LABELS[1:2]))
    broken = LABELS[2].replace(b"Three", b"A & B")
    long = b"<label><id>4</id><name>" + b"x" * 70_000 + b"</name></label>"
    path = dump_of(tmp_path / "labels.xml", LABELS[1], broken, long)
    narrow = settings.model_copy(update={"record_bytes": 65_536})
    ended, numbers = verified(narrow, path, "--partial")
    assert (numbers["compared"], numbers["unreadable"], numbers["missing"]) == (1, 2, 0)
    assert (ended.exit_code, ended.stdout.splitlines()[-2]) == (
        1, "the graph matches the dumps, except for 2 unreadable records",
    )  # fmt: skip

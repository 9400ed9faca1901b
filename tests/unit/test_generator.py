"""The generator of long dumps: repeats, changes, and the same output every time."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from ops.bench.generator import SAMPLE, SHIFT, generate
from ops.bench.month import NEW, next_month
from pipeline.model import RecordType
from tests.oracle import Facts, Graph, expected_graph, records

pytestmark = pytest.mark.unit

COPIES = 3
PER_COPY = 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[RecordType, Path]:
    return generate(tmp_path_factory.mktemp("generated"), COPIES, seed=1)


@pytest.fixture(scope="module")
def read(files: dict[RecordType, Path]) -> dict[RecordType, list[Facts]]:
    return {record_type: list(records(path)) for record_type, path in files.items()}


def ids(facts: list[Facts]) -> list[int]:
    return [int(fact.node[1]) for fact in facts]


@pytest.mark.parametrize("record_type", RecordType)
def test_every_record_is_well_formed_and_ids_ascend(
    read: dict[RecordType, list[Facts]], record_type: RecordType
) -> None:
    found = ids(read[record_type])

    assert len(found) == COPIES * PER_COPY
    assert found == sorted(set(found))


@pytest.mark.parametrize("record_type", RecordType)
def test_each_record_starts_a_line(files: dict[RecordType, Path], record_type: RecordType) -> None:
    starts = (f"<{record_type.element}>".encode(), f"<{record_type.element} id=".encode())

    lines = gzip.decompress(files[record_type].read_bytes()).splitlines()

    assert lines[0] == f"<{record_type}>".encode()
    assert lines[-1] == f"</{record_type}>".encode()
    assert sum(line.startswith(starts) for line in lines) == COPIES * PER_COPY


@pytest.mark.parametrize("record_type", RecordType)
def test_the_first_copy_is_the_sample_and_the_others_are_shifted(
    read: dict[RecordType, list[Facts]], record_type: RecordType
) -> None:
    sample = list(records(SAMPLE / f"discogs_20200806_{record_type}.xml.gz"))
    copies = [read[record_type][start : start + PER_COPY] for start in range(0, COPIES * PER_COPY, PER_COPY)]

    assert copies[0] == sample
    for number, copy in enumerate(copies):
        assert ids(copy) == [record_id + number * SHIFT for record_id in ids(sample)]


def test_names_of_artists_and_labels_are_changed_with_their_ids(read: dict[RecordType, list[Facts]]) -> None:
    for record_type in (RecordType.ARTISTS, RecordType.LABELS):
        for first, last in zip(read[record_type][:PER_COPY], read[record_type][-PER_COPY:], strict=True):
            assert last.properties["name"] == f"{first.properties['name']} #{COPIES - 1}"


def test_a_name_goes_with_one_id(read: dict[RecordType, list[Facts]]) -> None:
    for facts in read.values():
        for fact in facts:
            for reference in fact.references:
                copy = int(reference.node[1]) // SHIFT
                if reference.name is not None:
                    assert reference.name.endswith(f" #{copy}") == bool(copy)


def test_genres_styles_countries_and_formats_are_the_same_in_all_copies(
    read: dict[RecordType, list[Facts]],
) -> None:
    releases = read[RecordType.RELEASES]
    for first, last in zip(releases[:PER_COPY], releases[-PER_COPY:], strict=True):
        assert (last.genres, last.styles) == (first.genres, first.styles)
        for shared in ("country", "formats", "released"):
            assert last.properties.get(shared) == first.properties.get(shared)


@pytest.mark.parametrize(("kind", "end"), [("BY", 2), ("ON", 2), ("CREDITED_ON", 1)])
def test_popular_ends_are_shared_and_rare_ones_are_partly_new(
    read: dict[RecordType, list[Facts]], kind: str, end: int
) -> None:
    releases = read[RecordType.RELEASES]
    first, last = (
        Counter(key[end] for facts in part for key in facts.relationships if key[0] == kind)
        for part in (releases[:PER_COPY], releases[-PER_COPY:])
    )

    most_popular = [node for node, _ in first.most_common(5)]
    assert sum(node in last for node in most_popular) >= 4
    assert 0.05 < len(last.keys() - first.keys()) / len(last) < 0.6


def test_each_copy_adds_as_many_relationships_among_artists_and_to_masters(
    files: dict[RecordType, Path],
) -> None:
    graph: Graph = expected_graph(list(files.values()))
    sample: Graph = expected_graph([SAMPLE / path.name for path in files.values()])

    kinds = Counter(
        key[0] for key in graph.relationships if key[0] in {"ALIAS_OF", "MEMBER_OF", "DERIVED_FROM"}
    )
    of_sample = Counter(key[0] for key in sample.relationships if key[0] in kinds)
    assert kinds == {kind: COPIES * count for kind, count in of_sample.items()}


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    tmp_path: Path, files: dict[RecordType, Path]
) -> None:
    again = generate(tmp_path / "again", {RecordType.RELEASES: COPIES}, seed=1)
    other = generate(tmp_path / "other", {RecordType.RELEASES: COPIES}, seed=2)

    content = files[RecordType.RELEASES].read_bytes()
    assert again[RecordType.RELEASES].read_bytes() == content
    assert other[RecordType.RELEASES].read_bytes() != content
    assert content[4:8] == bytes(4), "no time in the gzip header"


def test_a_smaller_multiple_is_the_beginning_of_a_larger_one(
    tmp_path: Path, read: dict[RecordType, list[Facts]]
) -> None:
    smaller = generate(tmp_path, {RecordType.MASTERS: 2}, seed=1)[RecordType.MASTERS]

    assert list(records(smaller)) == read[RecordType.MASTERS][: 2 * PER_COPY]


@pytest.mark.parametrize("record_type", RecordType)
def test_next_month_differs_from_this_one_as_it_says(
    read: dict[RecordType, list[Facts]],
    files: dict[RecordType, Path],
    tmp_path: Path,
    record_type: RecordType,
) -> None:
    before = 2 * PER_COPY
    this_month = {fact.node: fact for fact in read[record_type][:before]}

    month = next_month(files[record_type], before, tmp_path / "next.xml.gz", seed=1)

    dump = {fact.node: fact for fact in records(month.path)}
    assert len(dump) == month.records
    assert len(dump.keys() - this_month.keys()) == month.new == before * NEW
    assert len(this_month.keys() - dump.keys()) == month.vanished > 0
    changed = [node for node in dump.keys() & this_month.keys() if dump[node] != this_month[node]]
    assert len(changed) == month.changed
    assert 0.01 < month.changed / before < 0.03
    related = [node for node in changed if dump[node].relationships != this_month[node].relationships]
    assert 0 < len(related) < len(changed)

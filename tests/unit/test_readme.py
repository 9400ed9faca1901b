"""The documentation agrees with the code."""

import copy
import re
from collections import Counter
from pathlib import Path

from lxml import etree

from ops.commands.demo import QUERY, SAMPLE
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.records.parse import parse
from tests.checks.docs import ROOT, outdated, pages
from tests.oddities import handmade
from tests.oracle import expected_graph

PAGES = {page: page.read_text(encoding="utf-8") for page in pages()}
PATH = re.compile(r"`((?:pipeline|workers|ops|tests|docs)/[\w./-]+)`")


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_parts_are_current() -> None:
    assert [*outdated()] == [], "run `make docs`"


def _unread(record_type: RecordType, dumps: list[Path]) -> set[str]:
    """Return the tags of elements without which each record becomes the same row."""
    tags: set[str] = set()
    read: set[str] = set()
    for path in dumps:
        with open_dump(path) as dump:
            raws = [raw for chunk in dump.chunks(1000, 1 << 30) for raw in chunk.records]
        for raw in raws:
            record = etree.fromstring(raw, etree.XMLParser(recover=True))
            found = {child.tag for child in record if isinstance(child.tag, str)}
            tags |= found
            whole = parse(record_type, [etree.tostring(record)])
            for tag in found - read:
                part = copy.deepcopy(record)
                for child in part.findall(tag):
                    part.remove(child)
                read |= {tag} if parse(record_type, [etree.tostring(part)]) != whole else set()
    return tags - read


def test_the_elements_that_are_not_in_the_graph_are_named(tmp_path: Path) -> None:
    dumps: dict[RecordType, list[Path]] = {
        each: [SAMPLE / f"discogs_20200806_{each}.xml.gz"] for each in RecordType
    }
    for oddity in handmade(tmp_path):
        dumps[RecordType(oddity.record_type)].append(oddity.path)
    section = _text("docs/reference/graph.md").partition("## What is not in the graph\n")[2]
    unread = set().union(*(_unread(record_type, paths) for record_type, paths in dumps.items()))
    made_up = {"nested", "release"}
    assert set(re.findall("`(.+?)`", section)) == unread - made_up, "mend docs/reference/graph.md"


def test_the_main_artists_of_the_sample_have_ids_as_the_page_says() -> None:
    ids = [
        (artist.findtext("id") or "").strip()
        for each in ("masters", "releases")
        for artist in etree.parse(SAMPLE / f"discogs_20200806_{each}.xml.gz").iterfind("*/artists/artist")
    ]
    assert not {"", "0"} & set(ids)
    assert f"none of the {len(ids):,} main artists" in _text("docs/reference/graph.md")


def test_the_query_in_the_picture_is_the_demos() -> None:
    assert QUERY in _text("README.md")


def test_the_counts_of_the_demo_are_those_of_the_sample() -> None:
    graph = expected_graph(sorted(SAMPLE.glob("*.xml.gz")))
    counts = Counter(label for label, _ in graph.nodes)
    for (kind, _, _), each in graph.relationships.items():
        counts[kind] += len(each)
    section = _text("README.md").partition("nodes: ")[2].partition("•")[0]
    shown = re.findall(r"(\d[\d,]*)\s(\w+)", section)
    assert {name: int(number.replace(",", "")) for number, name in shown} == counts, "mend README.md"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text("Makefile"), re.MULTILINE))
    named = {name for text in PAGES.values() for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", text)}
    assert named - targets == set()


def test_the_files_that_pages_name_exist() -> None:
    named = {(page, path) for page, text in PAGES.items() for path in PATH.findall(text)}
    assert sorted(f"{page}: {path}" for page, path in named if not (ROOT / path).exists()) == []


def test_the_tests_that_faults_names_exist_and_every_test_of_a_fault_is_named() -> None:
    named = set(re.findall(r"`(test_\w+)`", _text("docs/reference/faults.md")))
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    tests = {name for text in texts.values() for name in re.findall(r"def (test_\w+)\(", text)}
    folder = ROOT / "tests" / "acceptance" / "faults"
    of_faults = [
        name for path in folder.glob("test_*.py") for name in re.findall(r"def (test_\w+)\(", texts[path])
    ]
    assert sorted(named - tests) == []
    assert sorted(set(of_faults) - named) == []


def test_relative_links_lead_somewhere() -> None:
    lost = []
    for page, text in PAGES.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            is_there = "://" in link or (target.exists() and (not anchor or anchor in _anchors(target)))
            if not is_there:
                lost.append(f"{page}: {link}")
    assert lost == []

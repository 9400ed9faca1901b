"""The documentation agrees with the code."""

import re
from pathlib import Path

import pytest

from ops.commands.demo import QUERY
from pipeline.graph.schema import SCHEMA
from pipeline.model import NODES, RELATIONSHIP_TYPES
from tests.checks.docs import ROOT, pages, render
from workers.app import QUEUES

PAGES = pages()
PATH = re.compile(r"`((?:pipeline|workers|ops|tests|docs)/[\w./-]+)`")


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _table(text: str, heading: str) -> str:
    """The table whose first column has this heading."""
    return text.partition(f"| {heading} |")[2].partition("\n\n")[0]


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_generated_parts_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == render(text), "run `make docs`"


def test_labels_and_relationship_types_are_those_of_the_graph() -> None:
    page = _text("docs/reference/graph.md")
    assert set(re.findall(r"`([A-Z]\w+)`", _table(page, "node"))) == set(NODES)
    assert set(re.findall(r"\[:(\w+)\]", _table(page, "relationship"))) == set(RELATIONSHIP_TYPES)


def test_full_text_indexes_are_those_of_the_schema() -> None:
    made = {name for name, text in SCHEMA.items() if "FULLTEXT" in text}
    assert set(re.findall(r"\b\w+_text\b", _text("docs/reference/graph.md"))) == made


def test_the_query_in_the_picture_is_the_demos() -> None:
    assert QUERY in _text("README.md")


def test_a_worker_started_by_hand_serves_the_queues_of_the_stacks_workers() -> None:
    assert f"-Q {','.join(QUEUES)} " in _text("docs/howto/several-machines.md")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", _text(page))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_it_names_exist(page: Path) -> None:
    named = PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    lost = []
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert lost == []

"""The README, the glossary and the diagram say what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import click
import pytest

from ops.cli import main
from ops.commands.demo import QUERY
from ops.exit_codes import exit_code_table
from pipeline.graph.cypher import statements
from pipeline.graph.summary import NODE_LABELS, RELATIONSHIP_TYPES
from workers.app import QUEUES
from workers.settings import settings_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
DIAGRAM = (ROOT / "docs" / "images" / "how-it-works.svg").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def _commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            sub = command.get_command(context, each)
            assert sub is not None
            yield from _commands(sub, f"{name} {each}")
    else:
        yield name, command


def _table(heading: str) -> str:
    """The table of the README whose first column has this heading."""
    return README.partition(f"| {heading} |")[2].partition("\n\n")[0]


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_settings_are_those_of_the_code() -> None:
    shown = re.search(r"<!-- settings: .+? -->\n(.*?)\n<!-- /settings -->", README, re.DOTALL)
    assert shown is not None
    assert shown[1] == settings_table(), "paste what `python -m workers.settings` prints"


@pytest.mark.parametrize(("name", "command"), [*_commands(main, "graphinator")])
def test_every_command_is_named_with_its_options(name: str, command: click.Command) -> None:
    rows = [row for row in _table("command").splitlines() if row.startswith((f"| `{name}`", f"| `{name} "))]
    assert len(rows) == 1
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    # --yes, of a confirmation, is click's own.
    missing = [option.opts[0] for option in options if not option.prompt and option.opts[0] not in rows[0]]
    assert missing == []


def test_no_command_is_named_that_does_not_exist() -> None:
    named = set(re.findall(r"`(graphinator [a-z ]+[a-z])\b", _table("command")))
    assert named == {name for name, _ in _commands(main, "graphinator")}


def test_the_table_of_exit_codes_is_that_of_the_command() -> None:
    assert exit_code_table() in README


def test_labels_and_relationship_types_are_those_of_the_graph() -> None:
    assert set(re.findall(r"`([A-Z]\w+)`", _table("node"))) == set(NODE_LABELS)
    assert set(re.findall(r"\[:(\w+)\]", _table("relationship"))) == set(RELATIONSHIP_TYPES)


def test_full_text_indexes_are_those_of_the_schema() -> None:
    made = {name for text in statements("schema") for name in re.findall(r"FULLTEXT INDEX (\w+)", text)}
    assert set(re.findall(r"\b\w+_text\b", README)) == made


def test_the_query_in_the_picture_is_the_demos() -> None:
    assert QUERY in README


def test_a_worker_started_by_hand_serves_the_queues_of_the_stacks_workers() -> None:
    assert f"-Q {','.join(QUEUES)} " in README


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", README)) <= targets


def test_the_folders_that_it_explains_exist() -> None:
    folders = re.findall(r"^\| `([\w/]+)/` \|", README, re.MULTILINE)
    assert folders
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_the_tests_that_faults_names_exist_and_every_test_of_a_fault_is_named() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")))
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


def test_the_diagram_names_modules_that_exist() -> None:
    named: list[str] = []
    for line in re.findall(r'class="file"[^>]*>([^<]*/[^<]*)<', DIAGRAM):
        first, *others = line.split(" · ")
        folder = Path(first).parent
        named += [first, *(other if "/" in other else str(folder / other) for other in others)]
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:pipeline|workers|ops)\.[\w.]+)`", GLOSSARY))))
def test_the_glossary_names_things_that_exist(name: str) -> None:
    assert resolve_name(name) is not None

"""`python -m tests.checks.docs`: write the generated parts of the documentation again."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from ops.bench import report
from ops.cli import main
from ops.exit_codes import exit_code_table
from pipeline.graph.schema import SCHEMA, TEXT_INDEXES
from pipeline.model import DERIVED, NODES, RELATIONSHIPS, Kind, Property, RecordType, Relationship
from workers.metrics import metrics_table
from workers.settings import settings_table

ROOT = Path(__file__).parents[2]
PART = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def pages() -> list[Path]:
    """List the Markdown pages that people write."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def render(text: str) -> str:
    """Return a page's text with its generated parts as the code defines them."""
    return PART.sub(lambda part: f"{part[1]}{RENDERERS[part['name']]()}\n{part[3]}", text)


def commands() -> str:
    """Render every command with its help and its options."""
    return "\n\n".join(_command(name, command) for name, command in walk(main, "graphinator"))


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command under `command` that is not a group, with its full name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for each in command.list_commands(context):
        sub = command.get_command(context, each)
        assert sub is not None
        yield from walk(sub, f"{name} {each}")


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command)
    arguments = [
        parameter.make_metavar(context)
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    help_text = "\n".join(line.strip() for line in (command.help or "").splitlines())
    lines = [f"### {' '.join([name, *arguments])}", "", help_text.strip()]
    options = [option for option in command.params if isinstance(option, click.Option)]
    if options:
        lines += ["", "| option | |", "|---|---|"]
        names = ["`, `".join([*option.opts, *option.secondary_opts]) for option in options]
        lines += [f"| `{name}` | {option.help or ''} |" for name, option in zip(names, options, strict=True)]
    return "\n".join(lines)


def node_table() -> str:
    """Render the labels with their keys and properties as a Markdown table."""
    rows = [
        f"| `{node.label}` | `{node.key}` | {_code(each.name for each in node.properties)} |"
        for node in NODES.values()
    ]
    return "\n".join(["| node | key | properties |", "|---|---|---|", *rows])


def relationship_table() -> str:
    """Render the relationships with their properties as a Markdown table."""
    rows = []
    for each in (each for fields in RELATIONSHIPS.values() for each in fields.values()):
        if each.shared and each.incoming:
            continue  # the outgoing one describes it
        start, end = each.ends
        names = ("asserted_by_start", "asserted_by_end") if each.shared else (p.name for p in each.properties)
        rows.append(f"| `({start})-[:{each.type}]->({end})` | {_code(names)} | {each.description} |")
    rows += [f"| `({each.start})-[:{each.type}]->({each.end})` | | {each.description} |" for each in DERIVED]
    return "\n".join(["| relationship | properties | meaning |", "|---|---|---|", *rows])


def field_table() -> str:
    """Render the fields of dictionaries as a Markdown table."""
    kinds: dict[str, Callable[[Property | Relationship], bool]] = {
        "texts": lambda each: isinstance(each, Property) and each.kind is Kind.TEXT,
        "numbers": lambda each: (
            each.scalar if isinstance(each, Relationship) else not each.is_list and each.kind is not Kind.TEXT
        ),
        "lists of texts": lambda each: (
            each.is_key_only and not each.scalar if isinstance(each, Relationship) else each.is_list
        ),
        "lists of dictionaries": lambda each: isinstance(each, Relationship) and not each.is_key_only,
    }
    rows = []
    for record_type in RecordType:
        fields = {each.name: each for each in NODES[record_type.label].properties} | RELATIONSHIPS[
            record_type
        ]
        cells = [_code(name for name, each in fields.items() if fits(each)) for fits in kinds.values()]
        rows.append(f"| `{record_type}` | {' | '.join(cells)} |")
    return "\n".join([f"| record type | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|", *rows])


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def index_table() -> str:
    """Render the constraints and indexes of `pipeline.graph.schema` as a Markdown table."""
    kinds = {"CONSTRAINT": "unique", "INDEX": "range", "FULLTEXT": "full-text"}
    rows = []
    for name, text in (SCHEMA | TEXT_INDEXES).items():
        kind = next(kind for word, kind in kinds.items() if text.startswith(f"CREATE {word}"))
        label = name.partition("_")[0].capitalize()
        properties = _code(f"{label}.{each}" for each in re.findall(r"\bn\.(\w+)", text))
        rows.append(f"| `{name}` | {kind} | {properties} |")
    return "\n".join(["| name | kind | on |", "|---|---|---|", *rows])


RENDERERS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "dictionary fields": field_table,
    "exit codes": exit_code_table,
    "indexes": index_table,
    "metrics": metrics_table,
    "nodes": node_table,
    "relationships": relationship_table,
    "settings": settings_table,
    **report.PARTS,
}


def outdated() -> dict[Path, str]:
    """Return the generated files that are old, with their new text."""
    files = {page: render(page.read_text(encoding="utf-8")) for page in pages()} | report.images()
    return {
        path: text
        for path, text in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


if __name__ == "__main__":
    for path, text in outdated().items():
        path.write_text(text, encoding="utf-8")

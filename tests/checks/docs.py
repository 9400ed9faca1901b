"""`python -m tests.checks.docs`: write the generated parts of the documentation again."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from ops.cli import main
from ops.exit_codes import exit_code_table
from pipeline.graph.schema import SCHEMA
from pipeline.model import field_table, node_table, relationship_table
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
        lines += [f"| `{'`, `'.join(option.opts)}` | {option.help or ''} |" for option in options]
    return "\n".join(lines)


def index_table() -> str:
    """Render the constraints and indexes of `pipeline.graph.schema` as a Markdown table."""
    kinds = {"CONSTRAINT": "unique", "INDEX": "range", "FULLTEXT": "full-text"}
    rows = []
    for name, text in SCHEMA.items():
        kind = next(kind for word, kind in kinds.items() if text.startswith(f"CREATE {word}"))
        label = name.partition("_")[0].capitalize()
        rows.append(f"| `{name}` | {kind} | `{label}.{name.removesuffix('_text').partition('_')[2]}` |")
    return "\n".join(["| name | kind | on |", "|---|---|---|", *rows])


RENDERERS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "dictionary fields": field_table,
    "exit codes": exit_code_table,
    "indexes": index_table,
    "nodes": node_table,
    "relationships": relationship_table,
    "settings": settings_table,
}

if __name__ == "__main__":
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(render(text), encoding="utf-8")

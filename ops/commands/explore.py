"""`graphinator explore` and `graphinator browse`."""

import asyncio
import html
import os
import re
import shlex
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import click

from ops.commands.console import counted, plain_console, print_line, print_table
from ops.commands.context import Context, WholeNumber
from ops.exit_codes import ExitCode
from ops.extras import need
from ops.graph_picture import discogs_url, picture
from ops.pages import page
from ops.stack.state import NEO4J_DATABASE, read_endpoints
from pipeline.errors import GraphinatorError, StackError
from pipeline.graph.neighbourhood import Neighbourhood, Part, neighbourhood
from pipeline.graph.schema import missing_text_indexes
from pipeline.graph.search import INDEXES, Found, is_called, search
from workers.worker import open_driver

#: Labels by the word that stands for them on the command line.
_TYPES = {label.lower(): label for label in INDEXES}
#: Nodes in a list to choose from.
_LISTED = 20

#: A node by its type, and its id or name.
_REFERENCE = re.compile(
    r"(?P<type>artist|label|master|release):(?P<id>[0-9]{1,18})|person:(?P<name>.+)", re.DOTALL
)

_BODY = """<p>{about}; {nodes}</p>
<div id="graph" class="plot" style="touch-action: none; user-select: none"></div>
<p class="faint">{parts} Of each node beside it, up to eight relationships to others are shown.
Drag nodes or the background. Zoom with the wheel or two fingers, go back with a double click. A click on a release,
master, artist or label opens its page on Discogs.</p>
<h2>The query</h2>
<p>It returns this graph in Neo4j Browser. <button type="button" onclick="
navigator.clipboard.writeText(document.getElementById('cypher').textContent).then(() => this.textContent = 'Copied')
">Copy</button></p>
<pre id="cypher">{cypher}</pre>"""


@click.command(short_help="Draw the graph around an artist, release or other node.")
@click.argument("words", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--type", "type_", type=click.Choice([*_TYPES]), help="Search only nodes of this type.  [default: all]"
)
@click.option(
    "--limit",
    default=25,
    show_default=True,
    type=WholeNumber(1, 500),
    help="Relationships of the node that are shown, of each type and direction.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the page.  [default: by the node, such as label-5.html, in this folder]",
)
@click.pass_context
def explore(
    ctx: click.Context, words: tuple[str, ...], type_: str | None, limit: int, output: Path | None
) -> None:
    """Find an artist, label, master, release or person, and draw the graph around it.

    NAME has some words of the name or title. If several nodes fit equally well, they are listed: choose one by its id,
    as in `graphinator explore artist:1`, or a person by its whole name, as in `person:Jeff Craven`.

    The page is one HTML file that needs no network. Its nodes can be dragged, its query can be copied.
    """
    need("pages")
    context: Context = ctx.obj
    name = " ".join(words).encode(errors="replace").decode()  # an argument may be no UTF-8
    part, others = asyncio.run(_find(context, name, [*_TYPES] if type_ is None else [type_], limit))
    if part is None:
        _print_choice(context, others)
        ctx.exit(ExitCode.FAILED)
    centre = part.nodes[0]
    path = Path(f"{_file_name(centre)}.html") if output is None else output
    path.write_text(page(centre.name, _body(part), {"graph": picture(part)}), encoding="utf-8")
    around = counted(len(part.nodes) - 1, "node")
    print_line(f"{path}: {centre.label} {centre.name} and {around} around it; open it in a browser")
    if others:
        print_line(f"other nodes of this name: {', '.join(map(_reference, others[:_LISTED]))}")


async def _find(
    context: Context, name: str, types: Sequence[str], limit: int
) -> tuple[Neighbourhood | None, list[Found]]:
    """Return the neighbourhood of the node that fits best, and other nodes that fit.

    Return no neighbourhood if several fit equally well.
    """
    async with open_driver(context.connected()) as driver:
        others: list[Found] = []
        if chosen := _REFERENCE.fullmatch(name):
            label = _TYPES[chosen["type"] or "person"]
            key: int | str = chosen["name"] or int(chosen["id"])
        else:
            labels = [_TYPES[each] for each in types]
            missing = set(await missing_text_indexes(driver)) & {INDEXES[label] for label in labels}
            if missing:
                create = f"`{context.command('finish')}` creates them"
                raise GraphinatorError(
                    f"full-text indexes are missing: {', '.join(sorted(missing))}; {create}"
                )
            found = await search(driver, name, labels)
            if not found:
                raise GraphinatorError(f"no name in the graph is like “{name}”")
            first, *others = found
            if others and not (is_called(first, name) and first.releases > others[0].releases):
                return None, found
            label, key = first.label, first.key
        part = await neighbourhood(driver, label, key, limit)
        if part is None:
            raise GraphinatorError(f"the graph has no {label} {key}")
        return part, others


def _reference(node: Found) -> str:
    return f"{node.label.lower()}:{node.key}"


def _file_name(node: Found) -> str:
    return re.sub(r"[\W_]+", "-", _reference(node).lower())[:60].strip("-")


def _print_choice(context: Context, found: Sequence[Found]) -> None:
    """Print a table of nodes, and how to choose one."""
    rows = [((_reference(each), each.name), (each.releases,)) for each in found[:_LISTED]]
    print_table(plain_console(), ("node", "name", "releases"), rows)
    if len(found) > _LISTED:
        print_line(f"… and {len(found) - _LISTED:,} more: more words of the name, or --type, leave fewer")
    example = shlex.quote(_reference(found[0]))
    print_line(f"choose one, as in `{context.command(f'explore {example}')}`", stderr=True)


def _body(part: Neighbourhood) -> str:
    """Return the HTML around the picture."""
    centre = part.nodes[0]
    url = discogs_url(centre)
    left_out = [_shown(each, centre.name) for each in part.parts if each.shown < each.total]
    return _BODY.format(
        about=centre.label
        if url is None
        else f'<a href="{url}" target="_blank">{centre.label} {centre.key} on Discogs</a>',
        nodes=f"{counted(len(part.nodes), 'node')}, {counted(len(part.links), 'relationship')}",
        parts=html.escape(" ".join(left_out or [f"All relationships of {centre.name} are shown."])),
        cypher=html.escape(part.cypher),
    )


def _shown(part: Part, name: str) -> str:
    return f"{part.shown:,} of {part.total:,} relationships {part.type} {'to' if part.incoming else 'from'} {name} are shown."


@click.command(short_help="Open Neo4j Browser for the graph of the stack.")
@click.pass_obj
def browse(context: Context) -> None:
    """Print the address of Neo4j Browser of the embedded stack, and open it.

    In a pipe, or where no window can be opened, the address is only printed. Neo4j Browser asks for the password; the
    rest of its form is filled in.
    """
    endpoints = read_endpoints(context.settings.home)
    if endpoints is None:
        raise StackError(f"the stack is not running; start it with `{context.command('up')}`")
    server = f"bolt://{endpoints.neo4j_user}@{urlsplit(endpoints.neo4j_uri).netloc}"
    url = f"{endpoints.browser}?{urlencode({'dbms': server, 'db': NEO4J_DATABASE})}"
    print_line(f"Neo4j Browser  {url}")
    print_line(f"password       {shlex.join(['cat', str(endpoints.password_file)])}")
    if sys.stdout.isatty() and _has_windows():
        webbrowser.open(url)


def _has_windows() -> bool:
    """Return True unless the only browsers would be those of a terminal."""
    return sys.platform == "darwin" or any(map(os.environ.get, ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")))

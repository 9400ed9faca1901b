"""The recipes in CONTRIBUTING, whose code blocks are applied to a copy of the package."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.graph.driver import Driver
from pipeline.model import NODES, RELATIONSHIPS, RecordType
from tests.conftest import Neo4jServer

ROOT = Path(__file__).parents[2]
#: Writes three versions of a release and removes it; prints row, verification and graph after each.
SCRIPT = """
import asyncio, json, os
from pipeline.chunk import Chunk
from pipeline.graph.driver import Driver
from pipeline.graph.summary import relationship_counts
from pipeline.graph.verify import Verification
from pipeline.graph.writer import remove_records, write_records
from pipeline.model import RecordType
from pipeline.records.accept import accept
from pipeline.records.normalise import normalise

FIRST = '''<release id="1"><videos><video src="v1"/><video src="v2"/><video src="v1"/></videos><formats>
<format name="Vinyl" qty="2"><descriptions><description>LP</description><description>Album</description></descriptions></format>
<format name="Vinyl" qty="2"><descriptions><description>Album</description><description>Mono</description></descriptions></format>
<format name="Vinyl" qty="1"><descriptions/></format>
<format name="CD" qty="1"/>
<format name="" qty="1"/>
</formats></release>'''
SECOND = {"id": 1, "videos": ["v2"], "media": [
    {"name": "Vinyl", "quantity": 1, "descriptions": ["7\\""]},
    {"name": "File"},
]}
GRAPH = '''MATCH (n) OPTIONAL MATCH (n)-[r:ISSUED_AS]->(end)
WITH n, r, end ORDER BY labels(n), n.id, n.name, end.name, r.quantity
RETURN collect([labels(n)[0], coalesce(n.id, n.name), n.videos, end.name, r.quantity, r.descriptions]) AS all'''

async def main():
    async with Driver(os.environ["URI"], "neo4j", os.environ["PASSWORD"]) as driver:
        async def graph():
            async with await driver.session(database="neo4j") as session:
                return (await (await session.run(GRAPH)).single())["all"]
        for value in (FIRST, SECOND):
            accepted = accept(RecordType.RELEASES, value)
            chunk = Chunk(RecordType.RELEASES, [0], [accepted.id], [accepted.raw])
            (row,), _ = normalise(chunk)
            await write_records(driver, RecordType.RELEASES, [row])
            verification = Verification(RecordType.RELEASES)
            verification.compare(chunk, await verification.read(driver, chunk))
            differs = (await verification.differences(driver)).any
            print(json.dumps({"row": row, "differs": differs, "graph": await graph()}))
        count = (await relationship_counts(driver))["ISSUED_AS"]
        await remove_records(driver, RecordType.RELEASES, [1])
        print(json.dumps({"count": count, "graph": await graph()}))

asyncio.run(main())
"""


def follow_recipes(package: Path) -> None:
    """Apply the code blocks of both recipes to a copy of the package."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipes = page[page.index("## A new property") : page.index("## Words")]
    property_, node, relationship, function = re.findall(r"```python\n(.*?)```", recipes, re.DOTALL)
    model = (package / "model.py").read_text(encoding="utf-8")
    for before, after in (
        ('Property("notes"', f"{property_.rstrip()},\n" + 'Property("notes"'),
        ('Node("Genre"', f"{node.rstrip()},\n" + 'Node("Genre"'),
        ("_ALL = (\n", f"_ALL = (\n{relationship.rstrip()},\n"),
        ("from pipeline.elements import (", "from pipeline.elements import (\n    media,"),
    ):
        assert model.count(before) == 1
        model = model.replace(before, after)
    (package / "model.py").write_text(model, encoding="utf-8")
    with (package / "elements.py").open("a", encoding="utf-8") as elements:
        elements.write("\n\n" + function)


async def test_a_property_and_a_relationship_need_no_more_than_the_recipes(
    tmp_path: Path, driver: Driver, neo4j_server: Neo4jServer
) -> None:
    there = {each.name for each in NODES["Release"].properties} | RELATIONSHIPS[RecordType.RELEASES].keys()
    for example in ("videos", "media"):
        assert example not in there, f"the graph has {example} now: choose another example in CONTRIBUTING.md"
    package = tmp_path / "pipeline"
    shutil.copytree(ROOT / "pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    follow_recipes(package)
    found = [json.loads(line) for line in (await asyncio.to_thread(run, tmp_path, neo4j_server)).splitlines()]
    row = found[0]["row"]
    assert row["properties"]["videos"] == ["v1", "v2"]
    assert row["assertions"] == [
        ["media", "Vinyl", [2, ["LP", "Album", "Mono"]]],
        ["media", "Vinyl", [1, None]],
        ["media", "CD", [1, None]],
    ]
    assert [each.get("differs") for each in found] == [False, False, None]
    assert found[0]["graph"] == [
        ["Format", "CD", None, None, None, None],
        ["Format", "Vinyl", None, None, None, None],
        ["Release", 1, ["v1", "v2"], "CD", 1, None],
        ["Release", 1, ["v1", "v2"], "Vinyl", 1, None],
        ["Release", 1, ["v1", "v2"], "Vinyl", 2, ["LP", "Album", "Mono"]],
    ]
    assert found[1]["graph"] == [
        ["Format", "File", None, None, None, None],
        ["Format", "Vinyl", None, None, None, None],
        ["Release", 1, ["v2"], "File", None, None],
        ["Release", 1, ["v2"], "Vinyl", 1, ['7"']],
    ]
    assert found[2] == {"count": 2, "graph": []}


def run(folder: Path, server: Neo4jServer) -> str:
    """Run the script with the copy of the package, in a process of its own."""
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env=environment | {"URI": server.uri, "PASSWORD": server.password},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout

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

FIRST = '''<release id="1"><videos><video src="v1"/><video src="v2"/><video src="v1"/></videos><companies>
<company><id>5</id><name>Pressing Co</name><catno>P 1</catno><entity_type_name>Pressed By</entity_type_name></company>
<company><id>5</id><name>Pressing Co</name><catno>P 1</catno><entity_type_name>Pressed By</entity_type_name></company>
<company><id>5</id><name>Pressing Co</name><catno>P 2</catno><entity_type_name>Pressed By</entity_type_name></company>
<company><id>6</id><name>Studio</name><catno/><entity_type_name>Recorded At</entity_type_name></company>
<company><id>0</id><name>Nobody</name><entity_type_name>Printed By</entity_type_name></company>
</companies></release>'''
SECOND = {"id": 1, "videos": ["v2"], "companies": [
    {"id": 5, "name": "Pressing Co", "role": "Pressed By", "catalog_number": "P 2"},
    {"id": 7, "role": "Printed By"},
]}
GRAPH = '''MATCH (n) OPTIONAL MATCH (n)-[r:INVOLVES]->(end)
WITH n, r, end ORDER BY labels(n), n.id, end.id, r.catalog_number
RETURN collect([labels(n)[0], n.id, n.name, n.videos, type(r), end.id, r.role, r.catalog_number]) AS all'''

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
            await verification.check(driver, chunk)
            differs = (await verification.differences(driver)).any
            print(json.dumps({"row": row, "differs": differs, "graph": await graph()}))
        count = (await relationship_counts(driver))["INVOLVES"]
        await remove_records(driver, RecordType.RELEASES, [1])
        print(json.dumps({"count": count, "graph": await graph()}))

asyncio.run(main())
"""


def follow_recipes(package: Path) -> None:
    """Apply the code blocks of both recipes to a copy of the package."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipes = page[page.index("## A new property") : page.index("## Words")]
    property_, relationship, function = re.findall(r"```python\n(.*?)```", recipes, re.DOTALL)
    model = (package / "model.py").read_text(encoding="utf-8")
    for before, after in (
        ('Property("notes"', f"{property_.rstrip()},\n" + 'Property("notes"'),
        ("_ALL = (\n", f"_ALL = (\n{relationship.rstrip()},\n"),
        (
            "from pipeline.elements import",
            "from pipeline.elements import companies\nfrom pipeline.elements import",
        ),
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
    for example in ("videos", "companies"):
        assert example not in there, f"the graph has {example} now: choose another example in CONTRIBUTING.md"
    package = tmp_path / "pipeline"
    shutil.copytree(ROOT / "pipeline", package, ignore=shutil.ignore_patterns("__pycache__"))
    follow_recipes(package)
    found = [json.loads(line) for line in (await asyncio.to_thread(run, tmp_path, neo4j_server)).splitlines()]
    row = found[0]["row"]
    assert row["properties"]["videos"] == ["v1", "v2"]
    assert row["assertions"] == [
        ["companies", 5, ["Pressed By", "P 1"]],
        ["companies", 5, ["Pressed By", "P 2"]],
        ["companies", 6, ["Recorded At", None]],
    ]
    assert [each.get("differs") for each in found] == [False, False, None]
    assert found[0]["graph"] == [
        ["Label", 5, "Pressing Co", None, None, None, None, None],
        ["Label", 6, "Studio", None, None, None, None, None],
        ["Release", 1, None, ["v1", "v2"], "INVOLVES", 5, "Pressed By", "P 1"],
        ["Release", 1, None, ["v1", "v2"], "INVOLVES", 5, "Pressed By", "P 2"],
        ["Release", 1, None, ["v1", "v2"], "INVOLVES", 6, "Recorded At", None],
    ]
    assert found[1]["graph"] == [
        ["Label", 5, "Pressing Co", None, None, None, None, None],
        ["Label", 7, None, None, None, None, None, None],
        ["Release", 1, None, ["v2"], "INVOLVES", 5, "Pressed By", "P 2"],
        ["Release", 1, None, ["v2"], "INVOLVES", 7, "Printed By", None],
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

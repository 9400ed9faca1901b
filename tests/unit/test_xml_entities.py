"""No entity is expanded and no other file read, in dumps and in upstream records."""

import gzip
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from pipeline.errors import DumpError
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.records.accept import Refused, accept
from pipeline.records.parse import Malformed, parse

# Ten levels of ten: expanded, these would be 20 GB of laughter.
LAUGHS = "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 10 if level else "ha"}">\n' for level in range(11))
# One level of a hundred thousand references to a hundred thousand bytes: 10 GB without any nesting.
BLOWUP = f'<!ENTITY a "{"x" * 100_000}"><!ENTITY a10 "{"&a;" * 100_000}">'
DOCTYPES = {
    "billion laughs": f"<!DOCTYPE labels [\n{LAUGHS}]>",
    "quadratic blowup": f"<!DOCTYPE labels [{BLOWUP}]>",
    "a file": '<!DOCTYPE labels [<!ENTITY a10 SYSTEM "file:///etc/passwd">]>',
    "the network": '<!DOCTYPE labels [<!ENTITY a10 SYSTEM "http://127.0.0.1:9/x">]>',
    "a parameter entity": '<!DOCTYPE labels [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>',
    "an external subset": '<!DOCTYPE labels SYSTEM "http://127.0.0.1:9/labels.dtd">',
    "a public one": '<!DOCTYPE labels PUBLIC "-//x" "file:///etc/passwd">',
    "one without an end": "<!DOCTYPE labels [ <!ENTITY a10 '",
    "one in small letters": "<!doctype labels []>",
    "none of its own": "<!DOCTYPE labels>",
}
LABEL = "<label><id>1</id><name>Svek &a10;</name></label>"
GOOD = "<label><id>2</id><name>&#83;vek &amp; &lt;</name></label>"

PEAK = """
import resource, sys
from pathlib import Path
from pipeline.model import RecordType
from pipeline.records.parse import parse

status = Path("/proc/self/status")
raw = Path(sys.argv[1]).read_bytes()
(record,) = parse(RecordType.LABELS, [raw])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
if status.exists():
    peak = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
print(type(record).__name__, peak)
"""


def write(folder: Path, xml: str, *, zipped: bool = False) -> Path:
    path = folder / "dump.xml"
    path.write_bytes(gzip.compress(xml.encode()) if zipped else xml.encode())
    return path


DECLARATION = "<?xml version='1.0' encoding='UTF-8'?>\n<!-- a comment -->\n"


def test_a_dump_with_a_doctype_is_refused_in_one_line(tmp_path: Path) -> None:
    for doctype, (zipped, before) in product(DOCTYPES.values(), [(True, ""), (False, DECLARATION)]):
        path = write(tmp_path, f"{before}{doctype}\n<labels>\n{LABEL}\n{GOOD}\n</labels>", zipped=zipped)
        with pytest.raises(DumpError) as raised:
            open_dump(path, block_bytes=100)
        place = f" (at byte {len(before):,} of the XML)" if before else ""
        assert str(raised.value) == f"{path}: the file has a DOCTYPE, but a dump has none{place}"


def test_a_doctype_further_on_defines_nothing(tmp_path: Path) -> None:
    layouts = ["\n{0}\n{1}\n{2}\n", "\n{1}\n{0}\n{2}\n", "\n<label>{0}{1}</label>\n{2}\n"]
    for doctype, layout in product(DOCTYPES.values(), layouts):
        path = write(tmp_path, f"<labels>{layout.format(doctype, LABEL, GOOD)}</labels>")
        with open_dump(path) as dump:
            (chunk,) = dump.chunks(10, 1 << 20)
        outcomes = parse(RecordType.LABELS, chunk.records)
        good = [outcome for outcome in outcomes if not isinstance(outcome, Malformed)]
        reasons = [
            *(outcome.reason for outcome in outcomes if isinstance(outcome, Malformed)),
            *(each.reason for each in chunk.rejected),
        ]
        assert [row["properties"] for row in good] == [{"id": 2, "name": "Svek & <"}]
        assert reasons
        assert all("\n" not in reason and "root:" not in reason and len(reason) < 200 for reason in reasons)


@pytest.mark.parametrize("name", ["a10", "nbsp", "xxe", "amp1"])
def test_a_reference_to_an_entity_that_xml_does_not_have_spoils_its_record(name: str) -> None:
    label = LABEL.replace("&a10;", f"&{name};")
    (outcome,) = parse(RecordType.LABELS, [label.encode()])
    assert outcome == Malformed(f"line 1, column {label.index(';') + 2}: Entity '{name}' not defined")


def test_a_record_of_an_upstream_task_with_a_doctype_is_refused() -> None:
    layouts = ["{0}{1}", "<label>{0}<id>1</id>&a10;</label>", "{1}{0}"]
    for doctype, layout in product(DOCTYPES.values(), layouts):
        refused = accept(RecordType.LABELS, layout.format(doctype, LABEL))
        assert isinstance(refused, Refused)
        assert refused.reason.startswith("line ")
        assert "\n" not in refused.reason
        assert "root:" not in refused.reason
        assert len(refused.reason) < 200


def test_a_reference_in_a_dictionary_is_only_text() -> None:
    (outcome,) = parse(RecordType.LABELS, [accept(RecordType.LABELS, {"id": 1, "name": "&a10;"}).raw])
    assert not isinstance(outcome, Malformed)
    assert outcome["properties"]["name"] == "&a10;"


@pytest.mark.parametrize("name", ["billion laughs", "quadratic blowup", "a file", "the network"])
def test_nothing_is_expanded_on_the_way_to_that(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, DOCTYPES[name] + LABEL)
    result = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    outcome, peak = result.stdout.split()
    assert outcome == "Malformed"
    assert int(peak) < 100_000_000

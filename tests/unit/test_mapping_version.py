"""A change of the mapping must raise MAPPING_VERSION: without it, old nodes pass for unchanged."""

import hashlib
import json

from ops.commands.demo import SAMPLE
from pipeline.model import MAPPING_VERSION
from pipeline.reader.dump import open_dump
from pipeline.records.normalise import fingerprint
from pipeline.records.parse import Malformed, parse
from tests.integration.rows import by_field

#: MAPPING_VERSION with the SHA-256 of the sample's rows.
GOLDEN = {3: "1372d44010a2c6af8e231a4b276ed4ff0480261927309ee0e9e7f779c54cd948"}

HINT = (
    "the rows of the sample dumps or MAPPING_VERSION have changed. If the same record now becomes other nodes, properties "
    "or relationships, raise MAPPING_VERSION, unless that has been done since the last release (see CHANGELOG.md); then replace GOLDEN "
    "by {golden}"
)


def test_rows_of_the_sample_change_only_with_the_mapping_version() -> None:
    digest = hashlib.sha256()
    for path in sorted(SAMPLE.glob("*.xml.gz")):
        with open_dump(path) as dump:
            for chunk in dump.chunks(1000, 1 << 30):
                for raw, row in zip(chunk.records, parse(dump.record_type, chunk.records), strict=True):
                    assert not isinstance(row, Malformed)
                    row["properties"]["fingerprint"] = fingerprint(dump.record_type, raw)
                    digest.update(json.dumps(by_field(dump.record_type, row), sort_keys=True).encode())
    golden = {MAPPING_VERSION: digest.hexdigest()}
    assert golden == GOLDEN, HINT.format(golden=golden)

"""`graphinator schema`."""

import json
from typing import Any

import click
import msgspec

from pipeline.model import RecordType
from pipeline.records.dictionaries import TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@click.command(short_help="Print the JSON Schema of upstream records.")
@click.argument(
    "record_type", metavar="[TYPE]", required=False, type=click.Choice([each.value for each in RecordType])
)
def schema(record_type: str | None) -> None:
    """Print the JSON Schema of the records that upstream tasks hand over as dictionaries.

    TYPE is artists, labels, masters or releases. Without it, this is the schema of the keyword arguments of
    graphinator.ingest.
    """
    printed = call_schema() if record_type is None else record_schema(RecordType(record_type))
    click.echo(json.dumps(printed, indent=2))


def record_schema(record_type: RecordType) -> dict[str, Any]:
    """Return the schema of a dictionary of this type."""
    (dictionary,), definitions = _components([record_type])
    return {"$schema": DIALECT, **dictionary, "$defs": definitions}


def call_schema() -> dict[str, Any]:
    """Return the schema of a call's arguments."""
    dictionaries, definitions = _components([*RecordType])
    calls = [
        _call(record_type, dictionary)
        for record_type, dictionary in zip(RecordType, dictionaries, strict=True)
    ]
    return {"$schema": DIALECT, "anyOf": calls, "$defs": definitions}


def _call(record_type: RecordType, dictionary: dict[str, Any]) -> dict[str, Any]:
    xml = {"type": "string", "description": f"the XML of one {record_type.element}, as in a dump"}
    return {
        "type": "object",
        "properties": {
            "record_type": {"const": record_type.value},
            "records": {"type": "array", "items": {"anyOf": [xml, dictionary]}},
            "strict": {"type": "boolean", "default": True, "description": "fail if a record is refused"},
        },
        "required": ["record_type", "records"],
        "additionalProperties": False,
    }


def _components(record_types: list[RecordType]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    types = [TYPES[record_type] for record_type in record_types]
    return msgspec.json.schema_components(types, ref_template="#/$defs/{name}")

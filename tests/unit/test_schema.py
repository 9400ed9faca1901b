"""`graphinator schema`: its schema accepts what `graphinator.ingest` accepts, and nothing else."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from ops.cli import main
from pipeline.model import RELATIONSHIPS, RecordType
from pipeline.records.accept import Accepted, RecordsRefused, accept, arguments
from tests.unit.test_dictionaries import DICTIONARIES, REFUSED, SURROGATES, XML

#: Values of every JSON type, and numbers around the limits. JSON Schema takes 1.0 for an integer, unlike `ingest`.
VALUES = [None, True, "", "1", -1, 0, 1, (1 << 63) - 1, 1 << 63, 1.5, [], ["x"], [1], [None], {}, {"id": 1}]


def printed(*arguments: str) -> Draft202012Validator:
    """Return the schema that the command prints."""
    ended = CliRunner().invoke(main, ["schema", *arguments])
    assert ended.exit_code == 0, ended.output
    schema = json.loads(ended.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in lists and dictionaries, as container and key."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def changed(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the record with one value missing, changed, or beside an unknown field."""
    for number, _ in enumerate(places(record)):
        for value in [..., *VALUES]:
            other = copy.deepcopy(record)
            container, key = [*places(other)][number]
            if value is ...:
                del container[key]
            else:
                container[key] = value
            yield other
            if isinstance(container, dict):
                container["unknown"] = value if value is not ... else 1
                yield other


@pytest.mark.parametrize("record_type", RecordType)
def test_the_schema_of_a_dictionary_accepts_what_ingest_accepts(record_type: RecordType) -> None:
    schema = printed(record_type.value)
    full = {**DICTIONARIES[record_type], "data_quality": "Correct"}
    examples: list[Any] = [full, {"id": 1}, *(each for _, each, _ in REFUSED if isinstance(each, dict))]
    examples += [each for each, *_ in SURROGATES]
    examples = [each for each in examples if len(str(each)) < 10_000]  # a schema has no limit of length
    for record in [*examples, *changed(full)]:
        assert schema.is_valid(record) is isinstance(accept(record_type, record), Accepted), record


def test_the_schema_of_a_call_accepts_what_ingest_accepts() -> None:
    schema = printed()
    calls: list[dict[str, Any]] = [
        {"record_type": record_type, "records": [XML[record_type], record], "strict": strict}
        for record_type, record in DICTIONARIES.items()
        for strict in (True, False)
    ]
    for call in calls:
        assert schema.is_valid(call)
        del call["strict"]
        wrong: list[dict[str, Any]] = [{"record_type": "label"}, {"records": {}}, {"other": 1}]
        for each in (call, {"records": []}, *({**call, **change} for change in wrong)):
            assert schema.is_valid(each) is accepts(each), each
    wrong_record = {"record_type": "labels", "records": [DICTIONARIES[RecordType.ARTISTS]]}
    assert not schema.is_valid(wrong_record)


def accepts(call: dict[str, Any]) -> bool:
    """Return True for arguments that `ingest` takes."""
    try:
        arguments((), call)
    except RecordsRefused:
        return False
    return True


def test_every_field_of_the_schema_has_a_description() -> None:
    definitions = json.loads(CliRunner().invoke(main, ["schema"]).stdout)["$defs"]
    fields = [field for each in definitions.values() for field in each["properties"].values()]
    dictionaries = [
        each for fields in RELATIONSHIPS.values() for each in fields.values() if not each.is_key_only
    ]
    assert len(definitions) == len(RecordType) + len(dictionaries)
    assert all(field["description"] for field in fields)

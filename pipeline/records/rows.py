"""Rows from raw values; a row is plain dicts and lists."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.model import RELATIONSHIPS, RecordType, Relationship, Row


def to_row(
    record_type: RecordType,
    id_: int,
    properties: Iterable[tuple[str, Any]],
    values: Callable[[Relationship], Iterable[Any]],
) -> Row:
    """Return the row of a record.

    Empty properties are left out. `values` returns raw values of a relationship. Those that refer to nothing or to the
    record itself are dropped, repeated ones are merged.
    """
    row: Row = {
        "id": id_,
        "properties": {"id": id_, **{name: value for name, value in properties if value}},
    }
    for field, rule in _RULES[record_type].items():
        row[field] = rule.distinct(id_, values(rule.relationship))
    return row


@dataclass(frozen=True, slots=True)
class _Rule:
    """The way in which the values of one relationship become distinct."""

    relationship: Relationship
    key: str
    is_own: bool
    is_key_only: bool
    is_named: bool
    #: Properties that tell relationships to the same end apart.
    telling: tuple[str, ...]
    #: Properties whose lists are merged.
    lists: tuple[str, ...]
    required: tuple[str, ...]
    computed: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...]

    @classmethod
    def of(cls, relationship: Relationship) -> "_Rule":
        """Read the rule off the table."""
        properties = relationship.properties
        return cls(
            relationship,
            relationship.key,
            relationship.is_own,
            relationship.is_key_only,
            relationship.is_named,
            tuple(each.name for each in properties if not each.is_list and not each.computed),
            tuple(each.name for each in properties if each.is_list),
            tuple(each.name for each in properties if each.required),
            tuple((each.name, each.computed) for each in properties if each.computed),
        )

    def distinct(self, id_: int, values: Iterable[Any]) -> list[Any]:
        """Return the values that assert something, each once; the first name that is given counts."""
        own = id_ if self.is_own else None
        found = self._keys(own, values) if self.is_key_only else self._merged(own, values)
        return found[:1] if self.relationship.single else found

    @staticmethod
    def _keys(own: int | None, values: Iterable[Any]) -> list[Any]:
        return [each for each in dict.fromkeys(values) if each is not None and each != own]

    def _merged(self, own: int | None, values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        key, merged = self.key, dict[Any, dict[str, Any]]()
        for value in values:
            end = value[key]
            if end is None or end == own or (self.required and not all(map(value.get, self.required))):
                continue
            identity = (end, *map(value.get, self.telling)) if self.telling else end
            first = merged.setdefault(identity, value)
            if first is not value:
                self._merge(first, value)
        for value in merged.values() if self.computed else ():
            for name, compute in self.computed:
                value[name] = compute(value)
        return list(merged.values())

    def _merge(self, first: dict[str, Any], value: dict[str, Any]) -> None:
        if self.is_named:
            first["name"] = first["name"] or value["name"]
        for name in self.lists:
            first[name] = list(dict.fromkeys([*first[name], *value[name]]))


_RULES = {
    record_type: {field: _Rule.of(relationship) for field, relationship in relationships.items()}
    for record_type, relationships in RELATIONSHIPS.items()
}

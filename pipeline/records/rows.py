"""Rows from raw values; a row is plain dicts, lists and tuples."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.model import RELATIONSHIPS, Assertion, RecordType, Relationship, Row


def to_row(
    record_type: RecordType,
    id_: int,
    properties: Iterable[tuple[str, Any]],
    values: Callable[[Relationship], Iterable[Any]],
) -> Row:
    """Return the row of a record.

    Empty properties are left out. `values` returns raw values of a relationship, as `pipeline.elements` describes them.
    Those that refer to nothing or to the record itself are dropped, repeated ones are merged.
    """
    row: Row = {
        "id": id_,
        "properties": {"id": id_, **{name: value for name, value in properties if value}},
        "assertions": [],
        "names": {},
    }
    for rule in _RULES[record_type]:
        rule.add(row, values(rule.relationship))
    return row


@dataclass(frozen=True, slots=True)
class _Rule:
    """The way in which the values of one relationship become assertions."""

    relationship: Relationship
    field: str
    is_own: bool
    is_single: bool
    is_key_only: bool
    is_named: bool
    #: Places of properties in a raw value: the first one, those with lists, those that are required.
    first: int
    lists: tuple[int, ...]
    required: tuple[int, ...]
    #: The place of each computed property, that of its source among the raw properties, and its function.
    computed: tuple[tuple[int, int, Callable[[Any], Any]], ...]

    @classmethod
    def of(cls, relationship: Relationship) -> "_Rule":
        """Read the rule off the table."""
        given = [each for each in relationship.properties if not each.computed]
        names = [each.name for each in given]
        first = 2 if relationship.is_named else 1
        return cls(
            relationship,
            relationship.field,
            relationship.is_own,
            relationship.single,
            relationship.is_key_only,
            relationship.is_named,
            first,
            tuple(place for place, each in enumerate(given) if each.is_list),
            tuple(place for place, each in enumerate(given, first) if each.required),
            tuple(
                (place, names.index(each.computed[0]), each.computed[1])
                for place, each in enumerate(relationship.properties)
                if each.computed
            ),
        )

    def add(self, row: Row, values: Iterable[Any]) -> None:
        """Add the assertions of these values.

        The first name that is given for an end counts.
        """
        own = row["id"] if self.is_own else None
        if self.is_key_only:
            keys = dict.fromkeys(values)
            found: list[Assertion] = [(self.field, key, ()) for key in keys if key is not None and key != own]
        else:
            names: dict[int, str] = {}
            found = self._merged(own, values, names)
            if self.is_single:
                names = {key: name for key, name in names.items() if key == found[0][1]}
            if names:
                row["names"][self.field] = names
        row["assertions"] += found[:1] if self.is_single else found

    def _merged(
        self, own: int | None, values: Iterable[tuple[Any, ...]], names: dict[int, str]
    ) -> list[Assertion]:
        merged: dict[Any, tuple[Any, ...]] = {}
        for value in values:
            key = value[0]
            if key is None or key == own:
                continue
            if self.required and not all(map(value.__getitem__, self.required)):
                continue
            if self.is_named and value[1] and key not in names:
                names[key] = value[1]
            properties = value[self.first :]
            if self.lists:
                self._merge(merged, key, properties)
            else:
                merged[key, properties] = properties
        if self.computed:
            return [(self.field, key, self._completed(found)) for (key, _), found in merged.items()]
        return [(self.field, key, found) for (key, _), found in merged.items()]

    def _completed(self, properties: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the properties with the computed ones in their places."""
        completed = properties
        for place, source, compute in self.computed:
            completed = (*completed[:place], compute(properties[source]), *completed[place:])
        return completed

    def _merge(self, merged: dict[Any, tuple[Any, ...]], key: Any, properties: tuple[Any, ...]) -> None:
        """Merge the lists of values whose other properties are the same."""
        end = (key, tuple([value for place, value in enumerate(properties) if place not in self.lists]))
        earlier, joined = merged.get(end), [*properties]
        for place in self.lists:
            texts = properties[place] if earlier is None else (*(earlier[place] or ()), *properties[place])
            joined[place] = tuple(dict.fromkeys(texts)) or None
        merged[end] = tuple(joined)


_RULES = {
    record_type: [_Rule.of(relationship) for relationship in relationships.values()]
    for record_type, relationships in RELATIONSHIPS.items()
}

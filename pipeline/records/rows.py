"""Rows from raw values; a row is plain dicts, lists and tuples."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pipeline.model import RELATIONSHIPS, Assertion, Kind, RecordType, Relationship, Row

_NO_DIGITS = re.compile("[^0-9]+")


def _distinct(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))


#: Makes a list of texts what its kind allows.
LISTS: dict[Kind, Callable[[Iterable[str | None]], list[str]]] = {
    Kind.TEXTS: _distinct,
    Kind.REPEATED_TEXTS: lambda texts: list(filter(None, texts)),
    Kind.ALL_TEXTS: lambda texts: [text or "" for text in texts],
    Kind.SORTED_TEXTS: lambda texts: sorted(set(filter(None, texts))),
    Kind.DIGITS: lambda texts: _distinct(_NO_DIGITS.sub("", text or "") for text in texts),
}


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
    #: Places of properties in a raw value: the first one, those that are required, those that are keys, the one that is
    #: the value's place.
    first: int
    required: tuple[int, ...]
    keys: tuple[int, ...]
    place: int | None
    #: The places of lists among the raw properties, each with its function.
    lists: tuple[tuple[int, Callable[[Iterable[str | None]], list[str]]], ...]
    #: The place of each computed property, those of its sources among the raw properties, and its function.
    computed: tuple[tuple[int, tuple[int, ...], Callable[..., Any]], ...]

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
            tuple(place for place, each in enumerate(given, first) if each.required),
            tuple(place for place, each in enumerate(given, first) if each.is_key),
            next((place for place, each in enumerate(given, first) if each.kind is Kind.PLACE), None),
            tuple((place, LISTS[each.kind]) for place, each in enumerate(given) if each.is_list),
            tuple(
                (place, tuple(map(names.index, each.computed[0])), each.computed[1])
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
        if self.relationship.split:
            values = chain.from_iterable(map(self.relationship.split, values))
        if self.place is not None:
            values = _placed(values, self.place)
        merged: dict[Any, list[tuple[Any, ...]]] = {}
        for value in values:
            key = value[0]
            if key is None or key == own:
                continue
            if self.required and not all(map(value.__getitem__, self.required)):
                continue
            if self.is_named and value[1] and key not in names:
                names[key] = value[1]
            end = (key, *map(value.__getitem__, self.keys)) if self.keys else key
            same = merged.get(end)
            if same is None:
                merged[end] = [value]
            elif self.lists:
                same.append(value)
        return [(self.field, same[0][0], self._completed(same)) for same in merged.values()]

    def _completed(self, values: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Return the first value's properties, with the lists of all, and the computed ones."""
        properties = values[0][self.first :]
        if not (self.lists or self.computed):
            return properties
        completed = [*properties]
        for place, listed in self.lists:
            texts = chain.from_iterable([value[self.first + place] for value in values])
            completed[place] = tuple(listed(texts)) or None
        for place, sources, compute in self.computed:
            completed.insert(place, compute(*[properties[source] for source in sources]))
        return tuple(completed)


def _placed(values: Iterable[tuple[Any, ...]], at: int) -> Iterator[tuple[Any, ...]]:
    """Fill in the place of each value, from 1, where none is given."""
    for place, value in enumerate(values, 1):
        yield (*value[:at], value[at] or place, *value[at + 1 :])


_RULES = {
    record_type: [_Rule.of(relationship) for relationship in relationships.values()]
    for record_type, relationships in RELATIONSHIPS.items()
}

"""Rows as parameters of the statements that write them: each node once, and relationships between places in lists."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pipeline.model import Row

Key = TypeVar("Key", int, str)


def own_ends(rows: Iterable[Row], keys: Iterable[str]) -> list[Row]:
    """The nodes of these records, and those of their type that they refer to under the given keys: sorted by id."""
    names: dict[int, str | None] = {row["id"]: None for row in rows}
    return _ends(names | _names(reference for row in rows for key in keys for reference in row[key]))


def shared_pairs(rows: Sequence[Row], *, outgoing: str, incoming: str) -> list[Row]:
    """The pairs that the rows assert, sorted, with the one row that does or None where both ends do.

    `both` says whether both ends are among the rows.
    """
    ids = {row["id"] for row in rows}
    sole: dict[tuple[int, int], int | None] = {}
    for row in rows:
        for pair in [(row["id"], ref["id"]) for ref in row[outgoing]] + [
            (ref["id"], row["id"]) for ref in row[incoming]
        ]:
            sole[pair] = None if pair in sole else row["id"]
    return [
        {"start": start, "end": end, "sole": sole[start, end], "both": start in ids and end in ids}
        for start, end in sorted(sole)
    ]


def record_parameters(rows: Sequence[Row], missing: Sequence[Row] | None = None) -> dict[str, list[Any]]:
    """What `write_records.cypher` takes for rows, distinct by id, of releases or of masters.

    `missing` are the same rows with only those relationships that the graph lacks, by default all: what a row refers to
    may have another name now, and what follows from it may be new, without a new relationship of its own.
    A relationship is a list: the places of its two ends in the lists of nodes, then its properties.
    """
    lacked = rows if missing is None else missing
    by = list(_each(lacked, "artists"))
    on = list(_each(lacked, "labels"))
    genres, styles = list(_each(lacked, "genres")), list(_each(lacked, "styles"))
    credited_on = list(_each(lacked, "credits"))
    derived_from = [(place, row["master"]) for place, row in enumerate(lacked) if row.get("master")]
    same_as = {(credit["name"], credit["artist_id"]) for _, credit in credited_on if credit["artist_id"]}
    part_of = {
        (style, row["genres"][0]) for row in rows if len(row["genres"]) == 1 for style in row["styles"]
    }

    artist_names = _names(artist for _, artist in _each(rows, "artists"))
    # In the order of the rows: that of a set is another one in each process, and so would be the name that stays.
    artist_names |= {
        credit["artist_id"]: credit["name"] for _, credit in _each(rows, "credits") if credit["artist_id"]
    }
    label_names = _names(label for _, label in _each(rows, "labels"))
    artist_at, label_at = _places(artist_names), _places(label_names)
    master_at = _places(master for _, master in derived_from)
    genre_at = _places([genre for _, genre in genres] + [genre for _, genre in part_of])
    style_at = _places([style for _, style in styles] + [style for style, _ in part_of])
    person_at = _places(credit["name"] for _, credit in credited_on)
    return {
        "records": [row["properties"] for row in rows],
        "artists": _ends(artist_names),
        "labels": _ends(label_names),
        "masters": list(master_at),
        "genres": list(genre_at),
        "styles": list(style_at),
        "persons": list(person_at),
        "by": [[place, artist_at[artist["id"]]] for place, artist in by],
        "on": [[place, label_at[label["id"]], label["catalog_numbers"] or None] for place, label in on],
        "derived_from": [[place, master_at[master]] for place, master in derived_from],
        "is_genre": [[place, genre_at[genre]] for place, genre in genres],
        "is_style": [[place, style_at[style]] for place, style in styles],
        "credited_on": [
            [person_at[credit["name"]], place, credit["role"], credit["category"], credit["artist_id"]]
            for place, credit in credited_on
        ],
        "same_as": sorted([person_at[name], artist_at[artist_id]] for name, artist_id in same_as),
        "part_of": sorted([style_at[style], genre_at[genre]] for style, genre in part_of),
    }


def _each(rows: Iterable[Row], key: str) -> Iterator[tuple[int, Any]]:
    """What the rows hold under a key, each with the place of its row."""
    return ((place, value) for place, row in enumerate(rows) for value in row.get(key, ()))


def _places(keys: Iterable[Key]) -> dict[Key, int]:
    """Distinct keys, sorted, each with its place."""
    return {key: place for place, key in enumerate(sorted(set(keys)))}


def _names(references: Iterable[Row]) -> dict[int, str | None]:
    """Names by id; of several the last one."""
    names: dict[int, str | None] = {}
    for reference in references:
        names[reference["id"]] = reference["name"] or names.get(reference["id"])
    return names


def _ends(names: dict[int, str | None]) -> list[Row]:
    return [{"id": id_, "name": names[id_]} for id_ in sorted(names)]

"""Records as parameters of a write: plain dicts and lists, for MessagePack and for Bolt."""

from typing import Any

from pipeline.model import Row
from pipeline.records.entities import Artist, Credit, Label, LabelReference, Master, Record, Reference
from pipeline.records.fingerprint import NAMES_INCOMING, NAMES_OUTGOING

#: The properties that a record of each label may have beside its id and fingerprint.
PROPERTIES = {
    "Artist": ("name", "real_name", "profile", "data_quality", "urls", "name_variations"),
    "Label": ("name", "contact_info", "profile", "data_quality", "urls"),
    "Master": ("title", "year", "data_quality", "main_release"),
    "Release": (
        "title", "year", "released", "country", "formats", "status", "data_quality", "notes",
    ),
}  # fmt: skip


def to_row(record: Record, fingerprint: int) -> Row:
    """The row of a record: its id, its node's properties, and what each relationship type refers to.

    `properties` holds `id`, every property that is not empty, and `fingerprint`, to which the bits are added that say
    whether the record names members, groups, sublabels or a parent.
    """
    if isinstance(record, Artist):
        fingerprint |= _names(record.members, record.groups)
    elif isinstance(record, Label):
        fingerprint |= _names(record.sublabels, record.parents)
    row: Row = {"id": record.id, "properties": _properties(record, fingerprint)}
    if isinstance(record, Artist):
        row["aliases"] = _references(record.aliases)
        row["groups"] = _references(record.groups)
        row["members"] = _references(record.members)
    elif isinstance(record, Label):
        row["parents"] = _references(record.parents)
        row["sublabels"] = _references(record.sublabels)
    else:
        row["artists"] = _references(record.artists)
        row["genres"] = list(record.genres)
        row["styles"] = list(record.styles)
        if not isinstance(record, Master):
            row["labels"] = [_label(label) for label in record.labels]
            row["master"] = record.master
            row["credits"] = [_credit(credit) for credit in record.credits]
    return row


def _names(incoming: tuple[Reference, ...], outgoing: tuple[Reference, ...]) -> int:
    return (NAMES_INCOMING if incoming else 0) | (NAMES_OUTGOING if outgoing else 0)


def _properties(record: Record, fingerprint: int) -> dict[str, Any]:
    properties: dict[str, Any] = {"id": record.id, "fingerprint": fingerprint}
    for name in PROPERTIES[type(record).__name__]:
        value = getattr(record, name)
        if value:
            properties[name] = list(value) if type(value) is tuple else value
    return properties


def _references(references: tuple[Reference, ...]) -> list[dict[str, Any]]:
    return [{"id": reference.id, "name": reference.name} for reference in references]


def _label(label: LabelReference) -> dict[str, Any]:
    return {"id": label.id, "name": label.name, "catalog_numbers": list(label.catalog_numbers)}


def _credit(credit: Credit) -> dict[str, Any]:
    return {
        "name": credit.name,
        "role": credit.role,
        "category": credit.category,
        "artist_id": credit.artist_id,
    }

"""What a record says, as typed values: text without white space around it, None or () where it says nothing.

The properties and relationships are those of the graph's contract; references leave out an id of 0,
an empty id and the record itself, and are distinct by id.
"""

from msgspec import Struct


class Reference(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Another record, named by its id; what it is called there, if that is said."""

    id: int
    name: str | None = None


class LabelReference(Struct, frozen=True, forbid_unknown_fields=True):
    """A label that a release appeared on, with all catalog numbers it bears there."""

    id: int
    name: str | None = None
    catalog_numbers: tuple[str, ...] = ()


class Credit(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Somebody's part in a release.

    `name` is the element `name` of the credit, under which Discogs files the person; the spelling of one
    sleeve (`anv`) would make persons of spellings.
    """

    name: str
    role: str
    #: Follows from the role.
    category: str = ""
    artist_id: int | None = None


class Artist(Struct, frozen=True, forbid_unknown_fields=True):
    """A person, a group or a pseudonym."""

    id: int
    name: str | None = None
    real_name: str | None = None
    profile: str | None = None
    data_quality: str | None = None
    urls: tuple[str, ...] = ()
    name_variations: tuple[str, ...] = ()
    aliases: tuple[Reference, ...] = ()
    groups: tuple[Reference, ...] = ()
    members: tuple[Reference, ...] = ()


class Label(Struct, frozen=True, forbid_unknown_fields=True):
    """A label, series or company."""

    id: int
    name: str | None = None
    contact_info: str | None = None
    profile: str | None = None
    data_quality: str | None = None
    urls: tuple[str, ...] = ()
    parents: tuple[Reference, ...] = ()
    sublabels: tuple[Reference, ...] = ()


class Master(Struct, frozen=True, forbid_unknown_fields=True):
    """What several releases have in common."""

    id: int
    title: str | None = None
    year: int | None = None
    data_quality: str | None = None
    main_release: int | None = None
    artists: tuple[Reference, ...] = ()
    genres: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """One edition of something on one or more media."""

    id: int
    title: str | None = None
    year: int | None = None
    released: str | None = None
    country: str | None = None
    formats: tuple[str, ...] = ()
    status: str | None = None
    data_quality: str | None = None
    notes: str | None = None
    artists: tuple[Reference, ...] = ()
    labels: tuple[LabelReference, ...] = ()
    master: int | None = None
    genres: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    credits: tuple[Credit, ...] = ()


class Malformed(Struct, frozen=True):
    """A record that cannot be read, and why."""

    reason: str


Record = Artist | Label | Master | Release

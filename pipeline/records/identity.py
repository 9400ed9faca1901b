"""The Discogs id of a record, told from its bytes where it is where Discogs puts it; never with a tree."""

import re

from pipeline.errors import shown
from pipeline.model import RecordType
from pipeline.records.xml import MalformedError, child_text, element_of, integer_of

_ATTRIBUTE = re.compile(rb"<(?:master|release) id=[\"']([0-9]{1,18})[\"'][ \t\r\n/>]")
_FIRST_CHILD = re.compile(rb"<(?:artist|label)>[ \t\r\n]*+<id>[ \t\r\n]*+([0-9]{1,18})[ \t\r\n]*+</id>")
_IMAGES = re.compile(rb"<(?:artist|label)>[ \t\r\n]*+<images>")
_AFTER_IMAGES = re.compile(rb"</images>[ \t\r\n]*+<id>[ \t\r\n]*+([0-9]{1,18})[ \t\r\n]*+</id>")
_START_TAG = re.compile(rb"<[^\s<>/]+(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+>")
_WITH_ATTRIBUTE = (RecordType.MASTERS, RecordType.RELEASES)


class IdentityError(ValueError):
    """The record has no id that a node could have; the message says why."""


def identity(record_type: RecordType, record: bytes) -> int:
    """The id of a record, from 1 to 2^63-1.

    It is the attribute `id` of a master's or release's start tag, and the child element `id` of an artist
    or label (that of a member, group or image is not). Raises IdentityError.
    """
    if record_type in _WITH_ATTRIBUTE:
        found = _ATTRIBUTE.match(record)
    else:
        found = _FIRST_CHILD.match(record) or _behind_images(record)
    if found is not None and (number := int(found[1])):
        return number
    return _identity_of(record_type, _printed(record_type, record))


def _behind_images(record: bytes) -> re.Match[bytes] | None:
    if not _IMAGES.match(record):
        return None
    end = record.find(b"</images>")
    if end < 0 or record.count(b"<images", 0, end) != 1 or record.find(b"<!", 0, end) >= 0:
        return None
    return None if record.find(b"<?", 0, end) >= 0 else _AFTER_IMAGES.match(record, end)


def _printed(record_type: RecordType, record: bytes) -> str | None:
    """The text of the id wherever it is; None if there is none."""
    try:
        if record_type not in _WITH_ATTRIBUTE:
            return child_text(record, "id")
        tag = _START_TAG.match(record)
        if tag is None:
            raise IdentityError("its start tag does not end")
        return element_of(tag[0].removesuffix(b">").removesuffix(b"/") + b"/>").get("id")
    except MalformedError as error:
        raise IdentityError(f"no id can be told: {error}") from error


def _identity_of(record_type: RecordType, printed: str | None) -> int:
    if printed is None or not printed.strip():
        raise IdentityError(f"the {record_type.element} has no id")
    number = integer_of(printed)
    if number is None:
        raise IdentityError(f"the id is not a number from 1 to 2^63-1: {shown(printed)}")
    return number

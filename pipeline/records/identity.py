"""The Discogs id of a record, read from its bytes."""

import re
from collections.abc import Iterator

from lxml import etree

from pipeline.elements import integer_of
from pipeline.errors import shown
from pipeline.model import RecordType
from pipeline.records.xml import PARSER_OPTIONS, malformed, without_illegal

#: The id of other records is a child element.
ID_IS_ATTRIBUTE = (RecordType.MASTERS, RecordType.RELEASES)
_ATTRIBUTE = rb"<%b id=[\"']([0-9]{1,18})[\"'][ \t\r\n/>]"
_SPACE = rb"[ \t\r\n]*+"
# Also images that are not well-formed: a record whose id is legible does not vanish from the graph.
# Atomic groups: before Python 3.11.5, possessive quantifiers of groups match wrongly (python/cpython issue 106052).
_IMAGES = rb"<images>[^<]*+(?>(?:<(?!/images>|images[ \t\r\n/>]|[!?])[^<]*+)*)</images>"
_CHILD = rb"<%%b>%b(?>(?:%b%b)?)<id>%b([0-9]{1,18})%b</id>" % (_SPACE, _IMAGES, _SPACE, _SPACE, _SPACE)
#: The start of a record as Discogs writes it; group 1 is the id.
ID_PATTERNS = {
    each: re.compile((_ATTRIBUTE if each in ID_IS_ATTRIBUTE else _CHILD) % each.element.encode())
    for each in RecordType
}
# Small, so that little is parsed behind the id and few elements are held.
_STEP_BYTES = 32 << 10


class IdentityError(ValueError):
    """The record has no valid id; the message is the reason."""


def identity(record_type: RecordType, record: bytes) -> int:
    """Return the id of a record, from 1 to 2^63-1.

    Masters and releases have it in the attribute `id`, artists and labels in their first child `id`.
    The text behind it need not be well-formed. Raises IdentityError.
    """
    # Records as Discogs writes them need no parser, which takes longer than all other reading.
    found = ID_PATTERNS[record_type].match(record)
    if found and (number := int(found[1])):
        return number
    try:
        text = _text(record_type, without_illegal(record))
    except etree.XMLSyntaxError as error:
        raise IdentityError(f"no id can be told: {malformed(error)}") from error
    if text is None or not text.strip():
        raise IdentityError(f"the {record_type.element} has no id")
    parsed = integer_of(text)
    if parsed is None:
        raise IdentityError(f"the id is not a number from 1 to 2^63-1: {shown(text)}")
    return parsed


def _text(record_type: RecordType, record: bytes) -> str | None:
    """Return the text of a record's id, None if it has none. Raises XMLSyntaxError."""
    parser = etree.XMLPullParser(("start", "end"), **PARSER_OPTIONS)
    depth = 0
    for at in range(0, len(record) + _STEP_BYTES, _STEP_BYTES):
        fault = None
        try:
            if at < len(record):
                parser.feed(record[at : at + _STEP_BYTES])
            else:
                parser.close()
        except etree.XMLSyntaxError as error:
            fault = error
        # The stubs of lxml give the elements of all kinds of events one type.
        events: Iterator[tuple[str, etree._Element]] = parser.read_events()  # type: ignore[assignment]
        for event, element in events:
            if event == "start":
                depth += 1
                if depth == 1 and record_type in ID_IS_ATTRIBUTE:
                    return element.get("id")
                # Elements in front would take up to forty times as many bytes as their text.
                parent, before = element.getparent(), element.getprevious()
                if parent is not None and before is not None:
                    parent.remove(before)
            elif depth == 2 and element.tag == "id":
                return element.text
            else:
                depth -= 1
        if fault is not None:
            raise fault
    return None

"""XML of records to elements: no entities, no network, characters that XML forbids dropped."""

import re
from collections.abc import Sequence
from typing import Any

from lxml import etree

#: No entities, no network. Any: the stubs of lxml give every option its own type.
PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "remove_comments": True,
    "remove_pis": True,
    "huge_tree": True,
    "collect_ids": False,
}

_FORBIDDEN = bytes(set(range(0x20)) - set(b"\t\n\r"))
_NONCHARACTERS = re.compile(rb"\xef\xbf[\xbe\xbf]")
# Comments and CDATA sections come first: a reference inside them is text.
_REFERENCE = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|&#(?:x([0-9A-Fa-f]+)|([0-9]+));", re.DOTALL)
_WRAPPER = "records-of-a-chunk"
_START, _END = f"<{_WRAPPER}>".encode(), f"</{_WRAPPER}>".encode()
_BETWEEN = _END + _START
_POSITION = re.compile(r", line \d+, column \d+$")
_NOT_ONE = "line 1, column 1: not one element"
# A tree takes up to forty times as many bytes as its text.
_TOGETHER_BYTES = 1 << 20


class MalformedError(ValueError):
    """The text is not one well-formed XML element; the message has line and column."""


def elements_of(records: Sequence[bytes]) -> list[etree._Element] | None:
    """Return the elements of well-formed records; None if one of them is not.

    None also if several records are too long for one tree.
    """
    if not records:
        return []
    if len(records) > 1 and sum(map(len, records)) > _TOGETHER_BYTES:
        return None
    try:
        root = etree.fromstring(b"<r>" + _START + _BETWEEN.join(records) + _END + b"</r>", _parser())
    except etree.XMLSyntaxError:
        return None
    wrappers = list(root)
    if len(wrappers) != len(records) or any(map(_text_beside, wrappers)):
        return None
    return [wrapper[0] for wrapper in wrappers]


def element_of(record: bytes) -> etree._Element:
    """Return the element of one record, without characters that XML forbids.

    Raises MalformedError.
    """
    try:
        return _only(record)
    except MalformedError:
        legal = without_illegal(record)
        if legal == record:
            raise
        return _only(legal)


def without_illegal(record: bytes) -> bytes:
    """Return the record without illegal characters and references to them."""
    legal = _NONCHARACTERS.sub(b"", record.translate(None, _FORBIDDEN))
    kept, at = bytearray(), 0
    for reference in _REFERENCE.finditer(legal):
        if _is_illegal(reference):
            kept += legal[at : reference.start()]
            at = reference.end()
    return bytes(kept + legal[at:]) if at else legal


def malformed(error: etree.XMLSyntaxError, offset: int = 0) -> MalformedError:
    """Return the parser's error in one line; `offset` bytes precede the record."""
    line, column = error.position
    if line == 1:
        column = max(column - offset, 1)
    what = _POSITION.sub("", " ".join(str(error.msg).split()))
    return MalformedError(f"line {line}, column {column}: {what}")


def _parser() -> etree.XMLParser:
    return etree.XMLParser(**PARSER_OPTIONS)


def _text_beside(wrapper: etree._Element) -> bool:
    """Return True if a wrapper has more than one element and white space."""
    return (
        len(wrapper) != 1
        or wrapper.tag != _WRAPPER
        or bool(wrapper.text and wrapper.text.strip())
        or bool(wrapper[0].tail and wrapper[0].tail.strip())
    )


def _only(record: bytes) -> etree._Element:
    try:
        wrapper = etree.fromstring(_START + record + _END, _parser())
    except etree.XMLSyntaxError as error:
        raise _fault_alone(record) or malformed(error, len(_START)) from error
    if _text_beside(wrapper):
        raise MalformedError(_NOT_ONE)
    return wrapper[0]


def _fault_alone(record: bytes) -> MalformedError | None:
    """Return the fault of a record without the wrapper, whose name nobody knows."""
    try:
        etree.fromstring(record, _parser())
    except etree.XMLSyntaxError as error:
        return malformed(error)
    return None


def _is_illegal(reference: re.Match[bytes]) -> bool:
    if reference[1] is None and reference[2] is None:
        return False
    digits = (reference[1] or reference[2]).lstrip(b"0") or b"0"
    if len(digits) > len("1114111"):
        return True
    code = int(digits, 16 if reference[1] else 10)
    legal = (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or 0x10000 <= code <= 0x10FFFF
    )
    return not legal

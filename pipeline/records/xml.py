"""XML of records to elements: no entities, no network, characters that XML forbids dropped."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lxml import etree

#: Ids and years are signed 64-bit integers in Neo4j.
MAX_INTEGER = (1 << 63) - 1

_FORBIDDEN = bytes(set(range(0x20)) - set(b"\t\n\r"))
_NONCHARACTERS = re.compile(rb"\xef\xbf[\xbe\xbf]")
# A reference inside a comment or a CDATA section is none.
_REFERENCE = re.compile(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|&#(?:x([0-9A-Fa-f]+)|([0-9]+));", re.DOTALL)
_WRAPPER = "records-of-a-chunk"
_START, _END = f"<{_WRAPPER}>".encode(), f"</{_WRAPPER}>".encode()
_BETWEEN = _END + _START
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_POSITION = re.compile(r", line \d+, column \d+$")
# The depths of a record and of its children, where that of the wrapper is 1.
_RECORD, _CHILD = 2, 3
_SLICE_BYTES = 32 << 10
_NOT_ONE = "line 1, column 1: not one element"
# A tree takes up to forty times as many bytes as its text.
_TOGETHER_BYTES = 1 << 20


class MalformedError(ValueError):
    """The text is not one well-formed XML element; the message says what is wrong, with line and column."""


def elements_of(records: Sequence[bytes]) -> list[etree._Element] | None:
    """The elements of records that are all well-formed as they are; None if one of them is not.

    None as well for several records that are too long to be held as one tree.
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
    """The element of one record; what XML forbids is dropped if it does not parse as it is.

    Raises MalformedError.
    """
    try:
        return _only(record)
    except MalformedError:
        legal = without_illegal(record)
        if legal == record:
            raise
        return _only(legal)


def child_text(record: bytes, name: str) -> str | None:
    """The text of the first child of that name, as `element_of(record).findtext(name)` tells; None if none.

    Holds no tree, and reads no further than the end of that child: what follows it need not be well-formed.
    Raises MalformedError.
    """
    try:
        return _child_text(record, name)
    except MalformedError:
        legal = without_illegal(record)
        if legal == record:
            raise
        return _child_text(legal, name)


def without_illegal(record: bytes) -> bytes:
    """The record without characters outside XML's legal range, and without references to such."""
    legal = _NONCHARACTERS.sub(b"", record.translate(None, _FORBIDDEN))
    kept, at = bytearray(), 0
    for reference in _REFERENCE.finditer(legal):
        if _is_illegal(reference):
            kept += legal[at : reference.start()]
            at = reference.end()
    return bytes(kept + legal[at:]) if at else legal


def integer_of(text: str | None) -> int | None:
    """A number from 1 to 2^63-1; None for every other text."""
    if text is None or not _DIGITS.fullmatch(digits := text.strip()):
        return None
    number = int(digits[-20:]) if not digits[:-20].strip("0") else 0
    return number if 0 < number <= MAX_INTEGER else None


class _FirstChild:
    """What a parser calls in place of building a tree: keeps the text of the first child of one name."""

    def __init__(self, name: str) -> None:
        self.ended = False
        #: Whether there is anything but one element and white space.
        self.beside = False
        self._name = name
        self._depth = self._records = 0
        self._open = self._inside = False
        self._texts: list[str] = []

    @property
    def text(self) -> str | None:
        return "".join(self._texts) if self.ended else None

    def start(self, tag: str, _: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth == _RECORD:
            self._records += 1
            self.beside = self.beside or self._records > 1
        elif self._depth == _CHILD and tag == self._name and not self.beside and not self.ended:
            self._inside = self._open = True
        else:
            self._open = False

    def end(self, _: str) -> None:
        if self._depth == _CHILD and self._inside:
            self.ended = True
            self._inside = self._open = False
        self._depth -= 1

    def data(self, text: str) -> None:
        if self._open:
            self._texts.append(text)
        elif self._depth < _RECORD and text.strip():
            self.beside = True

    def close(self) -> None:
        self.beside = self.beside or self._records != 1


# Any: the type that the stubs of lxml give a target demands methods that lxml does not.
def _parser(target: Any = None) -> etree.XMLParser:
    return etree.XMLParser(
        target=target,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,
        collect_ids=False,
    )


def _text_beside(wrapper: etree._Element) -> bool:
    """Whether a wrapper holds anything but one element and white space."""
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
        raise _malformed(error) from error
    if _text_beside(wrapper):
        raise MalformedError(_NOT_ONE)
    return wrapper[0]


def _child_text(record: bytes, name: str) -> str | None:
    child = _FirstChild(name)
    parser = _parser(child)
    try:
        parser.feed(_START)
        for at in range(0, len(record), _SLICE_BYTES):
            parser.feed(record[at : at + _SLICE_BYTES])
            if child.ended:
                break
        else:
            parser.feed(_END)
            parser.close()
    except etree.XMLSyntaxError as error:
        if not child.ended:
            raise _malformed(error) from error
    if child.beside and not child.ended:
        raise MalformedError(_NOT_ONE)
    return child.text


def _malformed(error: etree.XMLSyntaxError) -> MalformedError:
    line, column = error.position
    if line == 1:
        column = max(column - len(_START), 1)
    what = _POSITION.sub("", " ".join(str(error.msg).split()))
    return MalformedError(f"line {line}, column {column}: {what}")


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

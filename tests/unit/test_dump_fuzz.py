"""Any bytes are read to their end or to one clear error."""

import gzip
import os
import random
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.chunk import Chunk
from pipeline.errors import DumpError
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump
from pipeline.reader.prolog import read_prolog
from pipeline.reader.source import Buffer, ReadError
from pipeline.reader.splitter import KEPT_BYTES, RawRecord, Splitter
from pipeline.records.accept import legible_id
from pipeline.records.parse import Malformed, parse

#: `make test` reads the same few files each time; `FUZZ=20000` goes looking for new ones. A file follows from its seed alone.
#: Hypothesis would also draw constants from the modules that happen to be imported.
MANY = int(os.environ.get("FUZZ", "0"))

DUMPS = {
    RecordType.ARTISTS: b"""<artists>
<artist><images><image height="5"/></images><id>1</id><name>A &amp; B</name><realname>x</realname>
<profile>text &lt;b&gt; \xc3\xa9</profile><urls><url>http://a</url></urls></artist>
<artist><id>2</id><name>C</name><members><id>1</id><name>A</name><name id="3">D</name></members></artist>
<artist><id>3</id><profile><![CDATA[</artist><artist>]]></profile><!-- </artist> --></artist>
</artists>
""",
    RecordType.LABELS: b"""<?xml version="1.0" encoding="UTF-8"?>
<!-- labels -->
<labels a="x > y">
  <label><id>1</id><name>One</name><sublabels><label id="2">Two</label><label/></sublabels></label>
  <label><id>2</id><parentLabel id="1">One</parentLabel></label ><label><id>3</id></label>
  <label/>
</labels>
""",
    RecordType.MASTERS: b"<masters><master id='1'><title>T</title><year>1999</year><main_release>5</main_release>"
    b"<genres><genre>Rock</genre></genres></master><master id=\"2\" a='/>'><artists><artist><id>1</id><name>A"
    b"</name></artist></artists></master><master id='3'/></masters>",
    RecordType.RELEASES: b"""<releases>\r
<release id="1" status="Accepted"><title>T</title><released>1999-01-01</released><formats><format name="CD" qty="1"/>\
</formats><labels><label id="1" name="L" catno="1 > 2"/></labels></release>\r
<release id="2"><extraartists><artist><id>1</id><name>A</name><role>Producer [All]</role></artist></extraartists>\
<notes>&#233;&#x1;</notes></release>\r
<release id="3"><master_id is_main_release="true">7</master_id></release>\r
</releases>\r
""",
}
SNIPPETS = [
    b"<", b">", b"/", b"/>", b"&", b"'", b'"', b"\0", b"\n", b"!", b"?", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b"<!--", b"-->", b"<!-", b"--", b"<![CDATA[", b"]]>", b"<?", b"?>", b"<?xml version='1.0' encoding='UTF-16'?>",
    b"<!DOCTYPE", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"<!ENTITY", b"&a;", b"&#0;", b"&#x110000;", b"&lt;",
    b"<{e}>", b"</{e}>", b"<{e}/>", b"<{e} ", b"</{e} ", b"<{e}", b"</{e}", b"<{e} a='/", b"<{e} id='5'>", b"<{e}s>",
    b"</{e}s>", b"</{e}s", b"<id>", b"</id>", b"<id>7</id>", b"<id/>", b"<images>", b"</images>", b"\n<{e}>", b"\n  <{e}>", b"</{e}>\n", b" {e} ",
    b"<a>" * 300, b"<{e}>" * 50, b"</{e}>" * 50, b" " * 600, b"x" * 3000, b"9" * 30, b"<records-of-a-chunk>",
    b"</records-of-a-chunk><records-of-a-chunk>", b"{", b"\x1f\x8b\x08", b'{"id":"\xff"}',
]  # fmt: skip
#: Bytes between records that are skipped without notice.
_SKIPPED = re.compile(rb"(?:[ \t\r\n]|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
# The first 512 bytes are read at once. Only behind them do small blocks end within records.
_LONG_PROLOG = b"<!-- %b -->\n" % (b"long " * 120)
Mutation = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Outcome:
    """The chunks of a file and the error at its end."""

    chunks: list[Chunk]
    error: str | None


def _at(share: float, content: bytes) -> int:
    return int(share * len(content))


def _flipped(where: float, bit: int) -> Mutation:
    def mutate(content: bytes) -> bytes:
        at = _at(where, content)
        return content[:at] + bytes(byte ^ (1 << bit) for byte in content[at : at + 1]) + content[at + 1 :]

    return mutate


def _inserted(where: float, snippet: bytes) -> Mutation:
    return lambda content: content[: _at(where, content)] + snippet + content[_at(where, content) :]


def _overwritten(where: float, snippet: bytes) -> Mutation:
    return lambda content: (
        content[: _at(where, content)] + snippet + content[_at(where, content) + len(snippet) :]
    )


def _deleted(where: float, size: int) -> Mutation:
    return lambda content: content[: _at(where, content)] + content[_at(where, content) + size :]


def _truncated(where: float) -> Mutation:
    return lambda content: content[: _at(where, content)]


def _duplicated(where: float, size: int, again: float) -> Mutation:
    def mutate(content: bytes) -> bytes:
        at = _at(where, content)
        return _inserted(again, content[at : at + size])(content)

    return mutate


def _swapped(first: float, second: float, size: int) -> Mutation:
    def mutate(content: bytes) -> bytes:
        one, two = sorted((_at(first, content), _at(second, content)))
        size_ = min(size, two - one)
        return (
            content[:one]
            + content[two : two + size_]
            + content[one + size_ : two]
            + content[one : one + size_]
            + content[two + size_ :]
        )

    return mutate


def _mutated(draw: random.Random, content: bytes, snippet: Callable[[], bytes]) -> bytes:
    """Do up to six things to some bytes."""
    for _ in range(draw.randint(0, 6)):
        where, again, size = draw.random(), draw.random(), draw.randint(1, 200)
        mutate = draw.choice(
            [
                _inserted(where, snippet()),
                _overwritten(where, snippet()),
                _flipped(where, draw.randrange(8)),
                _deleted(where, size),
                _duplicated(where, size, again),
                _swapped(where, again, size),
                _truncated(where),
            ]
        )
        content = mutate(content)
    return content


def _mutant(draw: random.Random) -> bytes:
    """A dump with something done to its XML, to its compressed bytes, or to both."""
    record_type = draw.choice(list(RecordType))
    snippets = [each.replace(b"{e}", record_type.element.encode()) for each in SNIPPETS]
    content = _mutated(draw, DUMPS[record_type], lambda: draw.choice(snippets))
    content = draw.choice([b"", _LONG_PROLOG]) + content
    if draw.random() < 0.5:
        cut = _at(draw.random(), content) if draw.random() < 0.5 else len(content)
        content = b"".join(
            gzip.compress(part, 6, mtime=0) for part in (content[:cut], content[cut:]) if part or not cut
        )
        if draw.random() < 0.5:
            content = _mutated(draw, content, lambda: draw.randbytes(draw.randint(1, 20)))
    return content


@dataclass(frozen=True)
class Case:
    """A file, and the arguments with which it is read."""

    content: bytes
    block_bytes: int
    limit: int
    records: int
    size_bytes: int

    @classmethod
    def of(cls, seed: int) -> "Case":
        """Draw a case."""
        draw = random.Random(seed)
        return cls(
            content=_mutant(draw) if draw.randrange(10) else draw.randbytes(draw.randint(0, 300)),
            block_bytes=draw.choice([draw.randint(1, 40), draw.randint(1, 4096)]),
            limit=draw.choice([draw.randint(20, 1000), 1 << 16]),
            records=draw.randint(1, 5),
            size_bytes=draw.randint(1, 2000),
        )


def _read(path: Path, block_bytes: int, limit: int, records: int, size_bytes: int) -> Outcome:
    chunks: list[Chunk] = []
    try:
        with open_dump(path, block_bytes=block_bytes, max_record_bytes=limit) as dump:
            chunks.extend(dump.chunks(records, size_bytes))
    except DumpError as error:
        return Outcome(chunks, str(error))
    return Outcome(chunks, None)


def _inflated(content: bytes) -> bytes:
    """Decompress with another library, up to its first error."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    xml = b""
    while content.lstrip(b"\0"):
        inflater = zlib.decompressobj(wbits=31)
        for at in range(len(content)):
            data = content[at : at + 1]
            try:
                # A byte at a time: an error discards all that its call had decompressed.
                while byte := inflater.decompress(data, 1):
                    xml += byte
                    data = inflater.unconsumed_tail
            except zlib.error:
                return xml
            if inflater.eof:
                content = content[at + 1 :].lstrip(b"\0")
                break
        else:
            return xml
    return xml


def _check(outcome: Outcome, xml: bytes, limit: int, records: int, size_bytes: int) -> None:
    end, is_cut = 0, False
    for chunk in outcome.chunks:
        assert len(chunk.positions) == len(chunk.ids) == len(chunk.records)
        assert 1 <= len(chunk.ids) + len(chunk.rejected) <= records
        accepted = list(zip(chunk.positions, chunk.records, strict=True))
        rejected = [(each.position, each.raw) for each in chunk.rejected]
        assert accepted == sorted(accepted)
        assert rejected == sorted(rejected)
        assert all(len(record) <= limit for record in chunk.records)
        assert all(number > 0 for number in chunk.ids)
        for each in chunk.rejected:
            assert each.reason
            assert "\n" not in each.reason
            assert len(each.raw) <= (KEPT_BYTES if each.reason == "text between records" else limit)
        cut = {each.position for each in chunk.rejected if each.reason.startswith("longer than")}
        for position, raw in sorted(accepted + rejected):
            assert raw
            assert position >= end
            if position + len(raw) > len(xml):
                # zlib refuses some spoilt blocks at once that isal refuses at their checksum.
                assert outcome.error is not None
                break
            assert is_cut or not end or _SKIPPED.fullmatch(xml, end, position)
            assert xml.startswith(raw, position)
            end = position + len(raw)
            is_cut = position in cut
        held = sum(len(raw) for _, raw in accepted + rejected)
        assert held <= size_bytes + max(limit, KEPT_BYTES)
        _check_parse(chunk)
    assert outcome.error is None or "\n" not in outcome.error


def _check_parse(chunk: Chunk) -> None:
    outcomes = parse(chunk.record_type, chunk.records)
    for number, raw, outcome in zip(chunk.ids, chunk.records, outcomes, strict=True):
        assert parse(chunk.record_type, [raw]) == [outcome]
        if isinstance(outcome, Malformed):
            assert outcome.reason
            assert "\n" not in outcome.reason
        else:
            assert outcome["id"] == number


def _check_plain(outcome: Outcome, xml: bytes, limit: int) -> None:
    """Compare with the records found one by one, without the fast path for plain ones."""
    found, ids = list[RawRecord](), dict[int, int | None]()
    with suppress(ReadError):
        buffer = Buffer([xml])
        record_type, root_closed = read_prolog(buffer)
        for each in Splitter(record_type, buffer, root_closed=root_closed, max_record_bytes=limit):
            found.append(each)
            ids[each.position] = None if each.reason else legible_id(record_type, each.raw)
    accepted = [
        accepted
        for chunk in outcome.chunks
        for accepted in zip(chunk.positions, chunk.ids, chunk.records, strict=True)
    ]
    rejected = [(each.position, each.raw) for chunk in outcome.chunks for each in chunk.rejected]
    assert accepted == [(each.position, ids[each.position], each.raw) for each in found if ids[each.position]]
    assert rejected == [(each.position, each.raw) for each in found if not ids[each.position]]


def _check_case(path: Path, case: Case) -> None:
    path.write_bytes(case.content)
    limits = (case.limit, case.records, case.size_bytes)
    outcome = _read(path, case.block_bytes, *limits)
    _check(outcome, _inflated(case.content), *limits)
    assert _read(path, 1 << 20, *limits) == outcome
    if not case.content.startswith(b"\x1f\x8b"):
        _check_plain(outcome, case.content, case.limit)


@pytest.mark.timeout(7200)
def test_any_file_is_read_to_its_end_or_to_one_error(tmp_path: Path) -> None:
    first = random.SystemRandom().randrange(1 << 60) if MANY else 0
    for seed in range(first, first + (MANY or 300)):
        try:
            _check_case(tmp_path / "dump", Case.of(seed))
        except Exception as error:
            error.add_note(f"the file is that of Case.of({seed})")
            raise

"""Any bytes are read to their end or to one clear error."""

import gzip
import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.chunk import Chunk
from pipeline.errors import DumpError
from pipeline.model import RecordType
from pipeline.reader.dump import ids_in, open_dump
from pipeline.reader.splitter import KEPT_BYTES
from pipeline.records.parse import Malformed, parse

#: `make test` reads the same few files each time; `FUZZ=20000` goes looking for new ones.
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
    b"</{e}s>", b"</{e}s", b"<id>", b"</id>", b"<id>7</id>", b"<id/>", b"\n<{e}>", b"\n  <{e}>", b"</{e}>\n", b" {e} ",
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


# Not floats: most of those would be 0 or 1, and most files no dumps.
_SHARES = st.integers(0, 997).map(lambda share: share / 997)
_SIZES = st.integers(1, 200)


def _mutations(snippets: st.SearchStrategy[bytes]) -> st.SearchStrategy[list[Mutation]]:
    return st.lists(
        st.one_of(
            st.builds(_inserted, _SHARES, snippets),
            st.builds(_overwritten, _SHARES, snippets),
            st.builds(_flipped, _SHARES, st.integers(0, 7)),
            st.builds(_deleted, _SHARES, _SIZES),
            st.builds(_duplicated, _SHARES, _SIZES, _SHARES),
            st.builds(_swapped, _SHARES, _SHARES, _SIZES),
            st.builds(_truncated, _SHARES),
        ),
        max_size=6,
    )


@st.composite
def _mutants(draw: st.DrawFn) -> bytes:
    """A dump with something done to its XML, to its compressed bytes, or to both."""
    record_type = draw(st.sampled_from(list(RecordType)))
    snippets = st.sampled_from([each.replace(b"{e}", record_type.element.encode()) for each in SNIPPETS])
    content = DUMPS[record_type]
    for mutate in draw(_mutations(snippets)):
        content = mutate(content)
    content = draw(st.sampled_from([b"", _LONG_PROLOG])) + content
    if draw(st.booleans()):
        cut = _at(draw(_SHARES), content) if draw(st.booleans()) else len(content)
        content = b"".join(
            gzip.compress(part, 6, mtime=0) for part in (content[:cut], content[cut:]) if part or not cut
        )
        if draw(st.booleans()):
            for mutate in draw(_mutations(st.binary(min_size=1, max_size=20))):
                content = mutate(content)
    return content


_FILES = st.integers(0, 9).flatmap(lambda kind: _mutants() if kind else st.binary(max_size=300))
_LIMITS = st.one_of(st.integers(20, 1000), st.just(1 << 16))
_BLOCKS = st.one_of(st.integers(1, 40), st.integers(1, 4096))


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
        assert all(number > 0 for number in ids_in(chunk))
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


@pytest.mark.timeout(7200)
@hypothesis.settings(
    max_examples=MANY or 300,
    derandomize=not MANY,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(
    content=_FILES,
    block_bytes=_BLOCKS,
    limit=_LIMITS,
    records=st.integers(1, 5),
    size_bytes=st.integers(1, 2000),
)
def test_any_file_is_read_to_its_end_or_to_one_error(
    tmp_path: Path, content: bytes, block_bytes: int, limit: int, records: int, size_bytes: int
) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content)
    outcome = _read(path, block_bytes, limit, records, size_bytes)
    _check(outcome, _inflated(content), limit, records, size_bytes)
    assert _read(path, 1 << 20, limit, records, size_bytes) == outcome

"""Any release is read as the oracle reads it, however odd it is."""

import random
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import hypothesis
import pytest
from hypothesis import strategies as st

from pipeline.model import RecordType
from pipeline.records.parse import Malformed, parse
from tests.graph_dump import differences
from tests.integration.rows import asserted
from tests.oracle import Graph, records

#: Texts that are empty, repeated, padded, or mean something in a role, an identifier or a list.
TEXTS = ("", " ", "A", "A", "B", " B ", "1", "0", "02", "A, B", "A [B]", "é\n C", "Barcode", "4 2-x")
IDS = ("", "0", "7", "7", "8", " 9 ", "x", "-1")


class Odd:
    """Draws XML of releases whose elements may be empty, repeated, missing or nested."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def release(self) -> str:
        parts = [
            self.many("artists", self.artist),
            self.many("tracklist", lambda: self.track(2)),
            self.many("extraartists", self.artist),
            self.many("companies", self.company),
            self.many("series", lambda: f"<series{self.attributes('name', 'catno', id=IDS)}/>"),
            self.many("labels", lambda: f"<label{self.attributes('name', 'catno', id=IDS)}/>"),
            self.many(
                "identifiers", lambda: f"<identifier{self.attributes('type', 'description', 'value')}/>"
            ),
            self.many("formats", self.format),
        ]
        return f"<release id='1'>{''.join(self._draw.sample(parts, len(parts)))}</release>"

    def many(self, tag: str, element: Callable[[], str]) -> str:
        """An element with up to four children, or none."""
        if not self._draw.randrange(4):
            return self._draw.choice(["", f"<{tag}/>"])
        return f"<{tag}>{''.join(element() for _ in range(self._draw.randrange(5)))}</{tag}>"

    def text(self, tag: str, texts: tuple[str, ...] = TEXTS) -> str:
        text = self._draw.choice(texts)
        return f"<{tag}>{escape(text)}</{tag}>" if self._draw.randrange(4) else ""

    def attributes(self, *names: str, **texts: tuple[str, ...]) -> str:
        drawn = {**dict.fromkeys(names, TEXTS), **texts}
        return "".join(
            f" {name}={quoteattr(self._draw.choice(each))}"
            for name, each in drawn.items()
            if self._draw.randrange(5)
        )

    def role(self) -> str:
        """Commas and brackets in any order."""
        return "".join(self._draw.choices("[],, xyZ", k=self._draw.randrange(14)))

    def artist(self) -> str:
        role = self._draw.choice([self.role(), "Producer", "Mixed By [Dub, Live], Producer"])
        parts = [
            self.text("id", IDS),
            self.text("name"),
            self.text("anv"),
            self.text("join"),
            self.text("role", (role,)),
            self.text("tracks"),
        ]
        return f"<artist>{''.join(parts)}</artist>"

    def track(self, depth: int) -> str:
        parts = [self.text("position"), self.text("title"), self.text("duration")]
        parts += [
            self.many(tag, self.artist) for tag in ("artists", "extraartists") if self._draw.randrange(2)
        ]
        if depth and not self._draw.randrange(3):
            parts.append(self.many("sub_tracks", lambda: self.track(depth - 1)))
        return f"<track>{''.join(parts)}</track>"

    def company(self) -> str:
        parts = [self.text("id", IDS), *map(self.text, ("name", "catno", "entity_type_name"))]
        return f"<company>{''.join(parts)}</company>"

    def format(self) -> str:
        descriptions = self.many("descriptions", lambda: self.text("description"))
        return f"<format{self.attributes('name', 'qty', 'text')}>{descriptions}</format>"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd") / "releases.xml"


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(seed=st.integers(0, 10**9), tracks=st.booleans())
def test_any_release_is_read_as_the_oracle_reads_it(path: Path, seed: int, *, tracks: bool) -> None:
    release = Odd(seed).release()
    path.write_text(f"<releases>{release}</releases>", encoding="utf-8")
    (facts,) = records(path, tracks=tracks)
    del facts.properties["fingerprint"]
    (row,) = parse(RecordType.RELEASES, [release.encode()], tracks=tracks)
    assert not isinstance(row, Malformed)
    found = Graph({facts.node: row["properties"]}, asserted(RecordType.RELEASES, row))
    assert differences(Graph({facts.node: facts.properties}, facts.relationships), found) == []

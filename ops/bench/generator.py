"""Generated dumps of any length, from the sample dumps.

`python -m ops.bench.generator --multiply 25 --seed 1 OUT_DIR` writes them.

Every copy repeats the 1,000 records of a sample dump with other ids and names. In copy k an id is raised by k x
`SHIFT`, so ids ascend through the file, and names of artists and labels get the suffix `#k`.

Copies share the nodes that they refer to as in the real data. That decides the cost of a write: does the node exist
already, and how many relationships does it have?

- Genres, styles, countries, formats, tracks and identifiers are the same in all copies.
- A referenced artist, label or company, master or credited person (an *end*) is mostly one that an earlier copy used, and
  sometimes a new one. So popular ends become more popular, and degrees are skewed. The more references an end has in
  the sample, the rarer is a new one. `NOVELTY` gives about as many ends per release as the real dumps have: 0.5
  artists, 0.12 labels and 0.13 masters.
- Aliases, groups, members and a master's main release stay within the copy: these circles are small.

The same seed gives the same bytes. A smaller multiple with the same seed gives the beginning of the larger one's
records. Bytes are replaced, nothing is parsed: tens of thousands of releases per second. Memory grows by 40 KB per
copy.
"""

import gzip
import random
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
from isal import isal_zlib

from pipeline.model import RecordType

#: Larger than any id in the sample dumps.
SHIFT = 20_000_000
#: Probability that a copy uses a new end, for an end with one reference in the sample.
NOVELTY = {"artist": 0.1, "label": 0.09, "master": 0.25, "person": 0.1}

#: Window bits for a gzip header. The library writes no time into it, so equal seeds give equal bytes.
GZIP = 31

SAMPLE = Path(__file__).parents[1] / "sample"
_FILE_NAME = "discogs_20200806_{}.xml.gz"

#: An end of a reference, or a record itself: its kind and its id (of a person without one: the name).
End = tuple[str, bytes]

_RECORDS = {
    RecordType.ARTISTS: rb"<artist>.*?</artist>",
    RecordType.LABELS: rb"<label>.*?</label>",
    RecordType.MASTERS: rb"<master id=.*?</master>",
    RecordType.RELEASES: rb"<release id=.*?</release>",
}
_ARTIST = rb"<artist><id>(?P<artist>[1-9]\d*)</id><name>(?P<artist_name>[^<]*)</name>"
_NOBODY = rb"<artist><id>0?</id><name>(?P<person_name>[^<]*)</name>"
#: Texts to replace. A group has the kind of its end as its name and holds the id, or with the suffix `_name` the name;
#: `own` stands for the record itself.
_REPLACED = {
    RecordType.ARTISTS: rb"<id>(?P<own>\d+)</id><name>(?P<own_name>[^<]*)</name>"
    rb'|<id>(?P<own_2>\d+)</id>(?=<name id=)|<name id="(?P<own_3>\d+)">(?P<own_3_name>[^<]*)</name>',
    RecordType.LABELS: rb"<id>(?P<own>\d+)</id><name>(?P<own_name>[^<]*)</name>"
    rb'|<parentLabel id="(?P<label>\d+)">(?P<label_name>[^<]*)</parentLabel>',
    RecordType.MASTERS: rb'<master id="(?P<own>\d+)"><main_release>(?P<own_2>\d+)</main_release>|' + _ARTIST,
    RecordType.RELEASES: rb'<release id="(?P<own>\d+)"|<master_id[^>]*>(?P<master>[1-9]\d*)</master_id>'
    rb'|<label name="(?P<label_name>[^"]*)" catno="[^"]*" id="(?P<label>[1-9]\d*)"/>|'
    rb"<company><id>(?P<label_2>[1-9]\d*)</id><name>(?P<label_2_name>[^<]*)</name>|"
    + _ARTIST
    + rb"|"
    + _NOBODY,
}


@dataclass(slots=True)
class Template:
    """A sample dump, split into `pieces` at the texts to replace."""

    pieces: list[bytes] = field(default_factory=list)
    #: Each end, its texts in the sample (is it a name?), and the indexes into `pieces` where they stand.
    slots: dict[End, dict[tuple[bytes, bool], list[int]]] = field(default_factory=dict)
    records: int = 0

    def references(self) -> Counter[End]:
        """Count the references to each end."""
        counts: Counter[End] = Counter()
        for end, texts in self.slots.items():
            if end[0] != "own":
                counts[end] = max(map(len, texts.values()))
        return counts

    def copy(self, number: int, copies_of_ends: Mapping[End, int]) -> bytes:
        """Return the records of one copy, one per line."""
        pieces = self.pieces.copy()
        for end, texts in self.slots.items():
            copy = number if end[0] == "own" else copies_of_ends[end]
            if not copy:
                continue
            for (text, is_name), indexes in texts.items():
                replacement = b"%b #%d" % (text, copy) if is_name else b"%d" % (int(text) + copy * SHIFT)
                for index in indexes:
                    pieces[index] = replacement
        return b"".join(pieces)


def template(record_type: RecordType) -> Template:
    """Return the sample dump of this type as a template."""
    with gzip.open(SAMPLE / _FILE_NAME.format(record_type)) as sample:
        dump = sample.read()
    made = Template()
    replaced = re.compile(_REPLACED[record_type])
    for record in re.findall(_RECORDS[record_type], dump, re.DOTALL):
        position = 0
        for found in replaced.finditer(record):
            for group, end in _groups(found):
                made.pieces.append(record[position : found.start(group)])
                position = found.end(group)
                is_name = group.endswith("_name")
                made.slots.setdefault(end, {}).setdefault((found[group], is_name), []).append(
                    len(made.pieces)
                )
                made.pieces.append(found[group])
        made.pieces.append(record[position:] + b"\n")
        made.records += 1
    return made


def _groups(found: re.Match[bytes]) -> list[tuple[str, End]]:
    """Return the groups that matched, in text order, each with its end."""
    matched = {group: text for group, text in found.groupdict().items() if text is not None}
    kinds = {group: group.partition("_")[0] for group in matched}
    ends = {
        group: (kind, matched.get(group.removesuffix("_name"), matched[group]))
        for group, kind in kinds.items()
    }
    return sorted(ends.items(), key=lambda item: found.start(item[0]))


class Sharing:
    """The choice of ends for each copy, the same for all record types."""

    def __init__(self, references: Counter[End], seed: int) -> None:
        self._random = random.Random(seed)
        self._novelty = {end: NOVELTY[end[0]] / count for end, count in sorted(references.items())}
        self._history = {end: array("I") for end in self._novelty}

    def copies(self) -> Iterator[dict[End, int]]:
        """Yield for each copy, without end, the copy that its ends come from."""
        chance = self._random.random
        number = 0
        while True:
            for end, novelty in self._novelty.items():
                history = self._history[end]
                new = not number or chance() < novelty
                history.append(number if new else history[int(chance() * number)])
            yield {end: history[-1] for end, history in self._history.items()}
            number += 1


def generate(folder: Path, multiply: int | Mapping[RecordType, int], seed: int = 1) -> dict[RecordType, Path]:
    """Write dumps with `multiply` copies of their sample; return the files."""
    if isinstance(multiply, int):
        multiply = dict.fromkeys(RecordType, multiply)
    templates = {record_type: template(record_type) for record_type in RecordType}
    references = sum((made.references() for made in templates.values()), Counter())
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for record_type, copies in multiply.items():
        files[record_type] = folder / _FILE_NAME.format(record_type)
        _write(files[record_type], record_type, templates[record_type], Sharing(references, seed), copies)
    return files


def _write(path: Path, record_type: RecordType, made: Template, sharing: Sharing, copies: int) -> None:
    compressor = isal_zlib.compressobj(1, wbits=GZIP)
    root = record_type.encode()
    with path.open("wb") as file:
        file.write(compressor.compress(b"<%b>\n" % root))
        for number, copies_of_ends in zip(range(copies), sharing.copies(), strict=False):
            file.write(compressor.compress(made.copy(number, copies_of_ends)))
        file.write(compressor.compress(b"</%b>\n" % root))
        file.write(compressor.flush())


@click.command()
@click.option(
    "--multiply", default=25, show_default=True, help="Copies of the 1,000 records of each sample dump."
)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same dumps.")
@click.argument("out_dir", type=click.Path(path_type=Path, file_okay=False))
def main(multiply: int, seed: int, out_dir: Path) -> None:
    """Write multiplied sample dumps of all four types into OUT_DIR."""
    for path in generate(out_dir, multiply, seed).values():
        click.echo(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

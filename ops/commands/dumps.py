"""Which dumps a user means by files and folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import DumpError
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump

_ORDER = list(RecordType)


class NoDumpsError(DumpError):
    """A folder holds no file that could be a dump."""


def find_dumps(paths: Sequence[Path]) -> list[Path]:
    """The dumps that `paths` name: artists first, then labels, masters, releases; else in the order given.

    A folder stands for its `.xml` and `.xml.gz` files by name, so that the newest month comes last. Each is
    opened, and its record type read from its content: a file that is not a dump, or whose path is no text, is refused (DumpError),
    and so is a folder without any (NoDumpsError), before anything is loaded.
    """
    found: list[tuple[int, Path]] = []
    for path in paths:
        for file in _files(path):
            _refuse_illegible(file.absolute())
            with open_dump(file) as dump:
                found.append((_ORDER.index(dump.record_type), file))
    found.sort(key=lambda entry: entry[0])
    return [file for _, file in found]


def _refuse_illegible(path: Path) -> None:
    """A run is listed with its path, and a record that is set aside."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="replace")
        raise DumpError(shown, 0, "the path is not UTF-8") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(
        file for file in path.iterdir() if file.name.endswith((".xml", ".xml.gz")) and file.is_file()
    )
    if not files:
        raise NoDumpsError(path, 0, "the folder holds no .xml or .xml.gz file")
    return files

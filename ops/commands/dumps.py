"""Find dumps in files and folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import DumpError
from pipeline.model import RecordType
from pipeline.reader.dump import open_dump

_ORDER = list(RecordType)


class NoDumpsError(DumpError):
    """A folder without .xml or .xml.gz files."""


def find_dumps(paths: Sequence[Path]) -> list[Path]:
    """Return the dumps in load order: artists, labels, masters, releases.

    Within a type the order of `paths` stays. A folder stands for its `.xml` and `.xml.gz` files in the order of their
    names, so that the newest month comes last. Each file is opened to read its record type.

    Raises:
        DumpError: a file is not a dump, or its path is not UTF-8.
        NoDumpsError: a folder holds no dump.
    """
    found: list[tuple[int, Path]] = []
    for path in paths:
        for file in _files(path):
            _check_path(file.absolute())
            with open_dump(file) as dump:
                found.append((_ORDER.index(dump.record_type), file))
    found.sort(key=lambda entry: entry[0])
    return [file for _, file in found]


def _check_path(path: Path) -> None:
    """Raise DumpError for a path that JSON cannot hold."""
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

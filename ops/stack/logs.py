"""Logs of the stack: their last message, and their rotation."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from ops.stack.launch import START_LINE

#: A larger log is rotated.
MAX_BYTES = 20 * 2**20
#: Read to find the last message.
_TAIL_BYTES = 64 * 2**10
_EMPTY = "the log is empty"

#: Lines of a Java stack trace that hold no message.
_FRAME = re.compile(r"at [\w.$/]+[(<]|\.\.\. \d+ more$|(Caused by: )?([a-z]\w*\.)+[\w$]+$")
#: The package of a Java exception.
_PACKAGE = re.compile(r"\b([a-z]\w*\.)+(?=[A-Z][\w$]*(Exception|Error)\b)")
_ERRORS = ("ERROR", "Error", "FATAL", "Exception", "Caused by", "[error", '"error"')


def last_line(log: Path) -> str:
    """Return the last message about an error since the last start, else the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace").rpartition(START_LINE)[2]
    except OSError:
        return _EMPTY
    lines = [line for line in map(str.strip, text.splitlines()) if line and not _FRAME.match(line)] or [
        _EMPTY
    ]
    errors = [line for line in lines if any(word in line for word in _ERRORS)]
    return _PACKAGE.sub("", (errors or lines)[-1].removeprefix("Caused by: "))[:300]


def rotate(log: Path) -> None:
    """Move the text of a large log to `….log.1`, and that to `….log.2`.

    The writer, which appends, goes on in the same file.
    """
    with suppress(OSError):
        if log.stat().st_size < MAX_BYTES:
            return
        last, last_but_one = (log.with_name(f"{log.name}.{number}") for number in (1, 2))
        with suppress(FileNotFoundError):
            last.replace(last_but_one)
        # The disk may be full: a log that cannot be kept is emptied all the same.
        with suppress(OSError):
            shutil.copyfile(log, last)
        os.truncate(log, 0)

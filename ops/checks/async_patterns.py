"""Finds wrong use of Neo4j's async driver, calls that block the event loop, and mocks in a driver's place.

    python -m ops.checks.async_patterns PATH...

Prints `file:line: code message` for each finding and exits with 1 if there are any. A line that is wrong on
purpose, such as one of a test that the driver refuses it, says so: `# wrong on purpose: GA101`, with the codes.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ops.checks import blocking_rules, driver_rules, lifetime_rules, mock_rules
from ops.checks.module import Finding, Module

RULES = [*driver_rules.RULES, *lifetime_rules.RULES, *blocking_rules.RULES, *mock_rules.RULES]

_ON_PURPOSE = re.compile(r"# wrong on purpose: (?P<codes>GA\d+(?:, GA\d+)*)")


def check(text: str) -> list[Finding]:
    """What is wrong in the text of one module; raises SyntaxError where that is no Python."""
    on_purpose = {
        (token.start[0], code)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and (match := _ON_PURPOSE.search(token.string))
        for code in match["codes"].split(", ")
    }
    found = Module(text).findings(RULES)
    seen = {(finding.line, finding.code) for finding in found}
    idle = [Finding(line, "GA001", f"{code} is not found here") for line, code in on_purpose - seen]
    return sorted([finding for finding in found if (finding.line, finding.code) not in on_purpose] + idle)


def modules(paths: Iterable[Path]) -> Iterator[Path]:
    """The Python files among the paths and below them, sorted."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        else:
            yield path


def main(arguments: Sequence[str]) -> int:
    """Check the files and folders named; returns the exit code."""
    if not arguments:
        sys.stderr.write(f"{__doc__}")
        return 2
    findings = [
        (path, finding)
        for path in modules(map(Path, arguments))
        for finding in check(path.read_text(encoding="utf-8"))
    ]
    for path, finding in findings:
        sys.stdout.write(f"{path}:{finding.line}: {finding.code} {finding.message}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

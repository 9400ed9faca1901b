"""Finds wrong use of Neo4j's async driver, calls that block the event loop, and mocks in a driver's place.

    python -m tests.checks.async_patterns PATH...

Prints `file:line: code message` for each finding and exits with 1 if there are any. A line that is wrong on
purpose, such as one of a test that the driver refuses it, says so: `# wrong on purpose: GA101`, with the codes.
"""

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from tests.checks import blocking_rules, driver_rules, lifetime_rules, mock_rules
from tests.checks.module import Finding, Module

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


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.pass_context
def main(ctx: click.Context, paths: tuple[Path, ...]) -> None:
    """Check Python files, and those below folders; ends with 1 if anything is wrong."""
    findings = [
        (path, finding) for path in modules(paths) for finding in check(path.read_text(encoding="utf-8"))
    ]
    for path, finding in findings:
        click.echo(f"{path}:{finding.line}: {finding.code} {finding.message}")
    ctx.exit(1 if findings else 0)


if __name__ == "__main__":
    main()

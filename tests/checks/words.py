"""Check the words in Python files, or folders of them: `.venv/bin/python -m tests.checks.words PATH…`.

The rule stands in CONTRIBUTING.md under "Words".
"""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

MAX_WORDS = 15
#: Openings that describe a thing by a question or a clause instead of its name.
OPENINGS = re.compile(
    r"(what(ever)?|whether|how|of|who(m|se|ever)?|where|when|(that|those|all) which|all that|any(thing|body|one))\b",
    re.IGNORECASE,
)
PHRASES = re.compile(r"\b((is|are) none|anew|(that|those) which|of which|in whose)\b", re.IGNORECASE)
#: Comments for tools, not for readers.
DIRECTIVE = re.compile(r"#!|#\s*(noqa|type:|pragma:|mypy:|ruff:|fmt:|wrong on purpose)")


def breaches(path: Path) -> list[str]:
    """Breaches of the rule in one Python file, in the order of its lines."""
    found = [
        (line, f"{path}:{line}: {reason}: {text.splitlines()[0]}")
        for kind in (docstrings, comments)
        for line, text in kind(path)
        for reason in reasons(text, summary=kind is docstrings)
    ]
    return [breach for _, breach in sorted(found)]


def python_files(path: Path) -> list[Path]:
    """List a Python file or those of a folder; end with a message without any."""
    found = [*path.rglob("*.py")] if path.is_dir() else [path]
    if not found or not all(file.suffix == ".py" and file.is_file() for file in found):
        sys.exit(f"{path} is neither a Python file nor a folder with some")
    return found


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of the docstrings of modules, classes and functions."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield node.body[0].lineno, text


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield first line and text of each block of comment lines."""
    blocks: dict[int, list[str]] = {}
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT and not DIRECTIVE.match(token.string):
                alone = not token.line[: token.start[1]].strip()
                line, text = token.start[0], token.string.lstrip("#: ")
                first = next((n for n in blocks if n + len(blocks[n]) == line), None) if alone else None
                blocks.setdefault(first or line, []).append(text)
    return ((line, "\n".join(texts)) for line, texts in blocks.items())


def reasons(text: str, *, summary: bool) -> Iterator[str]:
    """Yield the reasons why a text breaks the rule; `summary` demands a short first sentence."""
    first = text.splitlines()[0]
    if summary and len(first.split()) > MAX_WORDS:
        yield f"first line has more than {MAX_WORDS} words"
    if summary and not first.endswith((".", ":", "?")):
        yield "first line is not a whole sentence"
    if opening := OPENINGS.match(text):
        yield f'opens with "{opening[0]}"'
    for phrase in PHRASES.finditer(" ".join(text.split())):
        yield f'contains "{phrase[0]}"'


if __name__ == "__main__":
    files = sorted({file for argument in sys.argv[1:] for file in python_files(Path(argument))})
    found = [breach for file in files for breach in breaches(file)]
    print(*found, sep="\n", end="\n" if found else "")  # noqa: T201 - printing is its work
    sys.exit(bool(found))

"""Names from dumps are printed, and no terminal obeys them."""

import subprocess
from pathlib import Path

from tests.acceptance.conftest import Product

NASTY = "\x1b[2J\r\n\x9b1mÄ"
ESCAPED = r"\x1b[2J\r\n\x9b1mÄ"


def printed(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command printed; every line must be printable."""
    text = ended.stdout + ended.stderr
    assert [line for line in text.split("\n") if not line.isprintable()] == []
    return text


def test_names_of_files_and_records_are_escaped(product: Product, tmp_path: Path) -> None:
    dump = tmp_path / f"{NASTY}.xml"
    dump.write_bytes(
        b"<labels><label><id>1</id><name>One\xc2\x9b</name></label><label><id>2\xc2\x9b</id></label></labels>"
    )
    assert "quarantined" in printed(product.run("load", dump, "--partial"))
    assert ESCAPED in printed(product.run("status"))
    listed = printed(product.run("quarantine", "list"))
    assert ESCAPED in listed
    assert r"2\x9b" in listed
    assert ESCAPED in product.run("quarantine", "show", listed.splitlines()[1].split()[0]).stderr
    printed(product.run("quarantine", "replay"))
    printed(product.run("verify", dump))
    dump.write_text("<labels>")
    assert ESCAPED in printed(product.run("load", dump))

"""`graphinator update`, and the check of dumps before `load`, on real servers."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.exit_codes import ExitCode
from tests.acceptance.conftest import Product
from tests.dump_site import DumpSite, dump_site
from tests.unit.test_fetch import DATE, is_right
from workers.state.runs import Runs


@pytest.fixture
def site(sample: list[Path]) -> Iterator[DumpSite]:
    with dump_site() as site:
        for kind, dump in (("labels", sample[1]), ("masters", sample[2])):
            site.publish(DATE, kind, body=dump.read_bytes())
        yield site


def test_an_update_loads_what_is_new(product: Product, site: DumpSite, tmp_path: Path) -> None:
    update = ("update", tmp_path, "--type", "masters", "--type", "labels", "--json")
    product.redis.set("graphinator:load", "another one", ex=600)
    assert product.run(*update, **site.settings()).returncode == ExitCode.BUSY
    product.redis.delete("graphinator:load")
    ended = product.run(*update, **site.settings())
    assert ended.returncode == 0, ended.stderr
    assert is_right(site, tmp_path, "labels", "masters")
    result = json.loads(ended.stdout)
    assert [result[kind]["created"] for kind in ("labels", "masters")] == [1000, 1000]
    dumps = [tmp_path / f"discogs_{DATE}_{kind}.xml.gz" for kind in ("labels", "masters")]
    assert product.graph_differences(dumps) == []
    again = product.run(*update[:-1], **site.settings())
    assert again.stdout == f"nothing to do: the dumps of {DATE} are loaded\n"
    # Discogs replaces a dump at times: the name stays.
    body = gzip.decompress(dumps[0].read_bytes()).replace(b"<profile>", b"<profile>New: ", 1)
    site.publish(DATE, "labels", body=gzip.compress(body))
    result = json.loads(product.run(*update, **site.settings()).stdout)
    assert (result["labels"]["changed"], result["labels"]["read"], result["masters"]["read"]) == (1, 1000, 0)
    assert product.graph_differences(dumps) == []
    # Only `load` notices a graph that is restored from an older backup.
    with product.driver() as driver:
        driver.execute_query("MATCH (n) DETACH DELETE n", database_="neo4j")
    again = product.run(*update[:-1], **site.settings())
    assert again.stdout == f"nothing to do: the dumps of {DATE} are loaded\n"
    product.load(*dumps)
    assert product.graph_differences(dumps) == []


def test_a_dump_that_differs_from_its_checksum_is_not_loaded(
    product: Product, sample: list[Path], tmp_path: Path
) -> None:
    dumps = [tmp_path / dump.name for dump in sample[1:3]]
    for dump, original in zip(dumps, sample[1:3], strict=True):
        dump.write_bytes(original.read_bytes())
    sums = [f"{hashlib.sha256(dump.read_bytes()).hexdigest()} {dump.name}\n" for dump in dumps]
    checksums = tmp_path / "discogs_20200806_CHECKSUM.txt"
    checksums.write_text("".join(sums))
    damaged = gzip.compress(gzip.decompress(dumps[1].read_bytes()).replace(b"<year>", b"<Year>", 1))
    dumps[1].write_bytes(damaged)
    ended = product.run("load", tmp_path, "--json")
    assert ended.returncode == ExitCode.DUMP
    assert ended.stderr.splitlines()[-1] == (
        f"Error: {dumps[1]}: its sha256 is not the one in {checksums.name}; download it again; "
        "it is loaded as it is when the checksum file is gone"
    )
    assert f"{dumps[0].name}: checked, " in ended.stderr
    assert (json.loads(ended.stdout)["complete"], list(Runs(product.redis))) == (False, [])
    checksums.write_text(sums[0])
    ended = product.run("load", tmp_path, "--json")
    assert ended.returncode == 0
    assert f"Warning: {checksums.name} has no checksum of {dumps[1].name}\n" in ended.stderr

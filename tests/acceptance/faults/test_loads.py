"""A load that is killed, interrupted, suspended, or started twice."""

from pathlib import Path

from tests.acceptance.conftest import Product
from tests.acceptance.faults.harness import (
    HURRIED,
    SMALL,
    ended,
    ends_well,
    ends_well_when_resumed,
    is_exact,
    server,
    standing_still,
    start,
    wait_until,
)
from workers.state.keys import STATISTICS


def test_a_load_may_be_killed_while_it_sends(product: Product, releases: Path) -> None:
    load = start(product, releases)
    with standing_still(product, load):
        load.kill()
    load.communicate()
    product.redis.expire("graphinator:load", 1)  # its lock would go by itself in 30 s
    wait_until(lambda: not product.redis.exists("graphinator:load"), "its lock has gone")
    wait_until(lambda: not product.redis.zcard("graphinator:in_flight"), "workers finish what was sent")
    ends_well_when_resumed(product, releases)


def test_the_same_load_twice_at_once_is_refused_and_does_no_harm(product: Product, releases: Path) -> None:
    load = start(product, releases)
    neo4j = server(product, "neo4j")
    try:
        with standing_still(product, load):
            neo4j.suspend()  # the first one cannot end before the second one has asked
        second = product.run("load", releases)
    finally:
        neo4j.resume()
    assert second.returncode == 5
    ends_well(product, load, releases)


def test_a_load_that_slept_while_another_one_ran_gives_up_when_it_wakes(
    product: Product, releases: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "releases.xml"
    newer.write_bytes(releases.read_bytes().replace(b"<title>", b"<title>New: "))
    older = start(product, releases)
    with standing_still(product, older):
        product.redis.expire("graphinator:load", 1)  # its lock would go by itself in 30 s
        wait_until(lambda: not product.redis.exists("graphinator:load"), "its lock has gone")
        product.load(newer, **HURRIED, **SMALL)
    code, _, errors = ended(older)
    assert code == 7
    assert "lost the lease on the load" in errors
    is_exact(product, newer)


def test_where_only_the_statistics_are_missing_resume_counts_them(product: Product, releases: Path) -> None:
    """As after a load that could not reach Redis at its very end."""
    product.load(releases, **SMALL)
    with product.driver() as driver, driver.session() as session:
        session.run("MATCH (style:Style) REMOVE style.release_count, style.genre_count").consume()
    product.redis.delete(STATISTICS)
    assert product.graph_differences([releases])
    result = product.run("resume", **HURRIED)
    assert result.stdout == "no load is to be resumed\n", result.stderr
    is_exact(product, releases)

"""Workers that are killed again and again, at random, while one load goes on."""

import random
from pathlib import Path

from tests.acceptance.conftest import Product
from tests.acceptance.faults.harness import (
    LONG,
    RELEASES,
    TINY,
    ends_well,
    kill,
    standing_still,
    start,
    workers,
)

#: Each kill waits for a number of records to be done drawn at random, so that all of them fall into the load.
KILLS = 50 if LONG else 4


def test_workers_may_be_killed_at_random_all_through_a_load(product: Product, releases: Path) -> None:
    draw = random.Random(KILLS)
    load = start(product, releases, TINY)
    for records in sorted(draw.sample(range(1, RELEASES - 100), KILLS)):
        # The other worker would do all the rest while a new one starts.
        with standing_still(product, load, records):
            kill([draw.choice(workers(product))])
            product.workers(2)
    ends_well(product, load, releases)

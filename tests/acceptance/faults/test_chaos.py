"""Workers that are killed again and again, at random, while one load goes on."""

import random
from pathlib import Path

import psutil

from tests.acceptance.conftest import Product
from tests.acceptance.faults.harness import (
    HURRIED,
    LONG,
    RELEASES,
    ends_well,
    kill,
    runs,
    wait_until,
    workers,
)
from workers.runs import State

#: Each kill waits for a number of records to be done drawn at random, so that all of them fall into the load.
KILLS = 50 if LONG else 6
TINY = {"chunk_records": 10, "chunks_per_batch": 1, "batches_in_flight": 4}


def test_workers_may_be_killed_at_random_all_through_a_load(product: Product, releases: Path) -> None:
    draw = random.Random(KILLS)
    moments = sorted(draw.sample(range(1, RELEASES - 100), KILLS))
    load = product.start("load", releases, "--json", **HURRIED, **TINY)
    sender = psutil.Process(load.pid)
    for records in moments:

        def reached(records: int = records) -> bool:
            assert load.poll() is None, load.communicate()
            return any(run.state is State.RUNNING and run.tally.read >= records for run in runs(product))

        wait_until(reached, f"{records} records are done")
        kill([draw.choice(workers(product))])
        sender.suspend()  # the other worker would do all the rest while a new one starts
        try:
            product.redis.expire("graphinator:load", 600)  # it cannot renew its lock
            product.workers(2)
        finally:
            sender.resume()
    ends_well(product, load, releases)

"""Workers that die, or are replaced, at any moment."""

import base64
import json
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from celery import Celery

from ops.stack import worker_process
from ops.stack.stack import Stack
from pipeline.model import RecordType
from tests.acceptance.conftest import BOUND_SECONDS, Product
from tests.acceptance.faults.crashing import CRASHES, MOMENTS
from tests.acceptance.faults.harness import (
    HURRIED,
    LONG,
    TINY,
    ended,
    ends_well,
    is_exact,
    left_over,
    server,
    standing_still,
    start,
    wait_until,
)
from tests.acceptance.nodes import Setup
from tests.acceptance.test_updates import await_ingested, ingest, written
from tests.integration.history import write_dump
from workers.app import INGEST_QUEUE, NORMALISE, QUEUES, WRITE_BATCH, WRITE_QUEUE
from workers.settings import Settings
from workers.state.in_flight import MAX_CRASHES
from workers.state.keys import REJECTED_MESSAGES

#: One load meets a crash at several moments: early, in the middle and late in the life of a batch.
GROUPS = [[moment] for moment in MOMENTS] if LONG else [list(MOMENTS)[number::3] for number in range(3)]


@pytest.mark.parametrize("moments", GROUPS, ids=", then ".join)
def test_a_worker_may_die_and_come_back_when(
    product: Product, celery_setup: Setup, releases: Path, moments: list[str]
) -> None:
    celery_setup.worker_cluster.scale(0)
    load = start(product, releases)
    for moment in moments:
        product.redis.delete(CRASHES)
        with celery_setup.worker_cluster.crashing(moment) as crashing:
            wait_until(crashing.has_ended, moment)
            assert int(product.redis.get(CRASHES) or 0) >= 1
            assert load.poll() is None, "the load was done already"
            if moment == moments[-1]:
                crashing.restart()
                ends_well(product, load, releases)


def test_a_call_counts_its_records_once_though_workers_die(
    product: Product, celery_setup: Setup, tmp_path: Path
) -> None:
    celery_setup.worker_cluster.scale(0)
    records = [{"id": id_, "name": f"Label {id_}"} for id_ in range(1, 1201)]
    call = ingest(celery_setup.app, RecordType.LABELS, *records).delay()
    for moment in ("the batch is committed and not counted", "the batch is counted and not acknowledged"):
        product.redis.delete(CRASHES)
        with celery_setup.worker_cluster.crashing(moment) as crashing:
            wait_until(crashing.has_ended, moment)
    celery_setup.worker_cluster.scale(2)

    await_ingested(product)
    told = written(celery_setup.app, call.id).delay().get(timeout=BOUND_SECONDS)
    assert told == {"task_id": call.id, "waiting": 0, "written": 1200, "superseded": 0, "refused": 0}
    handed = write_dump(tmp_path, RecordType.LABELS, records)
    assert product.graph_differences([], upstream=[handed]) == []


def test_messages_of_a_dead_worker_are_redelivered(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    load = start(product, releases)
    neo4j = server(product, "neo4j")
    try:
        with standing_still(product, load):
            neo4j.suspend()  # workers keep their messages
        wait_until(lambda: product.redis.exists("unacked"), "they have taken something")
        for worker in celery_setup.worker_cluster:
            worker.kill()
    finally:
        neo4j.resume()
    assert product.redis.exists("unacked")
    celery_setup.worker_cluster.scale(2)
    ends_well(product, load, releases)
    wait_until(
        lambda: not product.redis.exists("unacked", "normalise", "write"), "every message is done with"
    )


def test_all_workers_may_die_at_once_and_again(product: Product, celery_setup: Setup, releases: Path) -> None:
    load = start(product, releases, TINY)
    for records in (100, 400):
        with standing_still(product, load, records):
            for worker in celery_setup.worker_cluster:
                worker.kill()
            celery_setup.worker_cluster.scale(2)
    ends_well(product, load, releases)


def test_a_worker_may_stand_still_until_others_have_done_its_work(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    load = start(product, releases)
    asleep = celery_setup.worker_cluster[0]
    try:
        with standing_still(product, load):
            asleep.kill("SIGSTOP")
        code, _, errors = ended(load)
        assert code == 0, errors
        time.sleep(2 * HURRIED["visibility_timeout_seconds"] if LONG else 0)
    finally:
        asleep.kill("SIGCONT")
    wait_until(
        lambda: not product.redis.exists("unacked", "normalise", "write"), "every message is done with"
    )
    is_exact(product, releases)


def test_workers_may_be_replaced_one_by_one(product: Product, celery_setup: Setup, releases: Path) -> None:
    load = start(product, releases, TINY)
    for records, worker in zip((100, 400), celery_setup.worker_cluster, strict=True):
        with standing_still(product, load, records):
            worker.restart()
            worker.assert_log_exists(f"{worker.hostname()} ready.")
    ends_well(product, load, releases)


def test_a_worker_may_be_killed_during_its_shutdown(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    load = start(product, releases)
    with standing_still(product, load):
        for signal in ("SIGTERM", "SIGKILL"):
            for worker in celery_setup.worker_cluster:
                worker.kill(signal)
    celery_setup.worker_cluster.scale(2)
    ends_well(product, load, releases)


def test_the_number_of_workers_may_change_under_way(
    product: Product, celery_setup: Setup, releases: Path
) -> None:
    celery_setup.worker_cluster.scale(1)
    load = start(product, releases, TINY)
    for records, number in ((100, 3), (400, 1)):
        with standing_still(product, load, records):
            celery_setup.worker_cluster.scale(number)
    ends_well(product, load, releases)


def test_a_poison_batch_is_given_up_and_named(product: Product, celery_setup: Setup, tmp_path: Path) -> None:
    dump = tmp_path / "labels.xml"
    dump.write_text("<labels><label><id>1</id><name>One</name></label></labels>")
    celery_setup.worker_cluster.scale(0)
    load = start(product, dump)
    with celery_setup.worker_cluster.crashing("the batch is not committed", times=MAX_CRASHES) as crashing:
        while load.poll() is None:
            wait_until(lambda: crashing.has_ended() or load.poll() is not None, "a crash or an end")
            crashing.container.start()
    code, result, errors = ended(load)
    assert code == 7
    assert result["complete"] is False
    assert "poison batch: 4 worker processes crashed, or ran out of memory" in errors
    celery_setup.worker_cluster.scale(2)
    product.load(dump)
    is_exact(product, dump)


def test_a_batch_that_is_too_much_for_the_memory_of_a_worker_is_given_up_and_named(
    product: Product, stack: Stack, tmp_path: Path
) -> None:
    product.stack = stack  # its workers have the timeouts for 55 MB
    good, endless = tmp_path / "labels.xml", tmp_path / "releases.xml"
    good.write_text("<labels><label><id>1</id><name>One</name></label></labels>")
    notes = "long " * 11_000_000
    endless.write_text(
        f"<releases><release id='1'><title>t</title><notes>{notes}</notes></release></releases>"
    )
    product.workers(0)
    product.workers(1)
    product.load(good)  # its threads have started, its modules are loaded
    process = server(product, "worker1")
    limit = process.memory_info().vms + 40 * 1024 * 1024  # room for two more threads
    process.rlimit(psutil.RLIMIT_AS, (limit, limit))
    try:
        load = product.start("load", endless, "--json", **HURRIED, record_bytes=60_000_000)
        code, result, errors = ended(load)
    finally:
        product.workers(0)
    assert code == 7
    assert result["complete"] is False
    assert "poison batch: 4 worker processes crashed, or ran out of memory" in errors
    product.workers(1)
    product.load(endless, record_bytes=60_000_000)
    wait_until(lambda: not left_over(product), "nothing is left over")
    assert product.graph_differences([good, endless]) == []


def test_a_worker_that_lives_and_takes_no_work_is_not_healthy(product: Product) -> None:
    deaf, other = (worker_process.node_name(product.stack.home, number) for number in (1, 2))

    def is_healthy(name: str) -> bool:
        return product.run("health", "--liveness", name).returncode == 0

    def idle_workers() -> list[int]:
        numbers: list[int] = json.loads(product.run("status", "--json").stdout)["stack"]["idle_workers"]
        return numbers

    # One that is busy, or waits for a processor, may miss the seconds that it has for its answer.
    wait_until(lambda: is_healthy(deaf), "the first worker answers")
    wait_until(lambda: is_healthy(other), "the second worker answers")
    wait_until(lambda: not idle_workers(), "both answer at once")
    wait_until(lambda: "takes no work" not in product.run("status").stdout, "both answer once more")
    try:
        with Celery(broker=product.endpoints().broker_url(), set_as_current=False) as app:
            for queue in QUEUES:
                app.control.cancel_consumer(queue, destination=[deaf])
            wait_until(lambda: not is_healthy(deaf), "it takes no work")
            assert product.run("health").stdout.startswith(f"{deaf} takes no work")
            assert app.control.ping(destination=[deaf], timeout=BOUND_SECONDS, limit=1)
        wait_until(lambda: is_healthy(other), "the other one answers")
        wait_until(lambda: idle_workers() == [1], "it alone is told of")
        assert "worker 1 takes no work" in product.run("status").stdout
    finally:
        product.workers(0)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"PASSWORD": "wrong"}, "Error: Neo4j: The client is unauthorized"),
        (
            {"DATABASE": "another"},
            "Error: Neo4j: Graph not found: another; GRAPHINATOR_NEO4J_DATABASE names the database",
        ),
    ],
)
def test_a_worker_with_a_wrong_password_or_database_says_so_at_once(
    product: Product, settings: Settings, wrong: dict[str, str], line: str
) -> None:
    name = worker_process.node_name(product.stack.home, 98)
    environment = product.environment() | product.endpoints().environment(product.stack.settings)
    environment["GRAPHINATOR_NEO4J_PASSWORD"] = settings.neo4j_password or ""
    del environment["GRAPHINATOR_NEO4J_PASSWORD_FILE"]
    outcome = subprocess.run(
        worker_process.command(settings, name),
        env=environment | {f"GRAPHINATOR_NEO4J_{setting}": value for setting, value in wrong.items()},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in outcome.stderr
    assert "wrong" not in outcome.stderr + outcome.stdout


def message(content: object, **parts: object) -> bytes:
    """A message as Celery sends it; `parts` replace parts of its envelope, or headers."""
    headers = {"task": WRITE_BATCH.name, "id": "t", "retries": 0, "timelimit": [None, None], "root_id": "t"}
    envelope: dict[str, object] = {
        "body": base64.b64encode(json.dumps(content).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": f"tag {content} {parts}",
            "delivery_info": {"exchange": "write", "routing_key": "write"},
        },
    }
    for name, value in parts.items():
        (envelope if name in envelope else headers)[name] = value
    return json.dumps(envelope).encode()


#: Items that no worker can handle.
UNUSABLE = {
    "no JSON": b"garbage",
    "no text": b"\xff",
    "deep JSON": b"[" * 100_000,
    "an unknown type": b'{"__type__": "x", "__value__": 1}',
    "a list": b"[1]",
    "a number": b"1",
    "an empty object": b"{}",
    "no delivery tag": message([[], {}, None], properties={"delivery_info": {}}),
    "a list as delivery tag": message(
        [[], {}, None],
        properties={"delivery_tag": [1], "delivery_info": {"exchange": "write", "routing_key": "write"}},
    ),
    "no base64": message([], body="x"),
    "an empty body": message([], body=None),
    "a list as headers": message([[], {}, None], headers=[1]),
    "no headers": message([[], {}, None], headers={}),
    "an unknown task": message([[], {}, None], task="unknown"),
    "a list as task": message([[], {}, None], task=[1]),
    "a list as id": message([[], {}, None], id=[1]),
    "a list of one": message([1]),
    "other arguments": message(["a", "b", "c"]),
    "another embedding": message([[], {}, "x"]),
    "a number as errbacks": message([[], {}, {"errbacks": 5}]),
    "an object as arguments": message({"task": "t", "args": {}}),
    "a time far away": message([[], {}, None], eta="2100-01-01T00:00:00+00:00"),
    "a time far away, in protocol 1": message(
        {"task": WRITE_BATCH.name, "id": "t", "eta": "2100-01-01"}, headers={}
    ),
    "no such time": message([[], {}, None], eta="soon"),
    "unknown compression": message([[], {}, None], compression="unknown"),
    "pickle": message([[], {}, None], **{"content-type": "application/x-python-serialize"}),
}


def test_no_message_ends_a_worker(product: Product, celery_setup: Setup, releases: Path) -> None:
    for queue in (NORMALISE.queue, WRITE_QUEUE, INGEST_QUEUE):
        for item in UNUSABLE.values():
            product.redis.lpush(queue, item)
    assert product.redis.publish("/0.celery.pidbox", b"[1]") == len(celery_setup.worker_cluster)
    expected = len(QUEUES) * len(UNUSABLE)
    wait_until(lambda: product.redis.llen(REJECTED_MESSAGES) >= expected, "all are rejected")
    wait_until(lambda: not left_over(product), "nothing is left over")
    kept = product.redis.lrange(REJECTED_MESSAGES, 0, -1)
    assert len(kept) == expected
    assert kept.count(b"\xff") == kept.count(b"[1]") == len(QUEUES)
    ends_well(product, start(product, releases), releases)
    assert not any(worker.has_ended() for worker in celery_setup.worker_cluster)
    assert json.loads(product.run("status", "--json").stdout)["rejected_messages"] == expected
    assert f"{expected} messages rejected" in product.run("status").stdout
    product.redis.delete(REJECTED_MESSAGES)
    assert "rejected" not in product.run("status").stdout

"""A worker that kills itself: `celery -A tests.acceptance.faults.crashing worker …`.

`CRASH_AT` names the moment, `CRASH_TIMES` the number of crashes of all processes together.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import kombu.transport.redis
from celery.backends.redis import RedisBackend
from celery.canvas import Signature
from redis import Redis

from pipeline.graph import derived
from workers.app import app, connect_redis
from workers.batch_writer import BatchWriter
from workers.state.in_flight import InFlight
from workers.upstream.inbox import Inbox

__all__ = ["CALL_MOMENTS", "CRASHES", "MOMENTS", "app"]

#: Key of the number of crashes.
CRASHES = "tests:crashes"


def crash(redis: Redis) -> None:
    """Send SIGKILL, or `CRASH_SIGNAL`, to this process, up to `CRASH_TIMES` times."""
    if redis.incr(CRASHES) <= int(os.environ["CRASH_TIMES"]):
        # To this thread: another one might take a signal to the process, and this one would go on for a moment.
        number = signal.Signals[os.environ.get("CRASH_SIGNAL", "SIGKILL")]
        signal.pthread_kill(threading.get_ident(), number)


def _around(owner: Any, name: str, *, before: bool) -> Callable[[Redis], None]:
    """Crash before or after a method runs."""

    def install(redis: Redis) -> None:
        original = getattr(owner, name)

        def crashing(*arguments: Any, **named: Any) -> Any:
            if before:
                crash(redis)
            result = original(*arguments, **named)
            crash(redis)
            return result

        setattr(owner, name, crashing)

    return install


def _before_the_commit(redis: Redis) -> None:
    original = BatchWriter.before_commit

    async def before_commit(writer: BatchWriter) -> None:
        await original(writer)
        crash(redis)

    setattr(BatchWriter, original.__name__, before_commit)


def _before_statement(name: str) -> Callable[[Redis], None]:
    """Crash in `finish`, before this statement; those before it are committed."""

    def install(redis: Redis) -> None:
        original = vars(derived)["statement"]

        def crashing(wanted: str, **identifiers: str) -> Any:
            if wanted == name:
                crash(redis)
            return original(wanted, **identifiers)

        vars(derived)["statement"] = crashing

    return install


MOMENTS: dict[str, Callable[[Redis], None]] = {
    "the message is taken and not noted as taken": _around(kombu.transport.redis.QoS, "append", before=True),
    "the rows are not stored": _around(InFlight, "store_rows", before=True),
    "the rows are stored": _around(InFlight, "store_rows", before=False),
    "the chord has not counted": _around(RedisBackend, "on_chord_part_return", before=True),
    "the body is not published": _around(Signature, "delay", before=True),
    "the body is published": _around(Signature, "delay", before=False),
    "the batch is not committed": _before_the_commit,
    "the batch is committed and not counted": _around(InFlight, "complete", before=True),
    "the batch is counted and not acknowledged": _around(InFlight, "complete", before=False),
    "the statistics are counted in part": _before_statement("set_end_counts"),
}

REBUILD_MOMENTS: dict[str, Callable[[Redis], None]] = {
    "the derived relationships are rebuilt in part": _before_statement("settle_part_of"),
}

CALL_MOMENTS: dict[str, Callable[[Redis], None]] = {
    "a call is not seen": _around(Inbox, "see", before=True),
    "a call is seen": _around(Inbox, "see", before=False),
    "a call is accepted": _around(Inbox, "add", before=False),
}

if "CRASH_AT" in os.environ:
    (MOMENTS | REBUILD_MOMENTS | CALL_MOMENTS)[os.environ["CRASH_AT"]](connect_redis(app.settings))

"""Steps: what is done to the graph as a whole, between loads of records and never beside them.

A step is asked for by whoever holds the lock of a load, when nothing is in flight. The next holder withdraws what is
still asked for, and waits until what has begun has ended; so no record is ever written while a step is taken.

    graphinator:step               the token of the step that is asked for
    graphinator:step:running       who takes it (expires unless renewed)
    graphinator:step:<token>       how it ended (expires)
    graphinator:step:<token>:begun how many processes have begun it and not come to its end (expires)
    graphinator:unsettled          `1` while records of upstream tasks are written and not yet followed by a `finish`, `0` when one failed
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.client import Pipeline

from pipeline.errors import GraphOverloaded
from workers.state.in_flight import MOST_DEATHS
from workers.state.keys import PREFIX
from workers.state.lease import CLAIM_SECONDS, Claim, claimed

STEP = PREFIX + "step"
RUNNING = STEP + ":running"
UNSETTLED = PREFIX + "unsettled"

OUTCOME_SECONDS = 3600
#: A step may take hours.
BEGUN_SECONDS = 7 * 24 * 3600

Outcome = dict[str, Any]

#: Only the step that is still asked for may end: statistics are stale once records are written again.
_END = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
if KEYS[3] then
  redis.call('DEL', KEYS[3])
end
redis.call('DEL', KEYS[1])
return 1
"""


class Steps:
    """The step that is asked for or taken, in one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._end = redis.register_script(_END)

    # Whoever holds the lock of a load

    def ask(self, token: str, guard: Callable[[Pipeline], None] | None = None) -> None:
        """Ask for the step of this token, which goes into the message, unless it has ended; once more does no harm.

        `guard` watches keys and raises if it must not be asked for.
        """

        def ask(pipe: Pipeline) -> None:
            if guard is not None:
                guard(pipe)
            pipe.watch(_outcome(token))  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            has_ended = pipe.exists(_outcome(token))
            pipe.multi()
            if not has_ended:
                pipe.set(STEP, token)

        self._redis.transaction(ask)

    def withdraw(self, pipe: Pipeline | None = None) -> None:
        """Ask for none any more; with `pipe` as part of its transaction."""
        (self._redis if pipe is None else pipe).delete(STEP)

    def is_running(self) -> bool:
        """Whether some worker takes a step at this moment."""
        return bool(self._redis.exists(RUNNING))

    def outcome(self, token: str) -> Outcome | None:
        """How the step ended; None while it has not."""
        stored = self._redis.get(_outcome(token))
        return None if stored is None else dict(json.loads(stored))

    # The worker that takes it

    @contextmanager
    def running(self, token: str) -> Iterator[Claim | None]:
        """Be the one that takes the step; gives None where it is not asked for, or another one takes it."""
        with claimed(self._redis, RUNNING, CLAIM_SECONDS) as claim:
            asked_for = self._redis.get(STEP) == token.encode()
            yield claim if asked_for else None

    @contextmanager
    def attempt(self, token: str) -> Iterator[bool]:
        """Work on the step that is claimed; gives False where that has ended one process after the other.

        Being too much for Neo4j counts as such an end: a step is not halved.
        """
        key, is_counted = _outcome(token) + ":begun", False
        begun = self._redis.incr(key)
        self._redis.expire(key, BEGUN_SECONDS)
        try:
            yield begun <= MOST_DEATHS
        except GraphOverloaded:
            is_counted = True
            raise
        finally:
            if not is_counted:
                self._redis.decr(key)
                self._redis.expire(key, BEGUN_SECONDS)

    def end(self, token: str, outcome: Outcome, *, settled: bool = False) -> None:
        """Store how the step ended, if it is still asked for; `settled`: its success leaves no statistics stale."""
        keys = [STEP, _outcome(token), *([UNSETTLED] if settled else [])]
        self._end(keys=keys, args=[token, json.dumps(outcome), OUTCOME_SECONDS])

    # What upstream tasks handed over

    @staticmethod
    def unsettle(pipe: Pipeline) -> None:
        """Note, in the transaction that stores a batch, that a `finish` must follow."""
        pipe.set(UNSETTLED, 1)

    def is_unsettled(self) -> bool:
        """Whether a `finish` must follow, and has not failed."""
        return self._redis.get(UNSETTLED) == b"1"

    def give_up_settling(self) -> None:
        """Note that the `finish` failed, which nobody should try again and again; the next one that ends well settles it."""
        self._redis.set(UNSETTLED, 0, xx=True)


def _outcome(token: str) -> str:
    return STEP + ":" + token

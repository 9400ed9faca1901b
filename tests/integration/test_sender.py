"""The lock of loads, on the real Valkey: who has lost it changes nothing, not even before noticing."""

import time
from collections.abc import Callable

import pytest
from redis import Redis

from pipeline.model import Chunk, RecordType
from workers.app import GraphinatorApp, configuration
from workers.batches import Batches, Meta
from workers.blobs import pack
from workers.chords import FINISH
from workers.runs import LOCK
from workers.sender import LoadBroken, Sender
from workers.settings import Settings
from workers.steps import STEP

META = Meta(RecordType.LABELS, "run", "labels.xml", chunks=1)
CHUNK = pack(Chunk(RecordType.LABELS, [0], [1], [b"<label><id>1</id></label>"]))
ACTS: dict[str, Callable[[Sender], object]] = {
    "stores a batch": lambda sender: sender.send("b", META, [CHUNK], {1}),
    "asks for a step": lambda sender: sender.step(FINISH, False, reason="a test"),
}


@pytest.fixture
def sender(settings: Settings, redis: Redis) -> Sender:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings
    return Sender(app)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_who_has_lost_the_lock_stores_nothing_and_asks_for_nothing(
    sender: Sender, redis: Redis, act: Callable[[Sender], object]
) -> None:
    with sender.locked():
        redis.set(LOCK, "load:another")
        sender._tended_at = time.monotonic()  # it will not look after its lock for two seconds
        with pytest.raises(LoadBroken, match="lost its lock"):
            act(sender)
    assert sender.batches.in_flight() == 0
    assert not redis.exists(STEP)
    assert redis.get(LOCK) == b"load:another"


@pytest.mark.parametrize("taken", [True, False])
def test_the_lock_counts_at_the_end_of_the_transaction(sender: Sender, redis: Redis, *, taken: bool) -> None:
    batches = Batches(redis)
    with sender.locked():

        def meanwhile(_: object) -> None:
            if taken:
                redis.set(LOCK, "load:another")

        if taken:
            with pytest.raises(LoadBroken, match="lost its lock"):
                batches.store("b", META, [CHUNK], guard=sender._guard, also=meanwhile)
        else:
            batches.store("b", META, [CHUNK], guard=sender._guard, also=meanwhile)
        assert batches.in_flight() == (0 if taken else 1)


def test_a_step_that_redis_has_forgotten_is_asked_for_again(settings: Settings, redis: Redis) -> None:
    app = GraphinatorApp("tests", set_as_current=False)
    app.settings = settings.model_copy(update={"resend_after_seconds": 0})
    app.conf.update(configuration(settings))
    sender = Sender(app)
    asked: list[object] = []

    def forget_once(_: str) -> None:
        token = redis.get(STEP)
        asked.append(token)
        if len(asked) == 1:
            redis.delete(STEP)
        elif isinstance(token, bytes):
            sender.steps.end(token.decode(), {"counted anew": False})

    with sender.locked():
        sender.on_wait = forget_once
        assert sender.step(FINISH, False, reason="a test") == {"counted anew": False}
    assert asked == [asked[0]] * 2
    assert not redis.exists(STEP)

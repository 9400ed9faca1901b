"""The messages of tasks, built by name: a sender imports no task."""

from dataclasses import dataclass
from typing import Any

from celery import Celery, chord
from celery.canvas import Signature

from workers.app import INGEST_QUEUE, NORMALISE_QUEUE, WRITE_QUEUE


@dataclass(frozen=True, slots=True)
class TaskName:
    """The name of a task and its queue."""

    name: str
    queue: str

    def signature(self, app: Celery, *args: object) -> "Signature[Any]":
        """Return a message for the task, whose result nobody awaits."""
        options = {"queue": self.queue, "ignore_result": True, "argsrepr": repr(args)}
        return app.signature(self.name, args=args, options=options)


NORMALISE = TaskName("graphinator.normalise", NORMALISE_QUEUE)
WRITE_BATCH = TaskName("graphinator.write_batch", WRITE_QUEUE)
INGEST = TaskName("graphinator.ingest", INGEST_QUEUE)
BATCH_FAILED = TaskName("graphinator.batch_failed", WRITE_QUEUE)
FINISH = TaskName("graphinator.finish", WRITE_QUEUE)
REMOVE_VANISHED = TaskName("graphinator.remove_vanished", WRITE_QUEUE)


def send_batch(app: Celery, batch: str, chunks: int) -> None:
    """Send the chord of a stored batch: a `normalise` task a chunk, then `write_batch`."""
    header = [NORMALISE.signature(app, batch, index) for index in range(chunks)]
    body = WRITE_BATCH.signature(app, batch)
    for task in (*header, body):
        task.link_error(BATCH_FAILED.signature(app, batch))
    chord(header, app=app)(body)


def send_exclusive(app: Celery, task: TaskName, *args: object) -> None:
    """Send an exclusive task that is asked for already."""
    task.signature(app, *args).apply_async()

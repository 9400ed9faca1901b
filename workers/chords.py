"""The messages that are sent: by name, so that a sender need not import what only workers run."""

from dataclasses import dataclass
from typing import Any

from celery import Celery, chord
from celery.canvas import Signature

from workers.app import INGEST_QUEUE, NORMALISE_QUEUE, WRITE_QUEUE


@dataclass(frozen=True, slots=True)
class TaskName:
    """The name of a task, and the queue that it is sent to."""

    name: str
    queue: str

    def signature(self, app: Celery, *args: object) -> "Signature[Any]":
        """A message for the task; nobody waits for its result."""
        options = {"queue": self.queue, "ignore_result": True, "argsrepr": repr(args)}
        return app.signature(self.name, args=args, options=options)


NORMALISE = TaskName("graphinator.normalise", NORMALISE_QUEUE)
WRITE_BATCH = TaskName("graphinator.write_batch", WRITE_QUEUE)
INGEST = TaskName("graphinator.ingest", INGEST_QUEUE)
BATCH_FAILED = TaskName("graphinator.batch_failed", WRITE_QUEUE)
FINISH = TaskName("graphinator.finish", WRITE_QUEUE)
REMOVE_VANISHED = TaskName("graphinator.remove_vanished", WRITE_QUEUE)


def send_batch(app: Celery, batch: str, chunks: int) -> None:
    """Send the chord of a batch that is stored already: a header task a chunk, the body that writes them."""
    header = [NORMALISE.signature(app, batch, index) for index in range(chunks)]
    body = WRITE_BATCH.signature(app, batch)
    for task in (*header, body):
        task.link_error(BATCH_FAILED.signature(app, batch))
    chord(header, app=app)(body)


def send_step(app: Celery, task: TaskName, *args: object) -> None:
    """Send the task of a step that is asked for already."""
    task.signature(app, *args).apply_async()

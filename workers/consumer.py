"""Celery's consumer and request, adapted."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from celery.app.task import Context
from celery.exceptions import InvalidTaskError
from celery.utils.time import maybe_iso8601, maybe_make_aware
from celery.worker import consumer
from celery.worker.request import Request
from kombu.exceptions import ContentDisallowed, DecodeError

from pipeline.records.accept import RecordsRefused, arguments
from workers.celery_redis import WRONG_SHAPE, NotAMessage, describe, insist


class Consumer(consumer.Consumer):
    """Celery's consumer; keeps messages that it cannot handle among the rejected ones.

    Celery drops most of them. Some end the worker, and are redelivered to the next one.
    """

    def create_task_handler(self, *args: Any, **options: Any) -> Callable[[Any], None]:
        """Return Celery's handler of messages, for any message."""
        handle = super().create_task_handler(*args, **options)

        def on_task_received(message: Any) -> None:
            try:
                _check(message)
                self._check_eta(_request(message))
                handle(message)
            except (*WRONG_SHAPE, InvalidTaskError, ContentDisallowed, DecodeError) as error:
                message.keep_and_reject(describe(error))

        return on_task_received

    def _check_eta(self, request: Any) -> None:
        """Fail a task that is due after the visibility timeout; raises InvalidTaskError.

        Redis would redeliver the message again and again, each time to a worker that holds it.
        """
        eta = maybe_iso8601(request.eta)
        if eta is None:
            return
        wait = maybe_make_aware(eta, self.app.timezone) - datetime.now(UTC)
        limit: int = self.app.conf.broker_transport_options["visibility_timeout"]
        if wait.total_seconds() > limit:
            error = InvalidTaskError(f"its eta is further away than the visibility timeout, {limit} s: {eta}")
            insist(lambda: self.app.backend.mark_as_failure(request.id, error, request=request))
            raise error

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """Reject a message whose body cannot be decoded."""
        message.keep_and_reject(describe(exc))

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - the signature is Celery's
        """Reject a message that names no task."""
        message.keep_and_reject("it names no task")

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:  # noqa: ARG002 - as above
        """Reject a message that Celery takes for invalid."""
        message.keep_and_reject(describe(exc))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Reject a message for a task that this version lacks; its caller is told."""
        message.keep(f"no task has its name: {describe(exc)}")
        super().on_unknown_task(body, message, exc)


class IngestRequest(Request):
    """A call of `ingest`; in place of its records, Flower shows their number and type."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        named = {name: value for name, value in self.kwargs.items() if name != "strict"}
        with suppress(RecordsRefused):
            record_type, records = arguments(self.args, named)
            self._argsrepr, self._kwargsrepr = f"{len(records):,} {record_type.value}", ""


def _check(message: Any) -> None:
    """Raise NotAMessage unless the body has arguments of either protocol of Celery."""
    match message.payload:
        case [list(), dict(), dict() | None as embedded] if _is_embedding(embedded or {}):
            pass
        case {"args": _} | {"task": _} as body if _has_arguments(body):
            pass
        case _:
            raise NotAMessage("its body holds no arguments of a task")


def _request(message: Any) -> Any:
    """Return what a message of either protocol says about its task."""
    body = message.payload
    embedded = body if isinstance(body, dict) else body[2]
    return Context({**message.headers, **(embedded or {})})


def _is_embedding(embedded: dict[str, Any]) -> bool:
    """Return True if the tasks that follow have the types that Celery expects.

    It hides errors about them: the message would be redelivered for good.
    """
    types = {"callbacks": list, "errbacks": list, "chain": list, "chord": dict}
    return all(isinstance(embedded.get(name), type_ | None) for name, type_ in types.items())


def _has_arguments(body: dict[str, Any]) -> bool:
    return isinstance(body.get("args", []), list) and isinstance(body.get("kwargs", {}), dict)

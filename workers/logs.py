"""The lines of logs, of all libraries alike: for people, or as JSON.

`run`, `record_type` and `batch` are bound as context variables; each line below has them.
"""

import logging
from typing import Any, Literal

from celery import signals
from structlog.contextvars import clear_contextvars, merge_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name
from structlog.typing import Processor

from workers.app import GraphinatorApp

LogFormat = Literal["console", "json"]


def format_logs(log_format: LogFormat) -> None:
    """Give all log lines this format."""
    loggers = logging.getLogger(), logging.getLogger("celery.task")
    handlers: list[logging.Handler | None] = [handler for logger in loggers for handler in logger.handlers]
    # Without a handler, lines from WARNING on go to stderr by this one.
    for handler in handlers or [logging.lastResort]:
        if isinstance(handler, logging.StreamHandler):
            handler.setFormatter(_formatter(log_format, is_terminal=handler.stream.isatty()))


def _formatter(log_format: LogFormat, *, is_terminal: bool) -> ProcessorFormatter:
    renderers: list[Processor] = [
        TimeStamper("%Y-%m-%d %H:%M:%S"),
        ConsoleRenderer(colors=is_terminal, pad_event_to=0, exception_formatter=plain_traceback),
    ]
    if log_format == "json":
        renderers = [TimeStamper("iso"), format_exc_info, JSONRenderer()]
    return ProcessorFormatter(
        foreign_pre_chain=[merge_contextvars, add_log_level, add_logger_name],
        processors=[ProcessorFormatter.remove_processors_meta, *renderers],
    )


@signals.worker_init.connect
def _set_up(sender: Any, **_: object) -> None:
    """Set logs up before the worker starts; Celery would do it later."""
    if isinstance(sender.app, GraphinatorApp):
        sender.app.log.setup(sender.loglevel, sender.logfile, hostname=sender.hostname)
        format_logs(sender.app.settings.log_format)


@signals.task_prerun.connect
def _clear(**_: object) -> None:
    # The thread has run another task before.
    clear_contextvars()

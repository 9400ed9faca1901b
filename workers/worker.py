"""What a worker process holds open, from its start to its end."""

import gc
import logging
from threading import Lock

from celery import signals
from celery.worker import WorkController
from redis.exceptions import RedisError

from pipeline.errors import GraphinatorError, GraphUnavailable, SettingError
from pipeline.graph.driver import Driver
from pipeline.graph.schema import create_schema
from workers.app import GraphinatorApp, connect_inbox, connect_quarantine, connect_redis
from workers.batch_size import BatchSize
from workers.celery_redis.check import risks
from workers.loop import EventLoop, LoopStopped
from workers.settings import ServerNotSet, Settings, variable
from workers.state.exclusive import Steps
from workers.state.in_flight import Batches
from workers.state.lease import CLAIM_SECONDS
from workers.state.runs import Runs
from workers.upstream.recovery import Caretaker

logger = logging.getLogger(__name__)

#: How many new objects the garbage collector waits for: rows are many, and end without its help.
_COLLECTED_OBJECTS = 200_000


class WorkerProcess:
    """The event loop with the driver on it, and the ways to Redis, of one worker process."""

    def __init__(self, app: GraphinatorApp) -> None:
        settings = app.settings
        redis = self._redis = connect_redis(settings)
        self.settings = settings
        self.batches = Batches(redis, claim_seconds=min(CLAIM_SECONDS, settings.resend_after_seconds))
        self.batch_size = BatchSize()
        self.runs = Runs(redis)
        self.steps = Steps(redis)
        self.inbox = connect_inbox(settings, redis)
        self.caretaker = Caretaker(app)
        self.quarantine = connect_quarantine(settings, redis)
        self.loop = EventLoop(lambda: open_driver(settings))
        self._preparing = Lock()
        self._is_prepared = False

    def start(self) -> None:
        """Open it all; raises GraphRejected where Neo4j does not let us in."""
        self.loop.start()
        try:
            self._look_around()
        except BaseException:
            self.loop.stop()
            raise
        self.caretaker.start()

    def stop(self) -> None:
        """Roll back what is under way, close the driver, end the loop."""
        self.caretaker.stop()
        self.loop.stop()

    def _look_around(self) -> None:
        """Warn of what is not as it should be."""
        try:
            for risk in risks(self._redis):
                logger.warning(risk)
        except RedisError as error:
            logger.warning("Redis does not answer yet: %s", error)
        try:
            self.loop.run(self.loop.resource.ask())
        except GraphUnavailable as error:
            logger.warning("Neo4j does not answer yet, its work waits: %s", error)

    def driver(self) -> Driver:
        """The driver of the graph; the first call creates the schema, for which it waits for Neo4j."""
        with self._preparing:
            if not self._is_prepared:
                self.loop.run(create_schema(self.loop.resource))
                self._is_prepared = True
        return self.loop.resource


_process: WorkerProcess | None = None


def this_process() -> WorkerProcess:
    """What this process holds open; raises LoopStopped where it is not a worker, or no longer."""
    if _process is None:
        raise LoopStopped("this process is not a worker, or is shutting down")
    return _process


def open_driver(settings: Settings, *, patience_seconds: float = 60.0) -> Driver:
    """A driver for the graph of these settings; use it as an asynchronous context manager."""
    if settings.neo4j_uri is None:
        raise ServerNotSet(f"{variable('neo4j_uri')} is not set")
    if settings.neo4j_password is None:
        name = variable("neo4j_password")
        raise SettingError(f"{name} is not set, nor {name}_FILE")
    return Driver(
        settings.neo4j_uri,
        settings.neo4j_user,
        settings.neo4j_password,
        connection_timeout_seconds=patience_seconds,
    )


@signals.worker_init.connect
def start(sender: WorkController, **_: object) -> None:
    """Open it all, before the worker takes its first message."""
    global _process  # noqa: PLW0603 - there is one per process, as its name says
    if isinstance(sender.app, GraphinatorApp):
        try:
            process = WorkerProcess(sender.app)
            process.start()
        except Exception as error:
            # Celery goes on after any exception but this: the worker would take messages and fail each one.
            text = str(error) if isinstance(error, GraphinatorError) else f"{type(error).__name__}: {error}"
            raise SystemExit(f"Error: {' '.join(text.split())}") from error
        _process = process
        gc.freeze()
        gc.set_threshold(_COLLECTED_OBJECTS)


@signals.worker_shutdown.connect
def stop(sender: WorkController, **_: object) -> None:
    """Roll back what is under way, close the driver, end the loop."""
    global _process  # noqa: PLW0603 - as above
    if isinstance(sender.app, GraphinatorApp) and _process is not None:
        _process.stop()
        _process = None

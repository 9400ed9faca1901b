"""The worker: what its process holds open from its start to its end."""

import gc
import logging
from threading import Lock
from typing import Any

import psutil
from celery import signals
from celery.worker import WorkController
from celery.worker.control import inspect_command
from redis.exceptions import RedisError

from pipeline.errors import DatabaseMissing, GraphinatorError, GraphUnavailable, SettingError
from pipeline.graph.driver import Driver
from pipeline.graph.schema import check_database, create_schema
from workers.app import (
    QUEUES,
    TAKES_WORK,
    GraphinatorApp,
    connect_inbox,
    connect_quarantine,
    connect_redis,
)
from workers.exporter import Exporter
from workers.loop import EventLoop, LoopStopped
from workers.metrics import THREADS
from workers.redis_check import risks
from workers.settings import ServerNotSet, Settings, variable
from workers.state.exclusive import ExclusiveTasks
from workers.state.in_flight import InFlight
from workers.state.keys import LEASE_SECONDS
from workers.state.runs import Runs
from workers.state.statistics import StatisticsState
from workers.upstream.recovery import Recovery

logger = logging.getLogger(__name__)

#: New objects before the garbage collector runs: rows are many, and go without its help.
_COLLECTED_OBJECTS = 200_000
#: A loop that runs answers sooner. Messages wait meanwhile.
LOOP_SECONDS = 2.0


def resident_megabytes() -> int:
    """Return the resident memory of this process."""
    return round(psutil.Process().memory_info().rss / 1e6)


class Worker:
    """One worker process: its event loop with the driver, its state in Redis."""

    def __init__(self, app: GraphinatorApp) -> None:
        settings = app.settings
        redis = self._redis = connect_redis(settings)
        self.settings = settings
        self.in_flight = InFlight(redis, lease_seconds=min(LEASE_SECONDS, settings.resend_after_seconds))
        self.runs = Runs(redis)
        self.exclusive = ExclusiveTasks(redis)
        self.statistics = StatisticsState(redis)
        self.inbox = connect_inbox(settings, redis)
        self.recovery = Recovery(app)
        self.quarantine = connect_quarantine(settings, redis)
        self.loop = EventLoop(lambda: open_driver(settings))
        self._exporter = Exporter(settings, self.loop)
        self._preparing = Lock()
        self._is_prepared = False

    def start(self) -> None:
        """Open everything; raises GraphRejected or SettingError if Neo4j refuses the login or database."""
        self.loop.start()
        try:
            self._check_servers()
        except BaseException:
            self.loop.stop()
            raise
        self.recovery.start()
        self._exporter.start()

    def stop(self) -> None:
        """Roll back what runs, close the driver, end the loop."""
        self._exporter.stop()
        self.recovery.stop()
        self.loop.stop()

    def _check_servers(self) -> None:
        """Log a warning for each server that is not as it should be."""
        try:
            for risk in risks(self._redis):
                logger.warning(risk)
        except RedisError as error:
            logger.warning("Redis does not answer yet: %s", error)
        try:
            self.loop.run(_ask(self.loop.resource))
        except GraphUnavailable as error:
            logger.warning("Neo4j does not answer yet, its work waits: %s", error)
        except DatabaseMissing as error:
            raise SettingError(f"{error}; {variable('neo4j_database')} names the database") from error

    def driver(self) -> Driver:
        """Return the driver; the first call waits for Neo4j and creates the schema."""
        with self._preparing:
            if not self._is_prepared:
                self.loop.run(create_schema(self.loop.resource))
                self._is_prepared = True
        return self.loop.resource


@inspect_command(name=TAKES_WORK)
def takes_work(state: Any, **_: object) -> bool:
    """Return True if the event loop runs, and the worker consumes one of our queues."""
    try:
        is_running = this_worker().loop.answers(LOOP_SECONDS)
    except LoopStopped:  # it starts, or shuts down
        is_running = False
    consumer = state.consumer.task_consumer
    return is_running and consumer is not None and any(queue.name in QUEUES for queue in consumer.queues)


async def _ask(driver: Driver) -> None:
    await driver.ask()  # once: a worker starts without Neo4j
    await check_database(driver)


_worker: Worker | None = None


def this_worker() -> Worker:
    """Return the worker of this process; raises LoopStopped before its start and after its end."""
    if _worker is None:
        raise LoopStopped("this process is not a worker, or is shutting down")
    return _worker


def open_driver(settings: Settings, *, patience_seconds: float = 60.0) -> Driver:
    """Return a driver for the Neo4j of these settings; use it in `async with`."""
    if settings.neo4j_uri is None:
        raise ServerNotSet(variable("neo4j_uri"))
    if settings.neo4j_password is None:
        name = variable("neo4j_password")
        raise SettingError(f"{name} is not set, nor {name}_FILE")
    return Driver(
        settings.neo4j_uri,
        settings.neo4j_user,
        settings.neo4j_password,
        database=settings.neo4j_database,
        connection_timeout_seconds=patience_seconds,
    )


@signals.worker_init.connect
def start(sender: WorkController, **_: object) -> None:
    """Start the worker before it takes its first message."""
    global _worker  # noqa: PLW0603 - there is one per process, as its name says
    if isinstance(sender.app, GraphinatorApp):
        try:
            worker = Worker(sender.app)
            worker.start()
        except Exception as error:
            # Celery goes on after any exception but this: the worker would take messages and fail each one.
            text = str(error) if isinstance(error, GraphinatorError) else f"{type(error).__name__}: {error}"
            raise SystemExit(f"Error: {' '.join(text.split())}") from error
        _worker = worker
        # Celery resolves `--concurrency auto` later.
        THREADS.set_function(lambda: sender.concurrency)  # type: ignore[attr-defined]  # not in the stubs
        gc.freeze()
        gc.set_threshold(_COLLECTED_OBJECTS)


@signals.worker_shutdown.connect
def stop(sender: WorkController, **_: object) -> None:
    """Roll back what runs, close the driver, end the loop."""
    global _worker  # noqa: PLW0603 - as above
    if isinstance(sender.app, GraphinatorApp) and _worker is not None:
        _worker.stop()
        _worker = None

"""The HTTP server that shows a process's metrics to Prometheus."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from threading import Thread
from types import TracebackType
from typing import Self, TypeAlias
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from pipeline.graph.driver import RETRIES, Driver
from pipeline.model import RecordType
from workers.app import QUEUES, connect_inbox, connect_quarantine, connect_redis
from workers.loop import EventLoop, LoopStopped
from workers.metrics import METRICS, PREFIX, REGISTRY
from workers.settings import Settings
from workers.state.in_flight import InFlight
from workers.state.runs import Runs, RunState
from workers.upstream.inbox import Waiting

logger = logging.getLogger(__name__)

#: Values of a metric by those of its labels.
Values: TypeAlias = Mapping[tuple[str, ...], float]

#: Ports that are tried, from the one that is set on: each process on a machine takes the first free one.
PORTS = 100
#: Time for Neo4j to answer, while Prometheus waits.
NEO4J_SECONDS = 2.0


class Exporter:
    """Serves the metrics of this process, if the settings name a port."""

    def __init__(self, settings: Settings, loop: EventLoop[Driver]) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._registry.register(REGISTRY)
        self._registry.register(_AtScrape(settings, loop))
        self._server: tuple[WSGIServer, Thread] | None = None

    def start(self) -> None:
        """Listen at the first free port; a process without one works all the same."""
        first, address = self._settings.metrics_port, self._settings.metrics_address
        if first is None:
            return
        problem = ""
        for port in range(first, first + PORTS):
            try:
                self._server = start_http_server(port, address, self._registry)
            except OSError as error:
                problem = error.strerror or str(error)
            else:
                logger.info("metrics: http://%s:%d/metrics", address, port)
                return
        # The work matters more.
        logger.warning("no metrics: cannot listen at %s, port %d to %d: %s", address, first, port, problem)

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _AtScrape(Collector):
    """Asks Redis and Neo4j when Prometheus asks, so that nothing it shows is old."""

    def __init__(self, settings: Settings, loop: EventLoop[Driver]) -> None:
        self._loop = loop
        redis = self._redis = connect_redis(settings, patient=False)
        self._limit_bytes = settings.quarantine_megabytes * 2**20
        self._in_flight = InFlight(redis)
        self._runs = Runs(redis)
        self._inbox = connect_inbox(settings, redis)
        self._quarantine = connect_quarantine(settings, redis)

    def collect(self) -> Iterator[Family]:
        """Yield the metrics; those of a server that does not answer are absent."""
        try:
            driver = self._loop.resource
            is_up, sessions = self._loop.run(_look(driver))
        except LoopStopped:
            return
        yield _family("neo4j_up", is_up)
        yield _family("neo4j_sessions", sessions)
        yield _family("neo4j_connections_limit", driver.max_connections)
        yield _family(
            "transaction_retries_total", {(reason,): times for reason, times in RETRIES.copy().items()}
        )
        try:
            shared = [*self._of_records(), *self._of_redis()]
        except RedisError:
            shared = []
        yield _family("redis_up", bool(shared))
        yield from shared

    def _of_records(self) -> Iterator[Family]:
        # A run that waits for its turn shows nothing yet: the one before it does.
        runs = sorted(self._runs, key=lambda run: (run.state is not RunState.WAITING, run.plan.at))
        newest = {run.record_type: run for run in runs}.values()
        read: dict[tuple[str, ...], float] = {}
        outcomes: dict[tuple[str, ...], float] = {}
        for run in newest:
            names = "load", run.record_type.value
            read[names] = run.reading.records if run.reading is not None else 0
            outcomes |= {(*names, outcome): number for outcome, number in run.tally.as_dict().items()}
            outcomes[*names, "vanished"] = run.end.vanished if run.end is not None else 0
        for each in self._runs.upstream():
            names = "upstream", each.record_type.value
            read[names] = each.tally.read
            outcomes |= {(*names, outcome): number for outcome, number in each.tally.as_dict().items()}
        yield _family("records_read_total", read)
        yield _family("records_total", outcomes)
        yield _family(
            "load_state",
            {
                (run.record_type.value, state.value): run.state is state
                for run in newest
                for state in RunState
            },
        )
        yield _family(
            "load_done_ratio",
            {
                (run.record_type.value,): run.reading.done(run.tally) if run.reading is not None else 0
                for run in newest
            },
        )

    def _of_redis(self) -> Iterator[Family]:
        yield _family("batches_in_flight", len(self._in_flight))
        yield _family("oldest_batch_seconds", self._in_flight.oldest_seconds())
        yield _family("queue_tasks", {(queue,): self._redis.llen(queue) for queue in QUEUES})
        waiting = {type_: Waiting(0, 0.0) for type_ in RecordType} | self._inbox.waiting()
        yield _family(
            "upstream_records_waiting", {(type_.value,): each.records for type_, each in waiting.items()}
        )
        yield _family(
            "upstream_waiting_seconds", {(type_.value,): each.seconds for type_, each in waiting.items()}
        )
        yield _family("quarantine_records", len(self._quarantine))
        yield _family("quarantine_bytes", self._quarantine.size_bytes())
        yield _family("quarantine_limit_bytes", self._limit_bytes)
        memory = self._redis.info("memory")
        yield _family("redis_memory_bytes", memory["used_memory"])
        if limit := memory.get("maxmemory"):
            yield _family("redis_memory_limit_bytes", limit)


#: Questions that Neo4j has not answered in time.
_asking: set[asyncio.Task[None]] = set()


async def _look(driver: Driver) -> tuple[bool, int]:
    """Return whether Neo4j answers within NEO4J_SECONDS, and the number of open sessions."""
    asking = asyncio.create_task(driver.ask())
    # One that takes longer is not cancelled: that would wait for the time-outs of the driver.
    await asyncio.wait([asking], timeout=NEO4J_SECONDS)
    if asking.done():
        return asking.exception() is None, driver.open_sessions()
    _asking.add(asking)
    asking.add_done_callback(_forget)
    return False, driver.open_sessions()


def _forget(asking: "asyncio.Task[None]") -> None:
    _asking.discard(asking)
    if not asking.cancelled():
        asking.exception()  # otherwise the loop logs that nobody has seen it


def _family(name: str, values: Values | float) -> Family:
    """Return a metric of the table with its values."""
    metric = METRICS[PREFIX + name]
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        family.add_metric(labels, value)
    return family

"""The metrics of workers and loads: their table, and those that a process counts itself.

`workers.exporter` shows them to Prometheus. `python -m workers.metrics` prints the table of docs/reference/metrics.md.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from celery import Task, signals
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client import Counter as PrometheusCounter

PREFIX = "graphinator_"

# A series more for each counter, with the time of its first value.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: The metrics that this process counts.
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_RECORDS = (1, 10, 50, 100, 250, 500, 1000, 1500, 2000, 3000, 5000, 10_000)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as Prometheus knows it."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    #: The same from each process: it is read from Redis when Prometheus asks.
    shared: bool = False


def _metrics(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


#: All metrics by name.
METRICS = _metrics(
    Metric(
        "graphinator_records_read_total",
        "counter",
        "Records of the newest load of a type, or of upstream tasks (`source`: `load` or `upstream`), that are read.",
        ("source", "record_type"),
        shared=True,
    ),
    Metric(
        "graphinator_records_total",
        "counter",
        "The same records by outcome: `unchanged`, `created`, `changed`, `quarantined`; and those that `vanished`.",
        ("source", "record_type", "outcome"),
        shared=True,
    ),
    Metric(
        "graphinator_load_state",
        "gauge",
        "1 for the state of the newest load of a type: `waiting`, `running`, `finished`, `failed`, `stalled`, `overtaken`.",
        ("record_type", "state"),
        shared=True,
    ),
    Metric(
        "graphinator_load_done_ratio",
        "gauge",
        "Share of the newest load of a type that is done, from 0 to 1; an estimate until the dump is read.",
        ("record_type",),
        shared=True,
    ),
    Metric("graphinator_batches_in_flight", "gauge", "Batches that are stored and not written.", shared=True),
    Metric(
        "graphinator_oldest_batch_seconds",
        "gauge",
        "Age of the oldest batch in flight; 0 without one.",
        shared=True,
    ),
    Metric(
        "graphinator_queue_tasks",
        "gauge",
        "Tasks that no worker has taken yet.",
        ("queue",),
        shared=True,
    ),
    Metric(
        "graphinator_upstream_records_waiting",
        "gauge",
        "Accepted records of upstream tasks that are in no batch yet.",
        ("record_type",),
        shared=True,
    ),
    Metric(
        "graphinator_upstream_waiting_seconds",
        "gauge",
        "Age of the oldest of them; 0 without one.",
        ("record_type",),
        shared=True,
    ),
    Metric("graphinator_quarantine_records", "gauge", "Records in the quarantine.", shared=True),
    Metric("graphinator_quarantine_bytes", "gauge", "Size of the quarantine.", shared=True),
    Metric(
        "graphinator_quarantine_limit_bytes",
        "gauge",
        "Size at which it is full, `GRAPHINATOR_QUARANTINE_MEGABYTES`.",
        shared=True,
    ),
    Metric("graphinator_redis_memory_bytes", "gauge", "Memory that Redis uses.", shared=True),
    Metric(
        "graphinator_redis_memory_limit_bytes",
        "gauge",
        "Its `maxmemory`; absent without one.",
        shared=True,
    ),
    Metric(
        "graphinator_worker_threads",
        "gauge",
        "Tasks that this worker runs at a time; 0 in a load.",
    ),
    Metric(
        "graphinator_redis_up",
        "gauge",
        "1 if Redis answers this process; if not, the metrics that are read from it are absent.",
    ),
    Metric("graphinator_neo4j_up", "gauge", "1 if Neo4j answers this process."),
    Metric(
        "graphinator_neo4j_sessions",
        "gauge",
        "Open sessions of this process at Neo4j; each uses at most one connection of the driver's pool.",
    ),
    Metric("graphinator_neo4j_connections_limit", "gauge", "Connections of the driver's pool, at most."),
    Metric(
        "graphinator_transaction_retries_total",
        "counter",
        "Transactions that were tried again, by the last part of Neo4j's error code or the driver's error.",
        ("reason",),
    ),
    Metric(
        "graphinator_task_retries_total",
        "counter",
        "Celery tasks that are retried, by error.",
        ("task", "reason"),
    ),
    Metric(
        "graphinator_task_seconds",
        "histogram",
        "Time of a task by the state it ends in: `SUCCESS`, `RETRY`, `FAILURE`, `REJECTED`.",
        ("task", "state"),
    ),
    Metric(
        "graphinator_batch_seconds",
        "histogram",
        "Time in which a worker wrote a batch.",
        ("record_type",),
    ),
    Metric("graphinator_batch_records", "histogram", "Records of a written batch.", ("record_type",)),
    Metric(
        "graphinator_loop_lag_seconds",
        "histogram",
        "Delay of a timer on the event loop, which shows that something blocks it.",
    ),
)


def _of_process(kind: type[Any], name: str, **options: Any) -> Any:
    metric = METRICS[name]
    return kind(metric.name, metric.help, metric.labels, registry=REGISTRY, **options)


THREADS: Gauge = _of_process(Gauge, "graphinator_worker_threads")
TASK_RETRIES: PrometheusCounter = _of_process(PrometheusCounter, "graphinator_task_retries_total")
TASK_SECONDS: Histogram = _of_process(Histogram, "graphinator_task_seconds", buckets=_SECONDS)
BATCH_SECONDS: Histogram = _of_process(Histogram, "graphinator_batch_seconds", buckets=_SECONDS)
BATCH_RECORDS: Histogram = _of_process(Histogram, "graphinator_batch_records", buckets=_RECORDS)
LOOP_LAG: Histogram = _of_process(Histogram, "graphinator_loop_lag_seconds", buckets=_SECONDS)

_started: ContextVar[float | None] = ContextVar("started", default=None)


@signals.task_prerun.connect
def _start(**_: object) -> None:
    _started.set(time.perf_counter())


@signals.task_postrun.connect
def _end(task: "Task[Any, Any]", state: str, **_: object) -> None:
    started = _started.get()
    if started is not None:
        TASK_SECONDS.labels(task.name, state).observe(time.perf_counter() - started)


@signals.task_retry.connect
def _count_retry(sender: "Task[Any, Any]", reason: Any, **_: object) -> None:
    TASK_RETRIES.labels(sender.name, type(getattr(reason, "exc", reason)).__name__).inc()


def metrics_table() -> str:
    """Return the table of all metrics, as Markdown."""
    lines = ["| metric | type | labels | from | what it is |", "|---|---|---|---|---|"]
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        origin = "Redis" if metric.shared else "the process"
        lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {origin} | {metric.help} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(metrics_table())  # noqa: T201 - printing the table is what running this module is for

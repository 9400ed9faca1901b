"""Dashboard and alerts use metrics that exist, with their labels."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.model import RecordType
from tests.static.test_containers import COMPOSE, RESOURCES
from workers.metrics import METRICS, REGISTRY, Metric
from workers.state.runs import RunState

MONITORING = Path(__file__).parents[2] / "ops/monitoring"
DASHBOARD: dict[str, Any] = json.loads(
    (MONITORING / "grafana/dashboards/graphinator.json").read_text(encoding="utf-8")
)
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
#: A metric with what stands before it, such as `rate(`, and its selector.
USE = re.compile(r"(?P<call>\w+\()?\b(?P<name>(?:graphinator|process)_\w+)(?:\{(?P<matchers>[^}]*)\})?")
#: Labels that Prometheus adds to each metric.
TARGET = {"job", "instance"}
OF_PROCESS = {sample.name for family in REGISTRY.collect() for sample in family.samples}


def expressions() -> Iterator[Any]:
    for rule in ALERTS:
        yield pytest.param(rule["expr"], rule["annotations"]["summary"], id=rule["alert"])
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield pytest.param(
                target["expr"], target["legendFormat"], id=f"{panel['title']} {target['refId']}"
            )


def uses(expression: str) -> Iterator[tuple[Metric, str, str, dict[str, str]]]:
    """Yield each metric of an expression, its name there, the function around it, its matchers."""
    for use in USE.finditer(expression):
        name = use["name"]
        if name.startswith("process_"):
            assert name in OF_PROCESS
            metric = Metric(name, "counter" if name.endswith("_total") else "gauge", "")
        else:
            base = re.sub("_(bucket|sum|count)$", "", name)
            metric = METRICS[base if METRICS.get(base) and METRICS[base].type == "histogram" else name]
        matchers = dict(re.findall(r'(\w+)=~?"([^"]*)"', use["matchers"] or ""))
        yield metric, name, (use["call"] or "").rstrip("("), matchers


@pytest.mark.parametrize(("expression", "text"), list(expressions()))
def test_an_expression_uses_metrics_as_they_are(expression: str, text: str) -> None:
    found = list(uses(expression))
    assert found
    for metric, name, call, matchers in found:
        assert set(matchers) <= set(metric.labels), name
        # A counter, and each number of a histogram, says something by its growth only.
        assert (call in ("rate", "increase")) == (metric.type != "gauge"), name
        # The same from each process: a sum would count it as often as there are processes.
        assert not (metric.shared and call in ("sum", "avg", "count")), name
    labels = {label for metric, *_ in found for label in metric.labels} | TARGET
    if any(metric.type == "histogram" for metric, *_ in found):
        labels |= {"le"}
    grouped = [re.split(r",\s*", by) for by in re.findall(r"\b(?:by|on) \(([^)]+)\)", expression)]
    assert {label for by in grouped for label in by} <= labels
    shown = set(re.findall(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}", text))
    assert shown <= {label for by in grouped for label in by}


def test_values_of_labels_exist() -> None:
    values = {"state": {*RunState}, "record_type": {*RecordType}, "source": {"load", "upstream"}}
    for expression in (parameters.values[0] for parameters in expressions()):
        for _, _, _, matchers in uses(str(expression)):
            for label, pattern in matchers.items():
                assert set(pattern.split("|")) <= values[label]


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert rule["alert"].startswith("Graphinator")
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "action"}


def test_the_panels_of_the_dashboard_have_places_and_a_source() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (column, line)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24
    (variable,) = DASHBOARD["templating"]["list"]
    source = {"type": variable["query"], "uid": f"${{{variable['name']}}}"}
    assert all(each["datasource"] == source for panel in panels for each in (panel, *panel["targets"]))


def test_prometheus_asks_workers_where_they_listen() -> None:
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    (name,) = found["names"]
    workers = COMPOSE["services"][name]
    assert workers["environment"]["GRAPHINATOR_METRICS_PORT"] == str(found["port"])
    assert workers["networks"] == COMPOSE["services"]["prometheus"]["networks"]
    pod = RESOURCES["Deployment", "workers"]["spec"]["template"]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(found["port"])
    assert pod["spec"]["containers"][0]["ports"] == [{"name": "metrics", "containerPort": found["port"]}]

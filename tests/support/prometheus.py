"""The Prometheus samples of an endpoint, and the queries of the dashboard in deploy/monitoring."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
DASHBOARD = MONITORING / "dashboards" / "ohlcv.json"
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """A metric with its labels."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """A query of a panel: the selected metrics, the labels that it groups by, and the labels in its legend."""

    title: str
    selectors: list[Sample]
    labels: set[str]


def parse_samples(text: str) -> list[Sample]:
    """Return the samples in Prometheus' text format."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    matches = [re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{.*\})?\s+\S+(\s+\d+)?", line) for line in lines]
    assert all(matches), text
    return [Sample(match[1], dict(_LABEL.findall(match[2] or ""))) for match in matches if match]


def dashboard_queries() -> list[Query]:
    """Return all queries of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [_parse_query(panel["title"], target) for panel in panels for target in panel["targets"]]


def _parse_query(title: str, target: dict[str, Any]) -> Query:
    grouping = r"\bby\s*\(([^)]*)\)"
    grouped = ",".join(re.findall(grouping, target["expr"]))
    legend = re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"])
    # What remains are metrics, each with an optional selector and range, and functions, which a bracket follows.
    expression = re.sub(grouping, "", target["expr"])
    found = re.findall(r"\b([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(?!\w|\s*\(|[^{]*\})", expression)
    selectors = [Sample(name, dict(_LABEL.findall(labels))) for name, labels in found]
    return Query(title, selectors, {label.strip() for label in grouped.split(",") if label.strip()} | set(legend))


def missing_names(query: Query, samples: list[Sample]) -> list[str]:
    """Return what a query selects or groups by and no sample has. Prometheus itself adds `job` and `instance`."""
    missing = []
    for selector in query.selectors:
        found = [
            sample
            for sample in samples
            if sample.name == selector.name and selector.labels.items() <= sample.labels.items()
        ]
        common = {label for label in query.labels if all(label in sample.labels for sample in found)}
        if not found:
            missing.append(f"{query.title}: no sample for {selector.name}{selector.labels or ''}")
        elif lacking := query.labels - {"job", "instance"} - common:
            missing.append(f"{query.title}: {selector.name} has no label {', '.join(sorted(lacking))}")
    return missing


def scrape_jobs() -> dict[str, dict[str, Any]]:
    """Return the scrape jobs of prometheus.yaml by name."""
    configuration = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    return {job["job_name"]: job for job in configuration["scrape_configs"]}


def map_statsd(name: str) -> Sample | None:
    """Return the metric that statsd-exporter makes of a StatsD name, by the mappings in statsd.yaml."""
    for mapping in yaml.safe_load((MONITORING / "statsd.yaml").read_text())["mappings"]:
        pattern = "([^.]*)".join(re.escape(part) for part in mapping["match"].split("*"))
        if values := re.fullmatch(pattern, name):
            labels = {label: values[int(text.removeprefix("$"))] for label, text in mapping["labels"].items()}
            return Sample(mapping["name"], labels)
    return None

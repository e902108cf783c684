"""The Grafana dashboard queries only metrics, labels and values that exist.

Spark's metrics are compared in tests/integration/test_spark_metrics.py, Airflow's in
tests/orchestration/test_airflow_metrics.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ohlcv.monitoring.exporter import PORT, format_metrics
from ohlcv.monitoring.health import health
from support.health_sources import START, filled_settings
from support.prometheus import (
    DASHBOARD,
    Query,
    Sample,
    dashboard_queries,
    map_statsd,
    missing_names,
    parse_samples,
    scrape_jobs,
)

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


def test_queries_are_parsed_into_metrics_and_labels() -> None:
    queries = {query.title: query for query in dashboard_queries()}
    assert len(queries) == DASHBOARD.read_text().count('"expr"')
    assert queries["Finished runs by state"] == Query(
        "Finished runs by state", [Sample("airflow_dagrun_duration_count")], {"dag_id", "state"}
    )
    assert [selector.name for selector in queries["Mean duration of runs"].selectors] == [
        "airflow_dagrun_duration_sum",
        "airflow_dagrun_duration_count",
    ]
    assert queries["Live Spark workers"].selectors == [Sample("ohlcv_health_value", {"aspect": "workers"})]


def test_a_query_for_an_unknown_name_is_found() -> None:
    samples = [Sample("a", {"x": "1"})]
    assert missing_names(Query("", [Sample("a", {"x": "1"})], {"x", "instance"}), samples) == []
    assert missing_names(Query("", [Sample("b")], set()), samples)
    assert missing_names(Query("", [Sample("a", {"x": "2"})], set()), samples)
    assert missing_names(Query("", [Sample("a")], {"y"}), samples)


def test_the_exporter_serves_every_health_metric_of_the_dashboard(tmp_path: Path) -> None:
    queries = [each for each in dashboard_queries() if each.selectors[0].name.startswith("ohlcv_")]
    assert len(queries) == 10
    with filled_settings(tmp_path) as settings:
        samples = parse_samples(format_metrics(health(settings, START)))
    assert [name for query in queries for name in missing_names(query, samples)] == []


def test_every_metric_of_the_dashboard_has_a_source() -> None:
    """The sources are the scrape jobs: the exporter, Airflow by statsd-exporter, Spark's master and workers."""
    prefixes = ("ohlcv_health_", "airflow_", "metrics_master_", "metrics_worker_")
    names = [selector.name for query in dashboard_queries() for selector in query.selectors]
    assert [name for name in names if not name.startswith(prefixes)] == []
    assert set(scrape_jobs()) == {"health", "airflow", "spark-master", "spark-worker"}


def test_prometheus_scrapes_the_services_of_the_deployment() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    targets = {name: job["static_configs"][0]["targets"] for name, job in scrape_jobs().items() if name[-1] != "r"}
    assert targets["health"] == [f"exporter:{PORT}"]
    assert {host.partition(":")[0] for hosts in targets.values() for host in hosts} <= set(services)
    workers = scrape_jobs()["spark-worker"]["dns_sd_configs"][0]["names"]
    assert set(workers) <= set(services)


def test_statsd_names_are_mapped_to_metrics() -> None:
    assert map_statsd("airflow.dagrun.duration.success.ohlcv_1m") == Sample(
        "airflow_dagrun_duration", {"state": "success", "dag_id": "ohlcv_1m"}
    )
    assert map_statsd("airflow.scheduler.heartbeat") is None

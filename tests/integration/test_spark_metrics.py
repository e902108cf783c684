"""Spark's master and worker serve the metrics that the dashboard queries, at the paths that Prometheus scrapes."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest

from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.processes import HOST
from support.prometheus import Sample, dashboard_queries, missing_names, parse_samples, scrape_jobs

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def scrape(web: str, job: str) -> list[Sample]:
    with urllib.request.urlopen(web + scrape_jobs()[job]["metrics_path"]) as answer:
        return parse_samples(answer.read().decode())


def worker_web(cluster: LocalCluster) -> str:
    log = (cluster.folder / "worker-1.log").read_text()
    found = re.search(r"Successfully started service 'WorkerUI' on port (\d+)", log)
    assert found
    return f"http://{HOST}:{found[1]}"


def test_spark_serves_every_spark_metric_of_the_dashboard(cluster: LocalCluster) -> None:
    samples = scrape(cluster.web, "spark-master") + scrape(worker_web(cluster), "spark-worker")
    queries = [each for each in dashboard_queries() if each.selectors[0].name.startswith("metrics_")]
    assert len(queries) == 2
    assert [name for query in queries for name in missing_names(query, samples)] == []

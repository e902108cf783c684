"""Airflow's own metrics have the names that statsd.yaml maps and the dashboard queries."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from support.prometheus import Sample, dashboard_queries, map_statsd, missing_names

# The calls of airflow/models/dagrun.py and airflow/sdk/execution_time/task_runner.py, in a process of their own because
# the configuration is read once.
EMIT = """
from datetime import timedelta
from airflow._shared.observability.metrics import stats
from airflow.configuration import conf
from airflow.observability.metrics import stats_utils
legacy = conf.getboolean("metrics", "legacy_names_on")
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)
stats.timing("dagrun.duration.success", timedelta(seconds=9), tags={"dag_id": "ohlcv_1m", "run_type": "scheduled"})
stats.timing("dagrun.duration.failed", timedelta(seconds=9), tags={"dag_id": "ohlcv_1m", "run_type": "scheduled"})
stats.incr("ti.finish", tags={"dag_id": "ohlcv_1m", "task_id": "validate", "state": "failed"})
"""


def emitted_names() -> list[str]:
    """Return the StatsD names that Airflow sends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(1)
        environment = os.environ | {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(listener.getsockname()[1]),
        }
        subprocess.run([sys.executable, "-c", EMIT], env=environment, check=True, capture_output=True, text=True)
        names = []
        while True:
            try:
                names.append(listener.recv(4096).decode().partition(":")[0])
            except TimeoutError:
                return names


def test_airflow_sends_every_airflow_metric_of_the_dashboard() -> None:
    mapped = [sample for name in emitted_names() if (sample := map_statsd(name))]
    # statsd-exporter makes a summary of a timing, with a count and a sum.
    summaries = [
        Sample(f"{sample.name}_{suffix}", sample.labels)
        for sample in mapped
        for suffix in ("count", "sum")
        if sample.name == "airflow_dagrun_duration"
    ]
    queries = [each for each in dashboard_queries() if each.selectors[0].name.startswith("airflow_")]
    assert len(queries) == 3
    assert [name for query in queries for name in missing_names(query, mapped + summaries)] == []

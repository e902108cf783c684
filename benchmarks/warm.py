"""Launcher of a warm Spark session (benchmarks/warm_session.py) with the settings of a real job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.measured_process import ROOT, MeasuredProcess, measured_process
from benchmarks.processes import WORKER, home_environment
from ohlcv.spark.local_cluster import LocalCluster
from ohlcv.spark.spark_submit import job_environment, reprocess_job


@contextmanager
def warm_session(catalog: BenchCatalog, cluster: LocalCluster, folder: Path) -> Iterator[MeasuredProcess]:
    """Run a session with the options of the reprocessing job on a catalog."""
    job = reprocess_job(
        catalog.settings, day="2000-01-01", until="2000-01-02", timeframes="1m", prune="no", dry_run="yes"
    )
    script = dataclasses.replace(job, application=str(ROOT / "benchmarks" / "warm_session.py"), arguments=())
    environment = {**job_environment(cluster.master), **home_environment(catalog.settings)}
    with measured_process(
        "session", script.command(cluster.master), environment, folder, roots=[cluster.processes[WORKER].pid]
    ) as session:
        yield session

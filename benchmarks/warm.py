"""Start a job's session that stays (benchmarks/warm_session.py), with the very settings of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.asking import ROOT, Asked, asked
from benchmarks.processes import WORKER, home_environment
from benchmarks.worlds import World
from ohlcv.spark.local_cluster import LocalCluster
from ohlcv.spark.spark_submit import job_environment, reprocess_job


@contextmanager
def warm_session(world: World, cluster: LocalCluster, folder: Path) -> Iterator[Asked]:
    """Open a session of the reprocessing job on a catalog: its driver, its executor, its options."""
    job = reprocess_job(
        world.settings, day="2000-01-01", until="2000-01-02", timeframes="1m", prune="no", dry_run="yes"
    )
    script = dataclasses.replace(job, application=str(ROOT / "benchmarks" / "warm_session.py"), arguments=())
    environment = {**job_environment(cluster.master), **home_environment(world.settings)}
    with asked(
        "session", script.command(cluster.master), environment, folder, trees=[cluster.processes[WORKER].pid]
    ) as session:
        yield session

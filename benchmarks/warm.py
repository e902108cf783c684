"""Launcher of warm Spark sessions (benchmarks/warm_session.py) with the settings of a real job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Cost
from benchmarks.measured_process import ROOT, MeasuredProcess, measured_process
from benchmarks.measured_run import NO_VARIABLES
from benchmarks.processes import WORKER, home_environment, pin
from ohlcv.config.execution import Engine
from ohlcv.config.settings import load_settings
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.spark_submit import job_environment, reprocess_job


@contextmanager
def warm_session(
    catalog: BenchCatalog,
    cluster: LocalCluster,
    folder: Path,
    engine: Engine = "jvm",
    variables: Mapping[str, str] = NO_VARIABLES,
    script: str = "warm_session.py",
) -> Iterator[MeasuredProcess]:
    """Run a session with the options of the reprocessing job on an engine, with additional settings."""
    environment = {**home_environment(catalog.settings), "OHLCV_REPROCESS_EXECUTION": engine, **variables}
    job = reprocess_job(
        load_settings(environment), day="2000-01-01", until="2000-01-02", timeframes="1m", prune="no", dry_run="yes"
    )
    session_job = dataclasses.replace(job, application=str(ROOT / "benchmarks" / script), arguments=())
    with measured_process(
        f"session-{engine}",
        session_job.command(cluster.master),
        {**job_environment(cluster.master), **environment},
        folder,
        roots=[cluster.processes[WORKER].pid],
    ) as session:
        yield session


class OtherEngineError(OhlcvError):
    """Raised if a run that is measured for one engine was done by another."""


@dataclasses.dataclass(frozen=True)
class EngineSession:
    """A warm session whose reports must name its engine, so that no other engine is measured."""

    engine: Engine
    process: MeasuredProcess

    def candles(self, start: datetime, end: datetime, snapshot: int) -> tuple[pa.Table, Cost]:
        """Return the 1m candles of a range as a job computes them, before the comparison with the stored ones."""
        report, cost = self.process.call("candles", timeframe="1m", start=iso(start), end=iso(end), snapshot=snapshot)
        require_engine(self.engine, report)
        return report["candles"], cost

    def reprocess(self, day: datetime) -> tuple[dict[str, Any], Cost]:
        """Run the reprocessing job of a day, including its commits, and return its report."""
        report, cost = self.process.call("reprocess", day=f"{day:%F}")
        require_engine(self.engine, report)
        return report, cost


def require_engine(engine: Engine, report: Mapping[str, Any]) -> None:
    """Raise OtherEngineError if the report of a run names another engine."""
    execution = report["execution"]
    if execution["engine"] != engine:
        reason = execution.get("reason", "it was not requested")
        raise OtherEngineError(f"a run was not {engine} but {execution['engine']}: {reason}")


@contextmanager
def pinned_session(
    catalog: BenchCatalog, folder: Path, engine: Engine, cores: Sequence[int]
) -> Iterator[EngineSession]:
    """Run a session and its own cluster, whose executor uses all of these cores and no other."""
    own_folder = folder / f"{engine}-{len(cores)}"
    with local_cluster(own_folder, cores=len(cores)) as cluster:
        # Executors inherit the affinity of their worker.
        pin(cluster.processes[WORKER].pid, cores)
        # Reprocessing has the cores and the memory of the longest timeframe.
        variables = {"OHLCV_1D_EXECUTOR_CORES": str(len(cores))}
        with warm_session(catalog, cluster, own_folder, engine, variables) as process:
            yield EngineSession(engine, process)

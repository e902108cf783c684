"""Repeated measurement of one run from the same initial state, with a check that the candles are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa

from benchmarks.bench_catalog import BenchCatalog
from benchmarks.harness import Cost, require_equal
from benchmarks.processes import home_environment, measure_job
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import Timeframe
from ohlcv.spark.local_cluster import LocalCluster
from ohlcv.spark.spark_submit import LOCAL_MASTER, SparkJob, build_job

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass
class MeasuredRun:
    """A run of one timeframe. Every measured job must store the same candles in its range."""

    catalog: BenchCatalog
    timeframe: Timeframe
    own_range: Range
    initial_state: dict[str, str] = field(init=False)
    expected: pa.Table | None = None
    # Summary of the commit of the last run.
    commit_summary: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.initial_state = self.catalog.save_state()

    def job(self, run_id: str = "") -> SparkJob:
        """Return the job of a scheduled run."""
        settings, name = self.catalog.settings, self.timeframe.name
        return build_job(settings, name, self.own_range, rebuild_pending=True, run_id=run_id)

    def measure(
        self,
        job: SparkJob,
        cluster: LocalCluster | None,
        afterwards: Callable[[], object] = lambda: None,
        environment: Mapping[str, str] = NO_VARIABLES,
    ) -> Cost:
        """Run a job on a cluster or in local mode, check its candles, call `afterwards` and restore the tables."""
        before = self.catalog.candles(self.timeframe.name, self.own_range)
        master = cluster.master if cluster else LOCAL_MASTER
        cost = measure_job(job, master, {**home_environment(self.catalog.settings), **environment}, cluster)
        found = self.catalog.candles(self.timeframe.name, self.own_range)
        require_equal(f"a {self.timeframe} run", False, before.equals(found))
        if self.expected is None:
            self.expected = found
        require_equal(f"a {self.timeframe} run", True, self.expected.equals(found))
        snapshot = self.catalog.table(self.timeframe.name).current_snapshot()
        if snapshot and snapshot.summary:
            self.commit_summary = snapshot.summary.additional_properties
        afterwards()
        self.catalog.restore_state(self.initial_state)
        return cost

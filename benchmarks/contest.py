"""One run as often as wanted, from the same state, to the same candles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from benchmarks.harness import Cost, same
from benchmarks.processes import home_environment, measure_job
from benchmarks.worlds import World
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import Timeframe
from ohlcv.spark.local_cluster import LocalCluster
from ohlcv.spark.spark_submit import LOCAL_MASTER, SparkJob, build_job


@dataclass
class Contest:
    """A run of one timeframe in a world; every job that takes part must leave the same candles in its range."""

    world: World
    timeframe: Timeframe
    span: Range
    start: dict[str, str] = field(init=False)
    wanted: pa.Table | None = None
    # What the last run told in its commit.
    told: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self.world.bookmark()

    def job(self) -> SparkJob:
        """Give the job a scheduled run starts."""
        return build_job(self.world.settings, self.timeframe.name, self.span, rebuild_pending=True)

    def measure(
        self, job: SparkJob, cluster: LocalCluster | None, afterwards: Callable[[], object] = lambda: None
    ) -> Cost:
        """Run a job, on a cluster or here; look at its answer, do what else is to be done, and put everything back."""
        before = self.world.candles(self.timeframe.name, self.span)
        master = cluster.master if cluster else LOCAL_MASTER
        cost = measure_job(job, master, home_environment(self.world.settings), cluster)
        found = self.world.candles(self.timeframe.name, self.span)
        same(f"a {self.timeframe} run", False, before.equals(found))
        if self.wanted is None:
            self.wanted = found
        same(f"a {self.timeframe} run", True, self.wanted.equals(found))
        snapshot = self.world.table(self.timeframe.name).current_snapshot()
        if snapshot and snapshot.summary:
            self.told = snapshot.summary.additional_properties
        afterwards()
        self.world.put_back(self.start)
        return cost

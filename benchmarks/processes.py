"""Measured job processes, with the settings of this project or of a plain spark-submit, and their CPU time."""

from __future__ import annotations

import dataclasses
import os
import resource
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.harness import Cost
from ohlcv.config.settings import Settings, Tuning
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.jars import jar_paths
from ohlcv.spark.local_cluster import LocalCluster
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import SparkJob, run
from ohlcv.spark.toolchain import packaged_spark_home

TICKS = os.sysconf("SC_CLK_TCK")
WORKER = "worker-1"


class StockJob(SparkJob):
    """The same script and arguments run by a plain spark-submit: pyspark's own home, Spark's defaults, jars by --jars.

    Settings that the code of the job makes on its session still apply. The number of shuffle partitions is also that of
    this project, because Spark's default of 200 would only make the job slower.
    """

    def command(self, master: str) -> list[str]:
        """Return the command line."""
        options = ["--master", master, "--jars", ",".join(str(path) for path in jar_paths())]
        if not master.startswith("local"):
            options += [
                *("--deploy-mode", "client", "--driver-memory", self.driver_memory),
                *("--executor-memory", self.executor_memory, "--executor-cores", str(self.executor_cores)),
                *("--total-executor-cores", str(self.executor_cores)),
            ]
        options += ["--conf", f"spark.sql.shuffle.partitions={Tuning().shuffle_partitions}"]
        return [str(packaged_spark_home() / "bin" / "spark-submit"), *options, self.application, *self.arguments]


def as_stock_job(job: SparkJob) -> StockJob:
    """Return the same job run by a plain spark-submit."""
    return StockJob(**{field.name: getattr(job, field.name) for field in dataclasses.fields(job)})


def home_environment(settings: Settings) -> dict[str, str]:
    """Return the environment with which a process finds the catalog."""
    return {"OHLCV_HOME": str(settings.home)}


def measure_job(job: SparkJob, master: str, environment: Mapping[str, str], cluster: LocalCluster | None) -> Cost:
    """Run a job. CPU time includes spark-submit, the driver and, on a cluster, the executor."""
    worker = cluster.processes[WORKER].pid if cluster else None
    children, executors = children_seconds(), _ended_children_seconds(worker)
    begin = time.monotonic()
    home = {"SPARK_HOME": str(packaged_spark_home())} if isinstance(job, StockJob) else {}
    result = run(job, master, {**environment, **home})
    wall = time.monotonic() - begin
    if result.exit_code:
        raise OhlcvError(f"a measured job failed: {result.error}")
    # The executor ends shortly after its driver.
    while worker and descendants(worker):
        time.sleep(0.05)
    return Cost(wall, children_seconds() - children + _ended_children_seconds(worker) - executors)


def children_seconds() -> float:
    """Return the CPU seconds of all ended children of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _ended_children_seconds(pid: int | None) -> float:
    """Return the CPU seconds of all ended children of a process."""
    return sum(_times(pid)[2:]) if pid else 0.0


def tree_seconds(root: int) -> float:
    """Return the CPU seconds of a process and all its descendants, including ended ones."""
    total = 0.0
    for pid in [root, *descendants(root)]:
        with suppress(OSError):
            total += sum(_times(pid))
    return total


def _times(pid: int) -> list[float]:
    """Return user and system seconds of a process, then those of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) / TICKS for field in fields[11:15]]


def pin(pid: int, cores: Iterable[int]) -> None:
    """Restrict a process, its threads and its future children to some cores."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)

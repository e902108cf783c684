"""Jobs as processes: ours and stock ones, and what their whole process trees take."""

from __future__ import annotations

import dataclasses
import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.harness import Cost
from ohlcv.config.settings import Settings, Tuning
from ohlcv.model.errors import OhlcvError
from ohlcv.spark.local_cluster import LocalCluster
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import SparkJob, run
from ohlcv.spark.toolchain import jar_paths, packaged_spark_home

TICKS = os.sysconf("SC_CLK_TCK")
WORKER = "worker-1"


class StockJob(SparkJob):
    """The same script and arguments as a plain spark-submit would run them: Spark's own defaults, jars by --jars.

    It starts from pyspark's own home. What the job's own code sets on its session stays; so does the number of shuffle
    partitions, for Spark's 200 would only make it slower.
    """

    def command(self, master: str) -> list[str]:
        """Give the command line."""
        options = ["--master", master, "--jars", ",".join(str(path) for path in jar_paths())]
        if not master.startswith("local"):
            options += [
                *("--deploy-mode", "client", "--driver-memory", self.driver_memory),
                *("--executor-memory", self.executor_memory, "--executor-cores", str(self.executor_cores)),
                *("--total-executor-cores", str(self.executor_cores)),
            ]
        options += ["--conf", f"spark.sql.shuffle.partitions={Tuning().shuffle_partitions}"]
        return [str(packaged_spark_home() / "bin" / "spark-submit"), *options, self.application, *self.arguments]


def stock(job: SparkJob) -> StockJob:
    """Give the same job as a plain spark-submit would run it."""
    return StockJob(**{field.name: getattr(job, field.name) for field in dataclasses.fields(job)})


def home_environment(settings: Settings) -> dict[str, str]:
    """Give the environment that leads a process to a catalog."""
    return {"OHLCV_HOME": str(settings.home)}


def measure_job(job: SparkJob, master: str, environment: Mapping[str, str], cluster: LocalCluster | None) -> Cost:
    """Run a job; processor seconds are those of spark-submit, the driver and, on a cluster, the executor."""
    worker = cluster.processes[WORKER].pid if cluster else None
    children, executors = children_seconds(), _reaped(worker)
    begin = time.monotonic()
    own = {"SPARK_HOME": str(packaged_spark_home())} if isinstance(job, StockJob) else {}
    outcome = run(job, master, {**environment, **own})
    wall = time.monotonic() - begin
    if outcome.exit_code:
        raise OhlcvError(f"a measured job failed: {outcome.error}")
    # The executor ends a moment after its driver.
    while worker and descendants(worker):
        time.sleep(0.05)
    return Cost(wall, children_seconds() - children + _reaped(worker) - executors)


def children_seconds() -> float:
    """Give the processor seconds of all children that have ended and been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reaped(pid: int | None) -> float:
    """Give the processor seconds of a process's children that have ended and been waited for."""
    return sum(_times(pid)[2:]) if pid else 0.0


def tree_seconds(root: int) -> float:
    """Give the processor seconds of a process, of all below it, and of those of them that have ended."""
    total = 0.0
    for pid in [root, *descendants(root)]:
        with suppress(OSError):
            total += sum(_times(pid))
    return total


def _times(pid: int) -> list[float]:
    """Give user and system seconds of a process, then those of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) / TICKS for field in fields[11:15]]


def pin(pid: int, core: int) -> None:
    """Keep a process, its threads, and whatever they start, on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})

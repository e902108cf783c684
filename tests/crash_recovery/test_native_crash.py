"""Executor killed while it aggregates natively: the same job ends on the JVM with the correct candles."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import HOUR, Range
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.spark_submit import build_job
from support.harness import Harness, at, trade
from support.processes import QUICK_JAVA, RunningJob, find_descendant, has_mapped_file, running_job, wait_for

pytestmark = pytest.mark.crash_recovery

NOON = at("2026-03-01 12:00")
EXECUTOR = "CoarseGrainedExecutorBackend"
LIBRARY = "libcomet.so"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*QUICK_JAVA)
        with local_cluster(tmp_path_factory.mktemp("cluster")) as running_cluster:
            yield running_cluster


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    environment = {"OHLCV_HOME": str(tmp_path / "home"), "OHLCV_1M_EXECUTION": "native"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = Harness(spark, tmp_path / "home", environment)
    found.load(trade(NOON + timedelta(seconds=n), f"{100 + n % 13}", trade_id=str(n)) for n in range(0, 3600, 7))
    # A trade that was delivered twice.
    found.load([trade(NOON + timedelta(seconds=7), "107", trade_id="7")])
    return found


def executor_with_library(cluster: LocalCluster, job: RunningJob) -> int | None:
    """Return the pid of an executor that has loaded the native library, which it does in its first native task."""
    pid = find_descendant(cluster.processes["worker-1"].pid, EXECUTOR)
    return pid if pid and has_mapped_file(pid, LIBRARY) else None


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSEGV], ids=["killed for its memory", "native crash"])
def test_a_run_ends_on_the_jvm_after_its_native_executor_died(
    harness: Harness, cluster: LocalCluster, kind: signal.Signals
) -> None:
    with running_job(build_job(harness.settings, "1m", Range(NOON, NOON + HOUR)), cluster.master) as job:
        wait_for(lambda: executor_with_library(cluster, job) or job.ended, "an executor with the native library", 0.005)
        executor = executor_with_library(cluster, job)
        assert executor, f"the job ended before its executor was found: {job.log}{job.output}"
        job.kill(executor, kind)
        assert job.wait() == 0, job.log + job.output
    lines = [line for line in job.output.splitlines() if line.startswith("execution: ")]
    assert lines[0] == "execution: native (requested: native)"
    assert len(lines) == 2
    assert lines[1].startswith(
        "execution: native execution failed, the run starts again on the JVM: ExecutorLostFailure"
    )
    report = json.loads(job.output.splitlines()[-1])
    assert (report["execution"]["requested"], report["execution"]["engine"]) == ("native", "jvm")
    assert harness.candles("1m") == harness.expected("1m", (NOON, NOON + HOUR)).candles
    assert len(harness.snapshots("1m")) == 1
    assert harness.summary("1m")["ohlcv.execution"] == "jvm"


def test_an_undisturbed_run_ends_natively(harness: Harness, cluster: LocalCluster) -> None:
    with running_job(build_job(harness.settings, "1m", Range(NOON, NOON + HOUR)), cluster.master) as job:
        assert job.wait() == 0, job.log + job.output
    assert json.loads(job.output.splitlines()[-1])["execution"] == {"requested": "native", "engine": "native"}
    assert harness.candles("1m") == harness.expected("1m", (NOON, NOON + HOUR)).candles
    assert harness.summary("1m")["ohlcv.execution"] == "native"

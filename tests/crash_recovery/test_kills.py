"""Drivers and executors killed with SIGKILL at any moment: a rerun stores what one undisturbed run would store.

Each of the KILL_ROUNDS rounds (default 1) kills at other random moments.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range, from_microseconds
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import build_job, run
from support.default_tables import NAMESPACE
from support.harness import Harness, Key, Stored, at, trade
from support.processes import (
    QUICK_JAVA,
    RunningJob,
    command_line,
    find_descendant,
    has_open_file,
    processes_with_environment,
    running_job,
    wait_for,
)
from support.reference_model import Candle, Trade

ROUNDS = range(int(os.environ.get("KILL_ROUNDS", "1")))
CLUSTER_VARIABLE = "FAULTS_CLUSTER"
EXECUTOR = "CoarseGrainedExecutorBackend"

DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")
# Range of the killed runs: the middle of the day, so that rows before and after it are in the same file.
FROM = at("2026-03-01 05:00")
TO = at("2026-03-01 19:00")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Run a master and one worker, and check that all their child processes end."""
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CLUSTER_VARIABLE, str(folder))
        patch.setenv(*QUICK_JAVA)
        with local_cluster(folder) as running_cluster:
            yield running_cluster
        variable = f"{CLUSTER_VARIABLE}={folder}"
        wait_for(lambda: not processes_with_environment(variable), "the processes of the cluster end")


@dataclass(frozen=True)
class Scenario:
    """A built day, late trades in its middle, and the candles that an undisturbed run would store."""

    harness: Harness
    cluster: LocalCluster
    before: dict[Key, Stored]
    old_files: set[Path]
    expected: dict[Key, Candle]

    @property
    def table(self) -> Path:
        return self.harness.settings.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"

    def executor(self) -> int | None:
        return find_descendant(self.cluster.processes["worker-1"].pid, EXECUTOR)

    @contextmanager
    def running_build(self) -> Iterator[RunningJob]:
        with running_job(build_job(self.harness.settings, "1m", Range(FROM, TO)), self.cluster.master) as job:
            yield job

    def assert_atomic(self) -> bool:
        """Check that the table is in its state before or after the run. Return whether the run committed."""
        now = self.harness.stored("1m")
        if now == self.before:
            return False
        self.assert_complete()
        return True

    def assert_complete(self) -> None:
        """Check that the table is as after one undisturbed run."""
        now = self.harness.stored("1m")
        assert {key: stored.candle for key, stored in now.items()} == self.expected
        for key, stored in self.before.items():
            inside = FROM <= from_microseconds(key[2]) < TO
            if not inside or stored.candle == self.expected[key]:
                assert now[key] == stored
            else:
                assert now[key].created_at == stored.created_at
                assert now[key].updated_at > stored.updated_at
        # Two commits: the one that built the day, and one of all killed and repeated runs together.
        assert len(self.harness.snapshots("1m")) == 2

    def assert_all_processes_ended(self) -> None:
        """Check that no process of the job is alive, neither one with its environment nor an executor."""
        home = f"OHLCV_HOME={self.harness.settings.home}"
        wait_for(lambda: not processes_with_environment(home) and not self.executor(), "the processes of the job end")


def some_trades(symbol: str, step: int) -> list[Trade]:
    return [
        trade(DAY + timedelta(seconds=n), f"{100 + n % 13}.{n % 7}", f"0.{n % 97 + 1}", symbol=symbol)
        for n in range(0, 86_400, step)
    ]


@pytest.fixture
def scenario(spark: SparkSession, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    home = tmp_path / "home"
    harness = Harness(spark, home)
    harness.load(some_trades("BTC-USD", 17), some_trades("ETH-USD", 41))
    harness.build("1m", DAY, NEXT)
    before = harness.stored("1m")
    middle = int((TO - FROM).total_seconds())
    late = [trade(FROM + timedelta(seconds=n), "777.5", trade_id=f"late-{n}") for n in range(7, middle, 199)]
    harness.load(
        late, [each for each in some_trades("SOL-USD", 61) if FROM <= from_microseconds(each.timestamp or 0) < TO]
    )
    expected = harness.expected("1m", (DAY, NEXT)).candles
    assert len(expected) > len(before)
    monkeypatch.setenv("OHLCV_HOME", str(home))
    table = home / "warehouse" / NAMESPACE / "gold_ohlcv_1m"
    return Scenario(harness, cluster, before, set(table.rglob("*")), expected)


Moment = Callable[[Scenario, RunningJob], object]


def driver_starts(scenario: Scenario, job: RunningJob) -> object:
    return job.driver()


def lock_is_held(scenario: Scenario, job: RunningJob) -> object:
    lock = Path(f"{scenario.harness.settings.catalog.embedded_database}.gold_ohlcv_1m.lock")
    driver = job.driver()
    return driver and has_open_file(driver, lock)


def executor_starts(scenario: Scenario, job: RunningJob) -> object:
    return scenario.executor()


def new_file(folder: str, pattern: str) -> Moment:
    def appears(scenario: Scenario, job: RunningJob) -> object:
        return set((scenario.table / folder).rglob(pattern)) - scenario.old_files

    return appears


# Phases of the write: the executor writes data files, the driver writes manifests and table metadata, then commits.
ROWS_WRITTEN = new_file("data", "*.parquet")
MANIFESTS_WRITTEN = new_file("metadata", "snap-*.avro")
METADATA_WRITTEN = new_file("metadata", "*.metadata.json")

MOMENTS = {
    "driver starts": driver_starts,
    "lock is held": lock_is_held,
    "executor starts": executor_starts,
    "rows written": ROWS_WRITTEN,
    "manifests written": MANIFESTS_WRITTEN,
    "metadata written": METADATA_WRITTEN,
}


def reach(scenario: Scenario, job: RunningJob, moment: Moment) -> None:
    # A phase of the write takes some tens of milliseconds. Listing the table's folder takes less than one.
    wait_for(lambda: moment(scenario, job) or job.ended, "the moment of the kill", poll_seconds=0.005)


def random_moment(seed: int, scenario: Scenario, job: RunningJob) -> str:
    """Wait for a random step of the run, then up to three more seconds. Steps make it independent of the machine."""
    generator = random.Random(seed)
    name = generator.choice(["driver starts", "lock is held", "executor starts"])
    pause = generator.uniform(0, 3)
    reach(scenario, job, MOMENTS[name])
    time.sleep(pause)
    return f"{name}, {pause:.3f} s later"


def victim_of(job: RunningJob, victim: str) -> int | None:
    return job.driver() if victim == "python driver" else job.process.pid


@pytest.mark.crash_recovery
@pytest.mark.parametrize("round_number", ROUNDS)
@pytest.mark.parametrize("victim", ["python driver", "spark-submit"])
def test_driver_killed_at_a_random_moment(scenario: Scenario, victim: str, round_number: int) -> None:
    with scenario.running_build() as job:
        moment = random_moment(10 * round_number + len(victim), scenario, job)
        pid = victim_of(job, victim)
        if pid:
            job.kill(pid)
        code = job.wait()
    scenario.assert_all_processes_ended()
    committed = scenario.assert_atomic()
    assert committed or code != 0, f"killed {moment}: {job.output}"
    # The only core of the cluster is free again, so the rerun gets it.
    result = run(build_job(scenario.harness.settings, "1m", Range(FROM, TO)), scenario.cluster.master)
    assert result.exit_code == 0, f"killed {moment}: {result.log}"
    scenario.assert_complete()
    scenario.assert_all_processes_ended()


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        ("python driver", "rows written"),
        pytest.param("spark-submit", "rows written", marks=pytest.mark.crash_recovery),
        pytest.param("spark-submit", "manifests written", marks=pytest.mark.crash_recovery),
        pytest.param("spark-submit", "metadata written", marks=pytest.mark.crash_recovery),
    ],
)
def test_driver_killed_while_it_writes(scenario: Scenario, victim: str, moment: str) -> None:
    with scenario.running_build() as job:
        reach(scenario, job, MOMENTS[moment])
        pid = victim_of(job, victim)
        assert pid, f"the job ended before its victim was found: {job.output}"
        job.kill(pid)
        code = job.wait()
    scenario.assert_all_processes_ended()
    assert code != 0
    committed = scenario.assert_atomic()
    if moment == "rows written" and victim == "spark-submit":
        assert not committed
    # The rerun uses the Spark session of this process, which is faster than a new job.
    report = scenario.harness.build("1m", FROM, TO)
    assert (report["snapshot"] is None) == committed
    scenario.assert_complete()
    assert scenario.harness.build("1m", FROM, TO)["snapshot"] is None


@pytest.mark.crash_recovery
@pytest.mark.parametrize("round_number", ROUNDS)
@pytest.mark.parametrize("moment", ["random", "rows written"])
def test_a_run_succeeds_after_its_executor_was_killed(scenario: Scenario, moment: str, round_number: int) -> None:
    with scenario.running_build() as job:
        if moment == "random":
            wait_for(lambda: scenario.executor() or job.ended, "an executor")
            time.sleep(random.Random(round_number).uniform(0, 4))
        else:
            reach(scenario, job, MOMENTS[moment])
        executor = scenario.executor()
        assert executor, f"the job ended before its executor was found: {job.log}{job.output}"
        assert EXECUTOR in command_line(executor)
        assert executor in descendants(scenario.cluster.processes["worker-1"].pid)
        job.kill(executor)
        code = job.wait()
    assert code == 0, job.log + job.output
    scenario.assert_complete()
    scenario.assert_all_processes_ended()
    assert scenario.harness.build("1m", FROM, TO)["snapshot"] is None


@pytest.mark.crash_recovery
@pytest.mark.parametrize("moment", ["executor starts", "rows written"])
def test_a_run_and_the_next_one_succeed_after_the_master_was_killed_and_restarted(
    scenario: Scenario, moment: str
) -> None:
    with scenario.running_build() as job:
        reach(scenario, job, MOMENTS[moment])
        master = scenario.cluster.processes["master"]
        master.kill()
        master.wait()
        with pytest.MonkeyPatch.context() as patch:
            # The master is no process of the job.
            patch.delenv("OHLCV_HOME")
            scenario.cluster.start_master()
        code = job.wait()
    assert code == 0, job.log + job.output
    scenario.assert_complete()
    scenario.assert_all_processes_ended()
    result = run(build_job(scenario.harness.settings, "1m", Range(FROM, TO)), scenario.cluster.master)
    assert result.exit_code == 0, result.log
    assert len(scenario.harness.snapshots("1m")) == 2

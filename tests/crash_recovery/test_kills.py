"""A driver or an executor is killed outright, at any moment: a rerun comes to what one clean run would have.

Each round of KILL_ROUNDS (default 1) kills at other moments.
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
from ohlcv.model.table_contracts import NAMESPACE
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.processes import descendants
from ohlcv.spark.spark_submit import build_job, run
from support.harness import Harness, Key, Stored, at, trade
from support.processes import (
    QUICK_JAVA,
    RunningJob,
    processes_with_environment,
    command_line,
    find_descendant,
    has_open_file,
    running,
    wait_for,
)
from support.reference_model import Candle, Trade

ROUNDS = range(int(os.environ.get("KILL_ROUNDS", "1")))
MARK = "FAULTS_CLUSTER"
EXECUTOR = "CoarseGrainedExecutorBackend"

DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")
# What the killed runs build: the middle of the day, so that rows before and after it are in the same file.
FROM = at("2026-03-01 05:00")
TO = at("2026-03-01 19:00")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Run a master and one worker; nothing they started may outlive them."""
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(folder))
        patch.setenv(*QUICK_JAVA)
        with local_cluster(folder) as running_cluster:
            yield running_cluster
        wait_for(lambda: not processes_with_environment(f"{MARK}={folder}"), "the cluster's processes to end")


@dataclass(frozen=True)
class Scene:
    """A stored day, late trades in its middle, and what a clean run would come to."""

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
    def running(self) -> Iterator[RunningJob]:
        with running(build_job(self.harness.settings, "1m", Range(FROM, TO)), self.cluster.master) as job:
            yield job

    def assert_whole(self) -> bool:
        """See that the table is as before the run or as after it, nothing between; tell whether the run landed."""
        now = self.harness.stored("1m")
        if now == self.before:
            return False
        self.assert_complete()
        return True

    def assert_complete(self) -> None:
        """See that the table is as one clean run would have left it."""
        now = self.harness.stored("1m")
        assert {key: stored.candle for key, stored in now.items()} == self.expected
        for key, stored in self.before.items():
            inside = FROM <= from_microseconds(key[2]) < TO
            if not inside or stored.candle == self.expected[key]:
                assert now[key] == stored
            else:
                assert now[key].created_at == stored.created_at
                assert now[key].updated_at > stored.updated_at
        # One run's work: one commit on top of the one that stored the day.
        assert len(self.harness.snapshots("1m")) == 2

    def assert_nothing_left(self) -> None:
        """See that no process of the job lives on: neither by its environment nor below the worker."""
        home = f"OHLCV_HOME={self.harness.settings.home}"
        wait_for(lambda: not processes_with_environment(home) and not self.executor(), "the processes of the job to end")


def some_trades(symbol: str, step: int) -> list[Trade]:
    return [
        trade(DAY + timedelta(seconds=n), f"{100 + n % 13}.{n % 7}", f"0.{n % 97 + 1}", symbol=symbol)
        for n in range(0, 86_400, step)
    ]


@pytest.fixture
def scene(spark: SparkSession, cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
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
    return Scene(harness, cluster, before, set(table.rglob("*")), expected)


Moment = Callable[[Scene, RunningJob], object]


def driver_starts(scene: Scene, job: RunningJob) -> object:
    return job.driver()


def lease_is_taken(scene: Scene, job: RunningJob) -> object:
    lock = Path(f"{scene.harness.settings.catalog.database}.gold_ohlcv_1m.lock")
    driver = job.driver()
    return driver and has_open_file(driver, lock)


def executor_starts(scene: Scene, job: RunningJob) -> object:
    return scene.executor()


def new_file(folder: str, pattern: str) -> Moment:
    def appears(scene: Scene, job: RunningJob) -> object:
        return set((scene.table / folder).rglob(pattern)) - scene.old_files

    return appears


# The write's own phases: the executor writes rows, the driver writes what describes them, then asks the catalog.
ROWS_WRITTEN = new_file("data", "*.parquet")
MANIFESTS_WRITTEN = new_file("metadata", "snap-*.avro")
METADATA_WRITTEN = new_file("metadata", "*.metadata.json")

MOMENTS = {
    "driver starts": driver_starts,
    "lease is taken": lease_is_taken,
    "executor starts": executor_starts,
    "rows written": ROWS_WRITTEN,
    "manifests written": MANIFESTS_WRITTEN,
    "metadata written": METADATA_WRITTEN,
}


def reach(scene: Scene, job: RunningJob, moment: Moment) -> None:
    # The write's phases last some tens of milliseconds; a look into the table's folder costs less than one.
    wait_for(lambda: moment(scene, job) or job.ended, "the moment to kill", poll_seconds=0.005)


def random_moment(seed: int, scene: Scene, job: RunningJob) -> str:
    """Wait for one of the steps a run goes through, then up to three seconds more: however fast the machine is."""
    chance = random.Random(seed)
    name = chance.choice(["driver starts", "lease is taken", "executor starts"])
    pause = chance.uniform(0, 3)
    reach(scene, job, MOMENTS[name])
    time.sleep(pause)
    return f"{name}, {pause:.3f} s later"


def victim_of(job: RunningJob, victim: str) -> int | None:
    return job.driver() if victim == "python driver" else job.process.pid


@pytest.mark.services
@pytest.mark.parametrize("round_number", ROUNDS)
@pytest.mark.parametrize("victim", ["python driver", "spark-submit"])
def test_a_driver_killed_at_random(scene: Scene, victim: str, round_number: int) -> None:
    with scene.running() as job:
        moment = random_moment(10 * round_number + len(victim), scene, job)
        pid = victim_of(job, victim)
        if pid:
            job.kill(pid)
        code = job.wait()
    scene.assert_nothing_left()
    landed = scene.assert_whole()
    assert landed or code != 0, f"killed {moment}: {job.output}"
    # The cluster's only core is free again: the rerun gets it.
    outcome = run(build_job(scene.harness.settings, "1m", Range(FROM, TO)), scene.cluster.master)
    assert outcome.exit_code == 0, f"killed {moment}: {outcome.log}"
    scene.assert_complete()
    scene.assert_nothing_left()


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        ("python driver", "rows written"),
        ("spark-submit", "rows written"),
        ("spark-submit", "manifests written"),
        ("spark-submit", "metadata written"),
    ],
)
def test_a_driver_killed_while_it_writes(scene: Scene, victim: str, moment: str) -> None:
    with scene.running() as job:
        reach(scene, job, MOMENTS[moment])
        pid = victim_of(job, victim)
        assert pid, f"the job ended before its victim was found: {job.output}"
        job.kill(pid)
        code = job.wait()
    scene.assert_nothing_left()
    assert code != 0
    landed = scene.assert_whole()
    if moment == "rows written" and victim == "spark-submit":
        assert not landed
    # In this process, which is where Spark is warm: the same job on the same table.
    report = scene.harness.build("1m", FROM, TO)
    assert (report["snapshot"] is None) == landed
    scene.assert_complete()
    assert scene.harness.build("1m", FROM, TO)["snapshot"] is None


@pytest.mark.parametrize("round_number", ROUNDS)
@pytest.mark.parametrize("moment", [pytest.param("random", marks=pytest.mark.services), "rows written"])
def test_a_run_survives_its_executor(scene: Scene, moment: str, round_number: int) -> None:
    with scene.running() as job:
        if moment == "random":
            wait_for(lambda: scene.executor() or job.ended, "an executor")
            time.sleep(random.Random(round_number).uniform(0, 4))
        else:
            reach(scene, job, MOMENTS[moment])
        executor = scene.executor()
        assert executor, f"the job ended before its executor was found: {job.log}{job.output}"
        assert EXECUTOR in command_line(executor)
        assert executor in descendants(scene.cluster.processes["worker-1"].pid)
        job.kill(executor)
        code = job.wait()
    assert code == 0, job.log + job.output
    scene.assert_complete()
    scene.assert_nothing_left()
    assert scene.harness.build("1m", FROM, TO)["snapshot"] is None

"""Drivers killed with SIGKILL at the steps of a publication, and an auditor without memory: main is unchanged, and a
rerun publishes exactly the right candles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range
from ohlcv.spark.spark_submit import build_job, run
from support.audits import candidate_branches
from support.harness import Harness, Key, Stored, at, trade
from support.processes import QUICK_JAVA, RunningJob, processes_with_environment, running_job, wait_for

pytestmark = pytest.mark.crash_recovery

MASTER = "local[1]"
DAY, NEXT = at("2026-03-01 00:00"), at("2026-03-02 00:00")
# Range of the killed runs.
FROM, TO = at("2026-03-01 05:00"), at("2026-03-01 19:00")

# Python imports this module when it starts. It replaces a function of the driver.
SITE_CUSTOMIZE = """
import sys

if any("spark_jobs/ohlcv_" in argument for argument in sys.orig_argv):
    import time
    from pathlib import Path

    import {module} as module

    original = module.{function}

    def replacement(*arguments, **options):
        {body}
        return original(*arguments, **options)

    module.{function} = replacement
"""
WAIT_FOREVER = """Path({marker!r}).touch()
        while True:
            time.sleep(60)"""


@dataclass(frozen=True)
class Point:
    """A function at whose call the driver is killed, and whether a candidate exists then."""

    module: str
    function: str
    has_candidate: bool


POINTS = {
    "before the candidate is written": Point("spark_jobs.jobs.publication", "_stage", has_candidate=False),
    "before the audit": Point("spark_jobs.jobs.publication", "_audit", has_candidate=True),
    "during the audit": Point("ohlcv.quality.candidate_audit", "_changed_files", has_candidate=True),
    "before the publication": Point("spark_jobs.iceberg.staging", "publish", has_candidate=True),
}


@dataclass(frozen=True)
class Scenario:
    """A table with candles, and late trades that are not built yet."""

    harness: Harness
    before: dict[Key, Stored]
    snapshots: list[int]
    folder: Path

    @contextmanager
    def running_build(self) -> Iterator[RunningJob]:
        with running_job(build_job(self.harness.settings, "1m", Range(FROM, TO)), MASTER) as job:
            yield job

    def replace_function(self, module: str, function: str, body: str) -> None:
        """Let the drivers of this test run a statement at each call of a function."""
        text = SITE_CUSTOMIZE.format(module=module, function=function, body=body)
        (self.folder / "sitecustomize.py").write_text(text)

    def assert_unchanged(self) -> None:
        assert self.harness.snapshots("1m") == self.snapshots
        assert self.harness.stored("1m") == self.before

    def assert_rerun_publishes(self) -> None:
        """Run again without the fault, in the Spark session of this process."""
        report = self.harness.build("1m", FROM, TO)
        assert self.harness.candles("1m") == self.harness.expected("1m", (DAY, NEXT)).candles
        assert self.harness.snapshots("1m") == [*self.snapshots, report["snapshot"]]
        assert candidate_branches(self.harness.table("1m")) == []
        assert self.harness.build("1m", FROM, TO)["snapshot"] is None


@pytest.fixture
def scenario(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenario:
    harness = Harness(spark, tmp_path / "home")
    for symbol in ("BTC-USD", "ETH-USD"):
        harness.load(trade(DAY + timedelta(seconds=n), f"{100 + n % 13}", symbol=symbol) for n in range(0, 86_400, 97))
    harness.build("1m", DAY, NEXT)
    harness.load(trade(FROM + timedelta(seconds=n), "777.5", trade_id=f"late-{n}") for n in range(7, 50_000, 199))
    folder = tmp_path / "customized"
    folder.mkdir()
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv(*QUICK_JAVA)
    return Scenario(harness, harness.stored("1m"), harness.snapshots("1m"), folder)


@pytest.mark.parametrize("name", POINTS)
def test_a_driver_killed_around_its_audit_publishes_nothing(scenario: Scenario, name: str) -> None:
    point = POINTS[name]
    marker = scenario.folder / "reached"
    scenario.replace_function(point.module, point.function, WAIT_FOREVER.format(marker=str(marker)))
    with scenario.running_build() as job:
        wait_for(lambda: marker.exists() or job.ended, "the driver reaches the point")
        driver = job.driver()
        assert driver, f"the job ended before: {job.log}{job.output}"
        scenario.assert_unchanged()
        job.kill(driver)
        assert job.wait() != 0
    home = f"OHLCV_HOME={scenario.harness.settings.home}"
    wait_for(lambda: not processes_with_environment(home), "the processes of the job end")
    scenario.assert_unchanged()
    assert len(candidate_branches(scenario.harness.table("1m"))) == point.has_candidate
    scenario.assert_rerun_publishes()


def test_an_auditor_without_memory_publishes_nothing(scenario: Scenario) -> None:
    limit = "arguments[0].execute(\"SET memory_limit = '1MiB'\")"
    scenario.replace_function("ohlcv.quality.candidate_audit", "select_rows", limit)
    result = run(build_job(scenario.harness.settings, "1m", Range(FROM, TO)), MASTER)
    assert result.exit_code == 1, result.log
    assert result.error.startswith(
        "the recomputation of [2026-03-01T05:00:00Z, 2026-03-01T19:00:00Z) needs more memory"
    )
    assert result.error.endswith(": raise OHLCV_AUDIT_MEMORY")
    assert "Traceback" not in result.log
    scenario.assert_unchanged()
    scenario.assert_rerun_publishes()

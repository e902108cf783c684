"""Jobs that the kernel kills for lack of memory: the error says so, nothing is published, and a rerun is exact."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from support.command_line import OHLCV
from support.harness import Harness, at, trade
from support.memory_limit import memory_limit

pytestmark = pytest.mark.faults

DAY = at("2026-03-01 00:00")
NEXT = at("2026-03-02 00:00")
BUILD = ["build", "--timeframe", "1m", "--start", "2026-03-01T00:00Z", "--end", "2026-03-02T00:00Z", "--json"]
# The command needs a third of it, Spark's JVM twice as much.
MEGABYTES = 300


def test_a_job_killed_for_lack_of_memory_says_so_and_its_rerun_is_exact(spark: SparkSession, tmp_path: Path) -> None:
    harness = Harness(spark, tmp_path / "home")
    harness.load(trade(DAY + timedelta(seconds=second), f"{100 + second % 13}") for second in range(0, 6 * 3600, 61))
    environment = {**os.environ, "OHLCV_HOME": str(harness.settings.home)}

    def build(prefix: list[str]) -> subprocess.CompletedProcess[str]:
        command = [*prefix, str(OHLCV), *BUILD]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800, check=False)

    with memory_limit(MEGABYTES) as prefix:
        killed = build(prefix)
    assert killed.returncode == 1, killed.stderr
    assert "Traceback" not in killed.stderr
    assert killed.stderr.splitlines()[-1].startswith("error: 1m: the job was killed (SIGKILL)")
    assert "too little memory" in killed.stderr
    assert harness.stored("1m") == {}
    done = build([])
    assert done.returncode == 0, done.stderr
    assert harness.candles("1m") == harness.expected("1m", (DAY, NEXT)).candles
    assert len(harness.snapshots("1m")) == 1

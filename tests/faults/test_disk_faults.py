"""Full disks during a job: the error names the folder, readers see the state before, and a rerun is exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from support.command_line import ColdCommandLine
from support.harness import Harness
from support.late_candles import DAY, NEXT, assert_rerun_is_exact, build_then_load_late_trades, line_of
from support.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.faults

# From a disk that takes no byte to one that is full when the last files of a commit are written.
FREE_BYTES = [0, 16_384, 40_960, 65_536, 131_072]


def prepared(spark: SparkSession, home: Path, environment: dict[str, str]) -> Harness:
    harness = Harness(spark, home, environment)
    build_then_load_late_trades(harness)
    return harness


def fail_and_repeat(harness: Harness, disk: SmallDisk, folder: Path) -> None:
    """Run a build with little space, then with more and more until it succeeds."""
    before = harness.stored("1m")
    messages = []
    for free in FREE_BYTES:
        disk.fill(free)
        try:
            harness.build("1m", DAY, NEXT)
        except Exception as error:
            messages.append(line_of(error, harness.settings))
            print(f"{free:>8,} bytes free: {messages[-1]}")
        else:
            print(f"{free:>8,} bytes free: success")
            break
        finally:
            disk.empty()
        assert harness.stored("1m") == before
    assert messages
    for message in messages:
        assert message.startswith("no space left in "), message
        assert str(folder) in message
    # What failed runs have left disturbs no rerun.
    assert_rerun_is_exact(harness)


def test_a_job_whose_data_disk_is_full_names_it_and_its_rerun_is_exact(spark: SparkSession, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        warehouse = disk.folder / "warehouse"
        harness = prepared(spark, tmp_path / "home", {"OHLCV_WAREHOUSE": f"file://{warehouse}"})
        fail_and_repeat(harness, disk, warehouse)


def test_a_job_whose_catalog_disk_is_full_names_it_and_its_rerun_is_exact(spark: SparkSession, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        environment = {
            "OHLCV_CATALOG_URI": f"sqlite:///{disk.folder}/catalog.db",
            "OHLCV_WAREHOUSE": f"file://{tmp_path}/warehouse",
        }
        harness = prepared(spark, tmp_path / "home", environment)
        fail_and_repeat(harness, disk, disk.folder)


def test_a_job_whose_disk_for_temporary_files_is_full_names_it_and_its_rerun_is_exact(
    spark: SparkSession, tmp_path: Path
) -> None:
    shell = ColdCommandLine(tmp_path)
    harness = prepared(spark, shell.home, {})
    before = harness.stored("1m")
    build = ["build", "--timeframe", "1m", "--start", DAY.isoformat(), "--end", NEXT.isoformat()]
    with small_disk(tmp_path / "disk", 64) as disk:
        disk.fill()
        message = shell.fail(1, *build, SPARK_LOCAL_DIRS=str(disk.folder))
        assert f"no space left in {disk.folder} " in message
        assert harness.stored("1m") == before
        disk.empty()
        shell.succeed(*build, SPARK_LOCAL_DIRS=str(disk.folder))
    assert harness.candles("1m") == harness.expected("1m", (DAY, NEXT)).candles

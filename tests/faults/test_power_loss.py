"""Power loss after a commit: the catalog has it, but its files never reached the disk, because nothing synced them."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ohlcv.iceberg.tables import open_catalog
from ohlcv.integrity.check import Selection, check_tables
from ohlcv.integrity.restoration import find_restoration, restore
from ohlcv.ledger.recording import record
from ohlcv.model.errors import OhlcvError
from ohlcv.monitoring.doctor import check_data
from ohlcv.readers.candles import read_candles
from spark_jobs.runtime.spark_errors import find_damage
from support.harness import Harness, at, trade

pytestmark = pytest.mark.faults

DAY = at("2026-11-20 00:00")
HOUR = timedelta(hours=1)


def files_of(harness: Harness) -> set[Path]:
    folder = harness.settings.home / "warehouse"
    return {path for path in folder.rglob("gold_ohlcv_1m/**/*") if path.is_file()}


def lose(files: set[Path], kind: str) -> None:
    """Leave of files what a file system leaves that was not synced: no entry in the folder, no content, or a part."""
    for file in files:
        if kind == "missing":
            file.unlink()
        else:
            file.write_bytes(b"" if kind == "empty" else file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated"])
def test_a_run_whose_files_are_lost_is_found_and_after_a_restore_the_next_run_is_exact(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    harness = Harness(spark, tmp_path / "home")
    source = random.Random(1)
    harness.load([trade(DAY + timedelta(seconds=90 * number), str(source.randrange(1, 10**6))) for number in range(80)])
    harness.build("1m", DAY, DAY + HOUR, rebuild_pending=True)
    record(harness.settings, harness.settings.timeframe("1m"))
    before = files_of(harness)
    # A late trade and the second hour, in one run.
    harness.load([trade(DAY + timedelta(minutes=5), "7777", trade_id="late")])
    harness.build("1m", DAY + HOUR, DAY + 2 * HOUR, rebuild_pending=True)
    expected = harness.candles("1m")
    # A later job is another process, which has no table in memory.
    later = Harness(spark, tmp_path / "home")
    lose(files_of(harness) - before, kind)

    settings, timeframe = harness.settings, harness.settings.timeframe("1m")
    (fault,) = [check.found for check in check_data(settings) if check.state == "fault"]
    assert "gold_ohlcv_1m" in fault
    tables = Selection(timeframes=["1m"]).choose(settings)
    assert any(report.is_damaged for report in check_tables(settings, tables, None))
    with pytest.raises(OhlcvError):
        read_candles(settings, timeframe)
    with pytest.raises((Py4JJavaError, PySparkException, OhlcvError)) as raised:
        later.build("1m", DAY + HOUR, DAY + 2 * HOUR, rebuild_pending=True)
    damage = raised.value if isinstance(raised.value, OhlcvError) else find_damage(raised.value, "")
    assert "gold_ohlcv_1m" in str(damage)

    catalog = open_catalog(settings)
    restore(settings, catalog, find_restoration(settings, catalog, settings.candles_contract(timeframe)))
    assert not any(report.is_damaged for report in check_tables(settings, tables, None))
    assert record(settings, timeframe).gap is None
    final = Harness(spark, tmp_path / "home")
    final.build("1m", DAY + HOUR, DAY + 2 * HOUR, rebuild_pending=True)
    assert final.candles("1m") == expected
    assert final.checkpoint("1m").pending_hours == frozenset()

"""The native scan returns every trade exactly once, whatever the files of the table look like."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import TIMEFRAMES
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.rebuild import read_source
from spark_jobs.runtime.execution import Execution
from support.computed_candles import is_native_plan
from support.harness import Harness, at, trade
from support.reference_model import Trade

NOON, END = at("2026-03-01 12:00"), at("2026-03-01 14:00")
NATIVE = Execution("native", "native")
TABLE = "iceberg.market_data.gold_crypto_trades"


def some_trades(count: int = 400) -> list[Trade]:
    times = [NOON + timedelta(seconds=17 * number) for number in range(count)]
    return [trade(time, str(1 + number % 19), trade_id=str(number)) for number, time in enumerate(times)]


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr("spark_jobs.runtime.execution.choose_execution", lambda *_: NATIVE)
    return Harness(spark, tmp_path)


def require_reference(harness: Harness) -> None:
    """Check that a native run stores the candles of the reference model."""
    with read_source(
        harness.spark, TableHistory(harness.spark, harness.settings), [TIMEFRAMES["1m"]], [Range(NOON, END)], NATIVE
    ) as source:
        assert is_native_plan(source.trade_totals.cached[-1])
    report = harness.build("1m", NOON, END)
    assert report["execution"]["engine"] == "native"
    assert report["trades_read"] == len(harness.trades)
    assert harness.candles("1m") == harness.expected("1m", (NOON, END)).candles


def test_a_file_is_read_in_several_parts(harness: Harness) -> None:
    harness.sql(
        "ALTER TABLE {trades} SET TBLPROPERTIES ('write.parquet.row-group-limit'='50', 'read.split.target-size'='1000')"
    )
    harness.load(some_trades())
    require_reference(harness)


def test_deleted_rows_are_left_out(harness: Harness) -> None:
    trades = some_trades()
    harness.load(trades[:200], trades[200:])
    harness.sql("ALTER TABLE {trades} SET TBLPROPERTIES ('write.delete.mode'='merge-on-read')")
    harness.sql("DELETE FROM {trades} WHERE trade_id LIKE '%7'")
    files = harness.spark.table(f"{TABLE}.delete_files").count()
    assert files > 0
    harness.trades = [each for each in harness.trades if not str(each.trade_id).endswith("7")]
    require_reference(harness)


def test_files_of_an_older_schema_are_read(harness: Harness) -> None:
    trades = some_trades()
    harness.load(trades[:150])
    harness.sql("ALTER TABLE {trades} ADD COLUMN venue string FIRST")
    harness.load(trades[150:])
    require_reference(harness)

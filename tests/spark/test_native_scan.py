"""The native scan returns every trade exactly once, whatever the files of the table look like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import TIMEFRAMES
from spark_jobs.compute.trade_aggregation import TradeTotals, aggregate_trades
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs import rebuild
from spark_jobs.jobs.rebuild import read_source
from spark_jobs.runtime.execution import Execution, is_native_plan
from spark_jobs.runtime.spark_errors import find_damage
from support.harness import Harness, at, is_native, trade
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
        assert is_native_plan(source.trade_totals.first_read)
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


def test_a_run_whose_query_comet_leaves_to_spark_is_a_run_of_the_jvm(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("spark_jobs.runtime.execution.choose_execution", lambda *_: NATIVE)
    # The native scan reads no folder with a space in its name.
    harness = Harness(spark, tmp_path / "a b")
    harness.load(some_trades(50))
    report = harness.build("1m", NOON, END)
    assert report["execution"]["engine"] == "jvm"
    assert harness.summary("1m")["ohlcv.execution"] == "jvm"
    assert "execution: jvm, because the native operators cannot run this query" in capfd.readouterr().err
    monkeypatch.setattr("spark_jobs.runtime.execution.choose_execution", lambda *_: Execution("shadow"))
    shadow = harness.build("5m", NOON, END)["shadow"]
    assert shadow["problem"] == "the native operators cannot run this query"


def test_a_missing_file_is_reported_by_the_jvm(harness: Harness, capfd: pytest.CaptureFixture[str]) -> None:
    harness.load(some_trades(50))
    for file in harness.table().inspect.files()["file_path"].to_pylist():
        Path(file.removeprefix("file://")).unlink()
    with pytest.raises(Py4JJavaError) as error:
        harness.build("1m", NOON, END)
    damage = find_damage(error.value, None)
    assert damage is not None
    assert "gold_crypto_trades/data/exchange_date=2026-03-01" in str(damage)
    assert "the run starts again on the JVM" in capfd.readouterr().err


def test_an_error_of_a_native_task_starts_the_run_again_on_the_jvm(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(trades: DataFrame, step: int, ranges: Sequence[Range], **options: bool) -> TradeTotals:
        if is_native(harness.spark):
            time = F.col("timestamp")
            trades = trades.withColumn("timestamp", time * time * time)
        return aggregate_trades(trades, step, ranges, **options)

    harness.load(some_trades(50))
    monkeypatch.setattr(rebuild, "aggregate_trades", overflowing)
    report = harness.build("1m", NOON, END)
    assert report["execution"]["engine"] == "jvm"
    assert report["execution"]["reason"].startswith("native execution failed: ")
    assert harness.candles("1m") == harness.expected("1m", (NOON, END)).candles

"""Shadow mode: both engines aggregate the trades of a run, the candles are those of the JVM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.intervals import Range
from spark_jobs.compute.trade_aggregation import TradeTotals, aggregate_trades
from spark_jobs.jobs import rebuild
from spark_jobs.runtime import execution
from support.harness import Harness, at, is_native, trade

START, END = at("2026-03-01 11:00"), at("2026-03-01 13:00")


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Return a harness in shadow mode with trades of two series in two hours; one trade was delivered twice."""
    monkeypatch.setattr(execution, "_find_session_reason", lambda spark: None)
    harness = Harness(spark, tmp_path, {"OHLCV_EXECUTION": "shadow"})
    times = [START + timedelta(minutes=10 * number) for number in range(12)]
    trades = [trade(time, str(1 + number), symbol=symbol) for number, time in enumerate(times) for symbol in "AB"]
    harness.load([*trades, trades[0]])
    return harness


def build(harness: Harness) -> dict[str, Any]:
    report = harness.build("1m", START, END)
    assert harness.candles("1m") == harness.expected("1m", (START, END)).candles
    assert harness.summary("1m")["ohlcv.execution"] == "jvm"
    assert report["execution"] == {"requested": "shadow", "engine": "jvm"}
    return report


def test_equal_totals_are_reported(harness: Harness, capfd: pytest.CaptureFixture[str]) -> None:
    report = build(harness)
    # Two series and the deliveries, each in two hours.
    assert report["shadow"] == {"series_hours": 6, "differing": 0, "first": []}
    assert "shadow mode: both engines agree in all 6 series and hours" in report["notes"]
    assert "shadow: both engines agree" in capfd.readouterr().err


@pytest.mark.parametrize("field", ["open", "notional", "trade_count", "deliveries"])
def test_a_difference_is_reported_and_the_candles_are_those_of_the_jvm(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    def wrong_on_native(trades: DataFrame, step: int, ranges: Sequence[Range], **options: bool) -> TradeTotals:
        found = aggregate_trades(trades, step, ranges, **options)
        if not is_native(harness.spark):
            return found
        if field == "deliveries":
            next(iter(found.summary.counts.values()))[None] += 1  # type: ignore[index]
            return found
        value = F.when((F.col("symbol") == "B") & (F.col("open") == 8), F.col(field) * 2).otherwise(F.col(field))
        kind = found.totals.schema[field].dataType
        return replace(found, totals=found.totals.withColumn(field, value.cast(kind)))

    monkeypatch.setattr(rebuild, "aggregate_trades", wrong_on_native)
    report = build(harness)
    assert report["shadow"]["differing"] == 1
    expected = "2026-03-01T12:00:00Z kraken B"
    if field != "deliveries":
        assert report["shadow"]["first"] == [expected]
    assert "shadow mode: the engines differ in 1 of 6 series and hours" in report["notes"]

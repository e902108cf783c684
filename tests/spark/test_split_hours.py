"""An hour with many trades is distributed over all cores, and the candles are the same."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.execution import ENGINES, Engine
from ohlcv.model.intervals import Range
from ohlcv.model.timeframes import TIMEFRAMES
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs import rebuild
from spark_jobs.jobs.rebuild import read_source
from spark_jobs.runtime.execution import Execution, is_native_plan
from support.harness import Harness, at, trade

NOON, END = at("2026-03-01 12:00"), at("2026-03-01 13:00")


@pytest.fixture
def harness(spark: SparkSession, tmp_path: Path) -> Harness:
    """Return a harness with an hour of a series with repeated trades, and of a series whose ids are texts."""
    harness = Harness(spark, tmp_path)
    times = [NOON + timedelta(seconds=7 * number) for number in range(500)]
    numbers = [trade(time, str(1 + number % 17), trade_id=str(number)) for number, time in enumerate(times)]
    again = [trade(time, "30", trade_id=str(number), ingested=END) for number, time in enumerate(times[::50])]
    texts = [trade(time, str(1 + number % 13), trade_id=f"t{number}", symbol="T") for number, time in enumerate(times)]
    harness.load(numbers, again, texts)
    return harness


def test_an_hour_is_split_only_with_many_trades(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def tasks(hours: int) -> int:
        span = Range(END - timedelta(hours=hours), END)
        history = TableHistory(harness.spark, harness.settings)
        with read_source(harness.spark, history, [TIMEFRAMES["1m"]], [span]) as source:
            return source.trade_totals.first_read.rdd.getNumPartitions()

    assert tasks(1) == 1
    monkeypatch.setattr(rebuild, "SPLIT_MIN_TRADES", 1_010)
    # As many tasks as cores.
    assert tasks(1) == 2
    # An hour for each core: only the hour with trades is a task.
    assert tasks(2) == 1
    monkeypatch.setattr(rebuild, "SPLIT_MIN_TRADES", 1_011)
    assert tasks(1) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_split_hour_gives_the_same_candles(harness: Harness, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.setattr(rebuild, "SPLIT_MIN_TRADES", 0)
    monkeypatch.setattr("spark_jobs.runtime.execution.choose_execution", lambda *_: Execution(engine, engine))
    history = TableHistory(harness.spark, harness.settings)
    execution = Execution(engine, engine)
    with read_source(harness.spark, history, [TIMEFRAMES["1m"]], [Range(NOON, END)], execution) as source:
        first = source.trade_totals.first_read
        assert is_native_plan(first) == (engine == "native")
        assert first.rdd.getNumPartitions() == 2
    harness.build("5m", NOON, END)
    assert harness.candles("5m") == harness.expected("5m", (NOON, END)).candles

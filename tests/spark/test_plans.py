"""What Spark makes of the candle maths: hashed, without a shuffle, from no more columns and hours than it takes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from lab import Lab, at, trade
from ohlcv.timeframes import TIMEFRAMES
from ohlcv.windows import HOUR, Range, hours_touched
from spark_jobs.build import Source, read_source
from spark_jobs.candles import candles
from spark_jobs.trades import read_trades, tally, with_verdict

NOON = at("2026-03-01 12:00")
TWO_HOURS = Range(NOON, NOON + 2 * HOUR)
# All that the order by a number, the sums and the verdict need.
FOR_CANDLES = {
    "symbol",
    "exchange",
    "trade_id",
    "message_id",
    "timestamp",
    "price",
    "quantity",
    "exchange_date",
    "exchange_hour",
}


def plan_of(frame: DataFrame) -> str:
    query: Any = frame._jdf.queryExecution()
    return str(query.executedPlan().toString())


def scanned(plan: str) -> set[str]:
    """Give the columns that are read of the files."""
    (columns,) = re.findall(r"BatchScan iceberg\.market_data\.gold_crypto_trades\[([^]]*)\]", plan)
    return {name.partition("#")[0].strip() for name in columns.split(",")}


@pytest.fixture
def busy(lab: Lab) -> Lab:
    """Six hours of trades, in three commits each."""
    times = [NOON + timedelta(minutes=20 * number) for number in range(-6, 12)]
    for share in range(3):
        lab.load(trade(time, trade_id=str(number)) for number, time in enumerate(times) if number % 3 == share)
    return lab


def source_of(lab: Lab, *timeframes: str) -> Source:
    return read_source(lab.spark, None, [TIMEFRAMES[name] for name in timeframes], [TWO_HOURS])


@pytest.mark.parametrize("timeframes", [["1m"], ["1h"], ["1d"], list(TIMEFRAMES)])
def test_sums_are_hashed_where_the_trades_are_read(busy: Lab, timeframes: list[str]) -> None:
    plan = plan_of(source_of(busy, *timeframes).totals)
    assert "HashAggregate" in plan
    assert "SortAggregate" not in plan
    assert "Exchange" not in plan
    assert scanned(plan) == FOR_CANDLES


def test_only_ids_that_do_not_order_trades_make_spark_sort(busy: Lab) -> None:
    busy.load([trade(NOON + timedelta(minutes=1), trade_id="no number")])
    plan = plan_of(source_of(busy, "1m").totals)
    assert "SortAggregate" in plan
    assert "Exchange" not in plan


def test_the_survey_is_hashed_where_the_trades_are_read(busy: Lab) -> None:
    plan = plan_of(tally(with_verdict(read_trades(busy.spark, None, hours_touched([TWO_HOURS])))))
    assert "SortAggregate" not in plan
    assert "Exchange" not in plan
    assert scanned(plan) == FOR_CANDLES | {"source_sequence"}


def test_an_hour_is_one_task_and_no_other_hour_is_opened(busy: Lab) -> None:
    trades = read_trades(busy.spark, None, hours_touched([TWO_HOURS]))
    assert trades.rdd.getNumPartitions() == 2
    assert trades.select(F.input_file_name()).distinct().count() == 6
    assert plan_of(trades).count("exchange_date = 20513") == plan_of(trades).count("exchange_hour >= 12") == 1


def test_longer_windows_are_put_together_with_one_shuffle(busy: Lab) -> None:
    source = source_of(busy, "1m", "1d")
    day = TIMEFRAMES["1d"]
    plan = plan_of(
        candles(source.totals, source.step, day, [Range(at("2026-03-01"), at("2026-03-02"))], "decimal(18,8)")
    )
    assert plan.count("Exchange") == 1
    assert "SortAggregate" not in plan

"""What Spark makes of the candle maths: hashed, without a shuffle, from no more columns and hours than it takes."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.intervals import HOUR, Range
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from spark_jobs.compute.candle_builder import candles
from spark_jobs.compute.trade_aggregation import first_pass
from spark_jobs.compute.trade_columns import with_rejection_reason
from spark_jobs.iceberg.table_metadata import TableHistory
from spark_jobs.iceberg.trades_reader import read_trades
from spark_jobs.jobs import build_candles as build
from spark_jobs.jobs.build_candles import read_source
from spark_jobs.runtime.session import code_generation_for
from support.harness import Harness, at, trade

NOON = at("2026-03-01 12:00")
TWO_HOURS = Range(NOON, NOON + 2 * HOUR)
# All that the sums, the order and the verdict need.
FOR_CANDLES = {
    "symbol",
    "exchange",
    "trade_id",
    "timestamp",
    "price",
    "quantity",
    "source_sequence",
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
def busy(harness: Harness) -> Harness:
    """Six hours of trades, in three commits each."""
    times = [NOON + timedelta(minutes=20 * number) for number in range(-6, 12)]
    for share in range(3):
        harness.load(trade(time, trade_id=str(number)) for number, time in enumerate(times) if number % 3 == share)
    return harness


def first_of(harness: Harness, step: int = 60_000_000) -> DataFrame:
    return first_pass(
        with_rejection_reason(read_trades(harness.spark, None, hours_overlapping([TWO_HOURS]), all_have_ids=True)),
        step,
        [TWO_HOURS],
    )


@pytest.mark.parametrize("step", [60_000_000, 3_600_000_000])
def test_trades_are_added_up_by_hashing_where_they_are_read(busy: Harness, step: int) -> None:
    plan = plan_of(first_of(busy, step))
    assert "HashAggregate" in plan
    assert "SortAggregate" not in plan
    assert "Exchange" not in plan
    assert scanned(plan) == FOR_CANDLES


@pytest.mark.parametrize(
    ("trades_read", "compiled"), [(CODE_GENERATION_MIN_TRADES - 1, False), (CODE_GENERATION_MIN_TRADES, True)]
)
def test_only_many_trades_have_their_code_compiled(busy: Harness, trades_read: int, compiled: bool) -> None:
    with code_generation_for(busy.spark, trades_read):
        # Spark numbers the stages whose code it generates.
        assert bool(re.search(r"\*\(\d+\)", plan_of(first_of(busy)))) == compiled
        assert (busy.spark.conf.get("spark.sql.codegen.factoryMode") == "NO_CODEGEN") == (not compiled)
    assert re.search(r"\*\(\d+\)", plan_of(first_of(busy)))


def test_a_run_counts_the_trades_it_is_about_to_read(busy: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def code(spark: SparkSession, trades: int) -> AbstractContextManager[None]:
        told.append(trades)
        return nullcontext()

    monkeypatch.setattr(build, "code_generation_for", code)
    busy.build("1m", NOON, NOON + timedelta(minutes=5))
    # Three an hour: those of the hour it lies in, and none of the others.
    assert told == [3]


def test_what_is_in_order_is_read_once(busy: Harness) -> None:
    with read_source(busy.spark, TableHistory(busy.spark), [TIMEFRAMES["1m"]], [TWO_HOURS]) as source:
        plan = plan_of(source.sums.totals)
        assert "InMemoryTableScan" in plan
        assert plan.count("BatchScan") == 1


@pytest.mark.parametrize(
    ("again", "sorted_trades"),
    [
        pytest.param({"trade_id": "0"}, False, id="delivered again: its block's versions"),
        pytest.param({"trade_id": "no number"}, True, id="another kind of id: its series' order"),
    ],
)
def test_what_is_out_of_the_ordinary_is_read_again(busy: Harness, again: dict[str, Any], sorted_trades: bool) -> None:
    busy.load([trade(NOON + timedelta(minutes=1), **again), trade(NOON + timedelta(minutes=2), **again)])
    with read_source(busy.spark, TableHistory(busy.spark), [TIMEFRAMES["1m"]], [TWO_HOURS]) as source:
        plan = plan_of(source.sums.totals)
        assert plan.count("BatchScan") >= 2
        # Of the two hours only the one that has them.
        assert "exchange_hour <= 12" in plan
        # Trades that stand twice are added up as all others are; those whose ids do not order them are not.
        assert ("SortAggregate" in plan) == sorted_trades


def test_an_hour_is_one_task_and_no_other_hour_is_opened(busy: Harness) -> None:
    trades = read_trades(busy.spark, None, hours_overlapping([TWO_HOURS]), all_have_ids=True)
    assert trades.rdd.getNumPartitions() == 2
    assert trades.select(F.input_file_name()).distinct().count() == 6
    assert plan_of(trades).count("exchange_date = 20513") == plan_of(trades).count("exchange_hour >= 12") == 1


def test_longer_windows_are_put_together_with_one_shuffle(busy: Harness) -> None:
    day = TIMEFRAMES["1d"]
    with read_source(busy.spark, TableHistory(busy.spark), [TIMEFRAMES["1m"], day], [TWO_HOURS]) as source:
        whole_day = [Range(at("2026-03-01"), at("2026-03-02"))]
        plan = plan_of(candles(source.sums.totals, source.sums.step, day, whole_day, "decimal(18,8)"))
        assert plan.count("Exchange") == 1
        assert "SortAggregate" not in plan

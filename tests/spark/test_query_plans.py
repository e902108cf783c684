"""Spark query plans of the candle build: hash aggregation, no shuffle, only the necessary columns and hours."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.model.intervals import HOUR, Range
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.model.trade_mapping import MAPPED_COLUMNS
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from spark_jobs.compute.candle_builder import candles_from_totals
from spark_jobs.compute.time_predicates import in_hours
from spark_jobs.compute.trade_aggregation import first_totals
from spark_jobs.compute.trade_columns import with_rejection_reason
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.iceberg.trades_reader import TradesTable, read_trades
from spark_jobs.jobs import build_candles as build
from spark_jobs.jobs.rebuild import read_source
from spark_jobs.runtime.session import code_generation_for
from support.default_tables import TRADES
from support.harness import Harness, at, trade
from support.mapped_tables import BY_DAY, BY_HOUR, UNPARTITIONED, MappedHarness, Shape

NOON = at("2026-03-01 12:00")
TWO_HOURS = Range(NOON, NOON + 2 * HOUR)
# The columns that aggregation, order and validation need.
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


def scanned_columns(plan: str) -> set[str]:
    """Return the columns that are read from the files."""
    (columns,) = re.findall(r"BatchScan iceberg\.market_data\.gold_crypto_trades\[([^]]*)\]", plan)
    return {name.partition("#")[0].strip() for name in columns.split(",")}


@pytest.fixture
def loaded(harness: Harness) -> Harness:
    """Return a harness with six hours of trades, in three commits each."""
    times = [NOON + timedelta(minutes=20 * number) for number in range(-6, 12)]
    for share in range(3):
        harness.load(trade(time, trade_id=str(number)) for number, time in enumerate(times) if number % 3 == share)
    return harness


def history_of(harness: Harness) -> TableHistory:
    return TableHistory(harness.spark, harness.settings)


def first_totals_of(harness: Harness, step: int = 60_000_000) -> DataFrame:
    return first_totals(
        with_rejection_reason(
            read_trades(harness.spark, TradesTable(TRADES, None, {}), hours_overlapping([TWO_HOURS]), all_have_ids=True)
        ),
        step,
        [TWO_HOURS],
    )


def plan_of_totals(harness: Harness) -> str:
    """Return the plan of the trades of two hours, aggregated as a run of 1m does."""
    with read_source(harness.spark, history_of(harness), [TIMEFRAMES["1m"]], [TWO_HOURS]) as source:
        return plan_of(source.trade_totals.totals)


@pytest.mark.parametrize("step", [60_000_000, 3_600_000_000])
def test_trades_are_hash_aggregated_without_a_shuffle(loaded: Harness, step: int) -> None:
    plan = plan_of(first_totals_of(loaded, step))
    assert "HashAggregate" in plan
    assert "SortAggregate" not in plan
    assert "Exchange" not in plan
    assert scanned_columns(plan) == FOR_CANDLES


@pytest.mark.parametrize(
    ("trades_read", "compiled"), [(CODE_GENERATION_MIN_TRADES - 1, False), (CODE_GENERATION_MIN_TRADES, True)]
)
def test_code_is_generated_only_for_many_trades(loaded: Harness, trades_read: int, compiled: bool) -> None:
    with code_generation_for(loaded.spark, trades_read):
        # Spark numbers the stages with generated code.
        assert bool(re.search(r"\*\(\d+\)", plan_of_totals(loaded))) == compiled
        assert (loaded.spark.conf.get("spark.sql.codegen.factoryMode") == "NO_CODEGEN") == (not compiled)
    assert re.search(r"\*\(\d+\)", plan_of_totals(loaded))


def test_a_run_counts_only_the_trades_that_it_reads(loaded: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def record(spark: SparkSession, trades: int) -> AbstractContextManager[None]:
        counts.append(trades)
        return nullcontext()

    monkeypatch.setattr(build, "code_generation_for", record)
    loaded.build("1m", NOON, NOON + timedelta(minutes=5))
    # Each hour has three trades; the range lies in one hour.
    assert counts == [3]


def test_trades_without_exceptions_are_read_once_without_the_columns_of_versions(loaded: Harness) -> None:
    """Ids of messages are long and all different. Only versions of a trade are compared by them."""
    plan = plan_of_totals(loaded)
    assert "InMemoryTableScan" in plan
    assert plan.count("BatchScan") == 1
    assert scanned_columns(plan) == FOR_CANDLES


@pytest.mark.parametrize(
    ("again", "sorted_trades"),
    [
        pytest.param({"trade_id": "0"}, False, id="duplicate: its versions"),
        pytest.param({"trade_id": "no number"}, True, id="id without a number: its series"),
    ],
)
def test_trades_with_exceptions_are_read_again(loaded: Harness, again: dict[str, Any], sorted_trades: bool) -> None:
    loaded.load([trade(NOON + timedelta(minutes=1), **again), trade(NOON + timedelta(minutes=2), **again)])
    with read_source(loaded.spark, history_of(loaded), [TIMEFRAMES["1m"]], [TWO_HOURS]) as source:
        plan = plan_of(source.trade_totals.totals)
        assert plan.count("BatchScan") >= 2
        # Only the one of the two hours that has exceptions.
        assert "exchange_hour <= 12" in plan
        # Duplicates are hash-aggregated; trades that their ids do not order are sorted.
        assert ("SortAggregate" in plan) == sorted_trades


def test_an_hour_is_one_task_and_no_other_hour_is_read(loaded: Harness) -> None:
    trades = read_trades(loaded.spark, TradesTable(TRADES, None, {}), hours_overlapping([TWO_HOURS]), all_have_ids=True)
    assert trades.rdd.getNumPartitions() == 2
    assert trades.select(F.input_file_name()).distinct().count() == 6
    assert plan_of(trades).count("exchange_date <= 20513") == plan_of(trades).count("exchange_hour >= 12") == 1


def test_the_default_mapping_reads_the_columns_of_the_contract_as_they_are(loaded: Harness) -> None:
    hours = hours_overlapping([TWO_HOURS])
    trades = read_trades(loaded.spark, TradesTable(TRADES, None, {}), hours, all_have_ids=False)
    rows = loaded.spark.table("iceberg.market_data.gold_crypto_trades").where(in_hours(hours))
    identity, by_message = F.coalesce("trade_id", "message_id"), F.col("trade_id").isNull()
    plain = rows.select(*MAPPED_COLUMNS, identity.alias("identity"), by_message.alias("by_message"))
    assert without_numbers(plan_of(trades)) == without_numbers(plan_of(plain))


@pytest.mark.parametrize(
    ("shape", "column", "bounds"),
    [
        (BY_HOUR, "ts", (1772366400000000, 1772373599999999)),
        (BY_DAY, "time of trade", (1772366400000000, 1772373599999999)),
        (UNPARTITIONED, "ns", (1772366400000000000, 1772373599999999999)),
    ],
    ids=["hour(ts)", "day(ts)", "unpartitioned"],
)
def test_predicates_of_a_mapped_table_have_the_type_of_its_column(
    spark: SparkSession, tmp_path: Path, shape: Shape, column: str, bounds: tuple[int, int]
) -> None:
    """Iceberg then skips files by the bounds of the column."""
    harness = MappedHarness(spark, tmp_path / "home", shape)
    history = TableHistory(harness.spark, harness.settings)
    plan = plan_of(read_trades(harness.spark, history.table, hours_overlapping([TWO_HOURS]), all_have_ids=True))
    (scan,) = re.findall(r"BatchScan .*", plan)
    assert f"{column} >= {bounds[0]}" in scan
    assert f"{column} <= {bounds[1]}" in scan


def without_numbers(plan: str) -> str:
    """Return a plan without the numbers of its expressions, which differ from query to query."""
    return re.sub(r"#\d+L?|plan_id=\d+", "", plan)


def test_longer_windows_are_merged_with_one_shuffle(loaded: Harness) -> None:
    day = TIMEFRAMES["1d"]
    with read_source(loaded.spark, history_of(loaded), [TIMEFRAMES["1m"], day], [TWO_HOURS]) as source:
        whole_day = [Range(at("2026-03-01"), at("2026-03-02"))]
        plan = plan_of(
            candles_from_totals(source.trade_totals.totals, source.trade_totals.step, day, whole_day, "decimal(18,8)")
        )
        assert plan.count("Exchange") == 1
        assert "SortAggregate" not in plan

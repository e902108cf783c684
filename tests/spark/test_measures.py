"""Measures of extended candle tables: computed by the job, filled without a revision, kept by every write."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.types import LongType, StringType
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ohlcv.iceberg.tables import widen_volume
from ohlcv.model.intervals import Range, to_microseconds
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.spark.spark_submit import reprocess_job
from spark_jobs.iceberg import candle_writer
from spark_jobs.iceberg.candle_writer import Comparison
from spark_jobs.iceberg.trades_history import TableHistory
from spark_jobs.jobs.rebuild import read_source
from spark_jobs.jobs.reprocess_day import read_request, reprocess
from support.harness import Harness, Stored, at, trade
from support.mapped_tables import UNPARTITIONED, MappedHarness
from support.reference_model import Trade

NOON = at("2026-03-01 12:00")
ONE = NOON + timedelta(hours=1)
HOUR = (NOON, ONE)
CANDLES = "iceberg.market_data.gold_ohlcv_5m"
# The fifth minute has a trade without a side.
WITHOUT_SIDE = 5


def some_trades(count: int = 12, start: timedelta = timedelta(), symbol: str = "BTC-USD") -> list[Trade]:
    """Return a trade for each window of 5m, with both sides, and one more in the first window."""
    trades = [
        trade(
            NOON + start + timedelta(minutes=5 * number, microseconds=7 * number),
            str(100 + number % 7),
            f"{1 + number % 3}.00000001",
            trade_id=str(1000 + number),
            symbol=symbol,
            side=None if number == WITHOUT_SIDE else ("BUY", "SELL")[number % 3 == 0],
        )
        for number in range(count)
    ]
    return [*trades, replace(trades[0], trade_id="1", side="BUY", timestamp=(trades[0].timestamp or 0) + 1)]


def times(stored: dict[tuple[str, str, int], Stored]) -> dict[tuple[str, str, int], Stored]:
    """Return candles and write times without measures."""
    return {key: replace(each, measures=None) for key, each in stored.items()}


@pytest.fixture
def extended(harness: Harness) -> Harness:
    """Return a harness whose 5m candles of an hour have measures."""
    harness.extend("5m")
    harness.load(some_trades())
    harness.build("5m", *HOUR)
    assert harness.measures("5m") == harness.expected_measures("5m", HOUR)
    return harness


def test_a_build_fills_the_measures_of_an_extended_table(harness: Harness) -> None:
    """The first build after the extension reads a snapshot that has no measures."""
    harness.load(some_trades())
    harness.build("5m", *HOUR)
    before = harness.stored("5m")
    harness.extend("5m")
    report = harness.build("5m", *HOUR)
    assert (report["candles"]["filled"], report["candles"]["updated"]) == (len(before), 0)
    assert harness.summary("5m")["ohlcv.candles-filled"] == str(len(before))
    assert harness.measures("5m") == harness.expected_measures("5m", HOUR)
    assert times(harness.stored("5m")) == before
    assert harness.build("5m", *HOUR)["candles"]["unchanged"] == len(before)


def test_a_correction_of_sides_alone_fills_and_is_no_revision(extended: Harness) -> None:
    before = extended.stored("5m")
    # The same trade once more, equal up to the side, which decides last.
    extended.load([replace(extended.trades[1], side="SELL"), replace(extended.trades[2], side=None)])
    report = extended.build("5m", *HOUR)
    changes = {name: count for name, count in report["candles"].items() if count}
    assert changes == {"filled": 1, "unchanged": len(before) - 1}
    assert extended.measures("5m") == extended.expected_measures("5m", HOUR)
    assert times(extended.stored("5m")) == times(before)


@pytest.mark.spark_cases
def test_a_correction_of_a_price_is_a_revision(extended: Harness) -> None:
    before = extended.stored("5m")
    extended.load([replace(extended.trades[1], price=None), trade(NOON + timedelta(minutes=2), "3", side="SELL")])
    report = extended.build("5m", *HOUR)
    assert (report["candles"]["updated"], report["candles"]["filled"]) == (1, 0)
    assert extended.measures("5m") == extended.expected_measures("5m", HOUR)
    [changed] = [key for key, each in extended.stored("5m").items() if each.updated_at != before[key].updated_at]
    assert changed[2] == extended.trades[0].timestamp


def test_rows_outside_the_range_keep_their_measures_or_none(harness: Harness) -> None:
    half = NOON + timedelta(minutes=30)
    harness.load(some_trades())
    harness.build("5m", *HOUR)
    harness.extend("5m")
    harness.build("5m", half, ONE)
    filled = harness.expected_measures("5m", (half, ONE))
    nothing = dict.fromkeys(harness.expected_measures("5m", (NOON, half)))
    assert harness.measures("5m") == {**nothing, **filled}
    harness.load([trade(NOON + timedelta(minutes=1), "9", side="BUY")])
    harness.build("5m", NOON, NOON + timedelta(minutes=5))
    first = harness.expected_measures("5m", (NOON, NOON + timedelta(minutes=5)))
    assert harness.measures("5m") == {**nothing, **first, **filled}


def test_preserved_candles_keep_their_measures_or_none(harness: Harness) -> None:
    two = ONE + timedelta(hours=1)
    harness.load(some_trades(), some_trades(start=timedelta(hours=1)))
    harness.extend("5m")
    harness.build("5m", *HOUR)
    filled = harness.measures("5m")
    harness.sql("DELETE FROM {trades} WHERE exchange_hour = 12")
    report = harness.build("5m", NOON, two)
    assert (report["candles"]["kept"], report["candles"]["inserted"]) == (12, 12)
    assert harness.measures("5m") == harness.expected_measures("5m", (NOON, two))
    assert filled.items() <= harness.measures("5m").items()


@pytest.mark.spark_cases
def test_a_preserved_candle_that_was_not_filled_has_no_measures(harness: Harness) -> None:
    """Only a part of its trades is left: their measures are not those of the candle."""
    day = (at("2026-03-01"), at("2026-03-02"))
    harness.load(some_trades(2), some_trades(2, start=timedelta(hours=1)))
    harness.build("1d", *day)
    harness.extend("1d")
    harness.sql("DELETE FROM {trades} WHERE exchange_hour = 12")
    report = harness.build("1d", *day)
    assert (report["candles"]["kept"], report["snapshot"]) == (1, None)
    assert set(harness.measures("1d").values()) == {None}


def test_held_series_keep_their_measures(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = [f"S{number:02}-USD" for number in range(25)]
    harness.load(*(some_trades(3, symbol=symbol) for symbol in symbols))
    harness.extend("5m")
    harness.build("5m", *HOUR)
    before = harness.measures("5m")
    original = candle_writer.stored_rows

    def damaged(comparison: Comparison) -> DataFrame:
        is_bad = F.col("symbol") == symbols[3]
        return original(comparison).withColumn("volume", (F.col("volume") + is_bad.cast("int")).cast("decimal(18,8)"))

    monkeypatch.setattr(candle_writer, "stored_rows", damaged)
    harness.load(*([trade(NOON, "50", symbol=symbol, side="SELL", trade_id="new")] for symbol in symbols))
    report = harness.build("5m", *HOUR, rebuild_pending=True)
    assert [name.rpartition(":")[2] for name in report["held"]] == [symbols[3]]
    expected = harness.expected_measures("5m", HOUR)
    held = {key: each for key, each in before.items() if key[0] == symbols[3]}
    assert harness.measures("5m") == {**expected, **held}


@pytest.mark.spark_cases
def test_measures_of_a_table_with_wide_volumes(harness: Harness) -> None:
    harness.load(some_trades(), [trade(NOON, "1", "9999999999.99999999", trade_id=f"w{n}", side="BUY") for n in (1, 2)])
    for change in (lambda: harness.extend("5m"), lambda: widen_volume(harness.settings, contract_of(harness))):
        change()
        harness.build("5m", *HOUR)
    assert harness.candles("5m") == harness.expected("5m", HOUR, wide=True).candles
    assert harness.measures("5m") == harness.expected_measures("5m", HOUR)


def contract_of(harness: Harness) -> TableContract:
    return harness.settings.candles_contract(harness.settings.timeframe("5m"))


@pytest.mark.spark_cases
def test_rows_of_another_writer_get_exact_measures(extended: Harness) -> None:
    """It wrote a candle twice, other measures, half of the measures, and columns of its own."""
    with extended.table("5m").update_schema() as update:
        update.add_column("note", StringType())
        update.add_column("number", LongType())
        update.move_first("last_trade_at")
    minute = "window_start < TIMESTAMP '2026-03-01 12:05:00'"
    extended.sql(f"INSERT INTO {CANDLES} SELECT * FROM {CANDLES} WHERE {minute}")
    extended.sql(f"UPDATE {CANDLES} SET quote_volume = 1 WHERE window_start = TIMESTAMP '2026-03-01 12:10:00'")
    extended.sql(f"UPDATE {CANDLES} SET quote_volume = NULL WHERE window_start = TIMESTAMP '2026-03-01 12:15:00'")
    report = extended.build("5m", *HOUR)
    assert (report["candles"]["updated"], report["candles"]["filled"]) == (1, 2)
    assert extended.measures("5m") == extended.expected_measures("5m", HOUR)


def test_a_day_is_reprocessed_in_extended_and_other_tables(harness: Harness) -> None:
    day = (at("2026-03-01"), at("2026-03-02"))
    harness.load(some_trades(), some_trades(start=timedelta(hours=2)))
    job = reprocess_job(
        harness.settings, day="2026-03-01", until="2026-03-02", timeframes="5m,1h,1d", prune="no", dry_run="no"
    )
    request = read_request(harness.settings, list(job.arguments))
    reprocess(harness.spark, harness.settings, request)
    before = {name: harness.stored(name) for name in ("5m", "1h", "1d")}
    harness.extend("5m", "1d")
    report = reprocess(harness.spark, harness.settings, request)
    filled = {each["timeframe"]: each["candles"]["filled"] for each in report["timeframes"]}
    assert filled == {"5m": 24, "1h": 0, "1d": 1}
    for name, stored in before.items():
        assert times(harness.stored(name)) == stored
        expected = harness.expected_measures(name, day)
        assert harness.measures(name) == (dict.fromkeys(expected) if name == "1h" else expected)


@pytest.mark.spark_cases
def test_a_correction_of_a_mapped_side_is_found_in_a_file_of_several_hours(spark: SparkSession, tmp_path: Path) -> None:
    # Files of this table contain several hours.
    harness = MappedHarness(spark, tmp_path / "home", UNPARTITIONED)
    two = ONE + timedelta(hours=1)
    harness.extend("5m")
    harness.load([*some_trades(), *some_trades(start=timedelta(hours=1))])
    harness.build("5m", NOON, two, rebuild_pending=True)
    assert harness.measures("5m") == harness.expected_measures("5m", (NOON, two))
    harness.sql(f"UPDATE {{trades}} SET direction = -direction WHERE ns < {to_microseconds(ONE)}000")
    swapped = {"BUY": "SELL", "SELL": "BUY"}
    harness.trades = [
        replace(each, side=swapped.get(each.side or "")) if (each.timestamp or 0) < to_microseconds(ONE) else each
        for each in harness.trades
    ]
    report = harness.build("5m", ONE, two, rebuild_pending=True)
    # Not the windows with equal volumes of both sides, and without a side.
    assert report["candles"]["filled"] == 10
    assert harness.measures("5m") == harness.expected_measures("5m", (NOON, two))


def test_the_side_is_read_only_for_measures(harness: Harness) -> None:
    harness.load(some_trades())
    span = Range(*HOUR)
    history = TableHistory(harness.spark, harness.settings)
    for measures in (False, True):
        with read_source(harness.spark, history, [TIMEFRAMES["5m"]], [span], measures=measures) as source:
            plan: Any = source.trade_totals.totals._jdf.queryExecution()
            text = str(plan.executedPlan().toString())
            (columns,) = re.findall(r"BatchScan iceberg\.market_data\.gold_crypto_trades\[([^]]*)\]", text)
            assert ("side#" in columns) == measures
            assert "SortAggregate" not in text
            assert "Exchange" not in text

"""Trades of the future: no run or reader takes them for the present, and scheduled runs build them when due."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.coverage.recording import record_coverage
from ohlcv.iceberg.retention_plan import plan_retention
from ohlcv.ledger.recording import record
from ohlcv.model.intervals import Range
from ohlcv.model.source_hours import format_hours, hour_number
from ohlcv.monitoring.health import freshness
from ohlcv.quality.validator import validate
from ohlcv.readers.latest import newest_trade
from ohlcv.readers.table_progress import read_progress
from ohlcv.web.data import CandleData
from support.harness import Harness, at, trade
from support.mapped_tables import BY_HOUR, UNPARTITIONED, MappedHarness
from support.reference_model import Trade

pytestmark = pytest.mark.faults
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MIDNIGHT = at("2026-03-01 00:00")
NOON, ONE = MIDNIGHT + 12 * HOUR, MIDNIGHT + 13 * HOUR
# Later today, in two days, and a timestamp that is wrong.
TODAY, SOON, NEVER = at("2026-03-01 15:20"), at("2026-03-03 01:00"), at("2099-01-01 00:00")
SHAPES = {"contract": None, "hour(ts)": BY_HOUR, "unpartitioned": UNPARTITIONED}


def some_trades(begin: datetime, *prices: str) -> list[Trade]:
    """Return trades that all tables can store."""
    return [
        trade(
            begin + timedelta(minutes=n, seconds=n),
            price,
            trade_id=f"{begin:%d%H}{n}",
            message_id=None,
            sequence=n,
            ingested=ONE,
        )
        for n, price in enumerate(prices)
    ]


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def source(request: pytest.FixtureRequest, spark: SparkSession, tmp_path: Path) -> Harness:
    """Return tables with an hour of candles, into which trades of the future are loaded afterwards."""
    home = tmp_path / "home"
    harness = Harness(spark, home) if request.param is None else MappedHarness(spark, home, request.param)
    harness.load(some_trades(NOON, "100", "101.5", "99"))
    run_schedule(harness, ONE)
    harness.load(*(some_trades(each, "200", "201.5") for each in (TODAY, SOON, NEVER)))
    return harness


def run_schedule(harness: Harness, end: datetime) -> str:
    """Run the schedule of a time, and return the hours that wait for later runs."""
    return str(harness.build("1m", end - HOUR, end, rebuild_pending=True)["owed_hours"])


def hours(*times: datetime) -> str:
    return format_hours(map(hour_number, times))


def test_trades_of_the_future_are_in_no_candle_until_scheduled_runs_build_them_when_due(source: Harness) -> None:
    assert run_schedule(source, ONE) == hours(TODAY, SOON, NEVER)
    assert source.candles("1m") == source.expected("1m", (NOON, ONE)).candles
    source.build("1d", MIDNIGHT - DAY, MIDNIGHT, rebuild_pending=True)
    assert source.candles("1d") == {}
    # The runs between have failed: the next one builds the hour in addition to its own.
    assert run_schedule(source, MIDNIGHT + 20 * HOUR) == hours(SOON, NEVER)
    assert source.candles("1m") == source.expected("1m", (NOON, MIDNIGHT + 20 * HOUR)).candles
    source.build("1d", MIDNIGHT, MIDNIGHT + DAY, rebuild_pending=True)
    assert run_schedule(source, SOON + 2 * HOUR) == hours(NEVER)
    expected = source.expected("1m", (NOON, SOON + 2 * HOUR)).candles
    assert len(expected) == 7
    assert source.candles("1m") == expected
    source.build("1d", MIDNIGHT + 2 * DAY, MIDNIGHT + 3 * DAY, rebuild_pending=True)
    assert source.candles("1d") == source.expected("1d", (MIDNIGHT, MIDNIGHT + 3 * DAY)).candles
    # Candles newer than the day of a retention never expire.
    for timeframe in ("1m", "1d"):
        assert (
            plan_retention(source.settings, source.settings.timeframe(timeframe), NOON.date(), SOON.date(), 1).expired
            == ()
        )


def test_readers_do_not_take_trades_of_the_future_for_the_present(source: Harness) -> None:
    run_schedule(source, ONE)
    settings, minute = source.settings, source.settings.timeframe("1m")
    assert validate(settings, minute, Range(NOON, ONE)).findings == []
    assert record(settings, minute).publications >= 1
    report = record_coverage(settings, ONE + timedelta(minutes=30))
    assert (report.hours, report.pending_hours) == (1, 0)
    report = record_coverage(settings, TODAY + HOUR)
    assert (report.hours, report.accepted) == (1, 2)
    # The day after, only the hour of today that no run has built is left.
    (progress,) = read_progress(settings, ["1m"], MIDNIGHT + DAY + 3 * HOUR)
    assert (progress.days_with_trades, progress.days_left) == (1, 1)
    # Without trades until now the newest candle is quiet, not late, and the last trade is one of the past.
    measured = freshness(settings, minute, ONE + timedelta(minutes=30))
    assert measured.state == "quiet"
    assert measured.found.endswith("no trades since 2026-03-01T12:02:02Z")
    assert newest_trade(settings) == NEVER + timedelta(minutes=1, seconds=1)
    assert newest_trade(settings, Range(NOON - DAY, ONE)) == NOON + timedelta(minutes=2, seconds=2)


def test_live_candles_contain_no_trades_of_the_future(source: Harness) -> None:
    data = CandleData(source.settings)
    data.refresh()
    for timeframe in ("1m", "1d"):
        newest = data.provisional(timeframe, "BTC-USD", "kraken").table["window_start"].to_pylist()
        assert newest
        # The machine's clock is after the trades of this week, which the newest 48 hours with trades contain.
        assert max(newest) < SOON + DAY


def test_rows_under_a_date_of_the_future_enter_no_candle_and_are_rejected_when_it_comes(harness: Harness) -> None:
    harness.load(some_trades(NOON, "100", "101.5"))
    run_schedule(harness, ONE)
    wrong = [
        replace(each, exchange_date=date(2026, 3, 2)) for each in some_trades(NOON + timedelta(minutes=9), "7", "8")
    ]
    harness.load(wrong)
    noon = NOON + DAY
    assert run_schedule(harness, ONE) == hours(noon)
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE)).candles
    report = harness.build("1m", noon, ONE + DAY, rebuild_pending=True)
    assert (report["rejected"], report["owed_hours"]) == ({"wrong_partition": 2}, "")
    assert harness.candles("1m") == harness.expected("1m", (NOON, ONE + DAY)).candles
    assert len(harness.candles("1m")) == 2

"""Validation by DuckDB: no findings for candles that the job wrote, and a finding for every corruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range, floor_time
from ohlcv.quality.report import ValidationResult, asset_event_extra, format_result
from ohlcv.quality.rules import RULES
from ohlcv.quality.validator import validate, validate_freshness
from support.harness import WIDTHS, Harness, at, trade
from support.lanes import spark_cases
from support.strategies import trade_lists

NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")
DAY = (at("2026-03-01 00:00"), at("2026-03-02 00:00"))
TABLE = "iceberg.market_data.gold_ohlcv_1m"


def check(harness: Harness, timeframe: str = "1m", run_id: str = "") -> ValidationResult:
    own = Range(NOON, ONE) if timeframe != "1d" else Range(at("2026-03-01 00:00"), at("2026-03-02 00:00"))
    return validate(harness.settings, harness.settings.timeframe(timeframe), own, run_id)


@pytest.fixture
def built(harness: Harness) -> Harness:
    harness.load([trade(NOON + timedelta(seconds=20 * n), f"{100 + n % 7}", f"{1 + n % 3}") for n in range(15)])
    harness.build("1m", NOON, ONE, run_id="first")
    return harness


def test_a_build_has_no_findings(built: Harness) -> None:
    result = check(built, run_id="first")
    assert (result.candles, result.findings) == (5, [])
    assert result.notes == ["recomputed from the trades before publication"]
    details = asset_event_extra(result)
    assert (details["inserted"], details["trades_read"], details["candles_checked"]) == (5, 15, 5)


Row = dict[str, Any]
TINY = Decimal("0.00000001")


def shifted(name: str, by: Decimal | int | timedelta = TINY) -> Callable[[Row], list[Row]]:
    return lambda row: [row | {name: row[name] + by}]


# Corruptions of one candle, and the rules that detect them in addition to those that compare it with trades and
# other candles.
CORRUPTIONS: dict[str, tuple[Callable[[Row], list[Row]], set[str]]] = {
    "high below close": (
        lambda row: [row | {"high_price": row["close_price"] - TINY}],
        {"high_is_highest"},
    ),
    "low above open": (lambda row: [row | {"low_price": row["open_price"] + TINY}], {"low_is_lowest"}),
    "vwap above high": (lambda row: [row | {"vwap": row["high_price"] + TINY}], {"vwap_in_range"}),
    "no volume": (lambda row: [row | {"volume": Decimal(0)}], {"volume_is_positive"}),
    "negative volume": (lambda row: [row | {"volume": -row["volume"]}], {"volume_is_positive"}),
    "no trades": (lambda row: [row | {"trade_count": 0}], {"trades_are_counted"}),
    "no value": (lambda row: [row | {"close_price": None}], {"high_is_highest", "low_is_lowest"}),
    "late end": (shifted("window_end", timedelta(seconds=1)), {"window_is_one_timeframe"}),
    "wrong date": (shifted("window_date", timedelta(days=1)), {"window_date_is_its_day"}),
    "stored twice": (lambda row: [row, row], {"key_is_unique"}),
    "not aligned": (
        shifted("window_start", timedelta(seconds=1)),
        {"window_is_aligned", "window_is_one_timeframe", "none_is_missing", "none_is_extra"},
    ),
    "missing": (lambda row: [], {"none_is_missing"}),
    "invented": (lambda row: [row, row | {"symbol": "invented by hand"}], {"none_is_extra"}),
    **{f"{name} slightly wrong": (shifted(name), set()) for name in ("open_price", "close_price", "volume", "vwap")},
    "high_price slightly wrong": (shifted("high_price"), set()),
    "low_price slightly wrong": (shifted("low_price", -TINY), set()),
    "one extra trade": (shifted("trade_count", 1), set()),
}
FILLER = "filler"
# The end and date of a candle are not recomputed, and a candle with another key has no counterpart.
NOT_RECOMPUTED = {"late end", "wrong date", "stored twice", "not aligned", "missing", "invented"}
# The vwap cannot be derived from finer candles.
NOT_IN_FINER_TIMEFRAME = {*NOT_RECOMPUTED, "vwap above high", "vwap slightly wrong"}


@pytest.fixture(scope="module")
def five(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """Return a harness with all five timeframes built, and one symbol for every corruption."""
    harness = Harness(spark, tmp_path_factory.mktemp("five"))
    # Every window of every timeframe has open 103, close 104, low 101, high 110 and a vwap between open and close.
    pattern = [("103", "1"), ("110", "1"), ("101", "2"), ("104", "1")]
    harness.load(
        [
            trade(NOON + timedelta(seconds=15 * n), *pattern[n % 4], symbol=symbol)
            for n in range(4 * 7)
            for symbol in CORRUPTIONS
        ]
    )
    # Every hour has trades: a day with an empty hour may contain preserved candles of expired trades.
    harness.load([trade(at("2026-03-01 00:30") + timedelta(hours=hour), symbol=FILLER) for hour in range(24)])
    for name in WIDTHS:
        harness.build(name, *DAY)
    return harness


@pytest.mark.parametrize("name", spark_cases({name: name for name in WIDTHS}, "1m", "1d"))
def test_candles_that_the_job_wrote_pass_every_rule(five: Harness, name: str) -> None:
    result = validate(five.settings, five.settings.timeframe(name), Range(*DAY))
    assert result.findings == []
    assert result.candles == len(five.candles(name))
    assert set(result.counts()) == set(RULES)


@pytest.mark.parametrize("name", spark_cases({name: name for name in WIDTHS}, "1m", "1d"))
def test_every_corruption_is_detected_by_its_rules(five: Harness, name: str) -> None:
    table = five.table(name)
    good = table.current_snapshot()
    rows = table.scan().to_arrow().to_pylist()
    assert good is not None
    first = min(row["window_start"] for row in rows if row["symbol"] != FILLER)
    corrupted: list[Row] = []
    for row in rows:
        chosen = row["window_start"] == first and row["symbol"] != FILLER
        corrupted += CORRUPTIONS[row["symbol"]][0](row) if chosen else [row]
    five.overwrite(name, corrupted)
    try:
        result = validate(five.settings, five.settings.timeframe(name), Range(*DAY))
    finally:
        five.table(name).manage_snapshots().rollback_to_snapshot(good.snapshot_id).commit()
    found: dict[str, set[str]] = {symbol: set() for symbol in CORRUPTIONS}
    for finding in result.failures:
        found[finding.symbol.removesuffix(" by hand")].add(finding.rule)
    expected = {
        symbol: {
            *rules,
            *(set() if symbol in NOT_RECOMPUTED else {"fields_equal_the_trades"}),
            *({"agrees_with_the_smaller"} if name != "1m" and symbol not in NOT_IN_FINER_TIMEFRAME else set()),
        }
        for symbol, (_, rules) in CORRUPTIONS.items()
    }
    for symbol, names in found.items():
        print(f"{name:4} {symbol:26} {', '.join(sorted(names))}")
    assert found == expected


def test_a_withheld_candle_is_a_finding_with_its_value(harness: Harness) -> None:
    harness.load([trade(NOON + timedelta(seconds=n), "1", "9000000000.5", symbol="PEPE-USD") for n in range(3)])
    harness.build("1d", at("2026-03-01 00:00"), at("2026-03-02 00:00"))
    assert [str(finding) for finding in check(harness, "1d").findings] == [
        "none_is_withheld: PEPE-USD kraken 2026-03-01T00:00:00Z: stored withheld, expected volume 27000000001.50000000"
    ]


def test_trades_loaded_after_the_build_are_not_findings(built: Harness) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    assert check(built, run_id="first").findings == []


def test_a_cleared_run_is_validated_against_the_current_candles(built: Harness) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    built.build("1m", NOON, ONE, run_id="second")
    assert check(built, run_id="first").findings == []


def test_preserved_candles_of_expired_trades_are_not_findings(built: Harness) -> None:
    built.sql("DELETE FROM {trades} WHERE exchange_date = DATE '2026-03-01' AND exchange_hour = 12")
    built.build("1m", NOON, ONE)
    built.load([trade(ONE, "1")])
    built.build("1m", ONE, ONE + timedelta(minutes=5))
    assert check(built).findings == []


def test_a_result_is_formatted_as_text(built: Harness) -> None:
    built.sql(f"UPDATE {TABLE} SET vwap = vwap + 1")
    lines = format_result(check(built)).splitlines()
    assert lines[0] == "1m: 5 candles validated against 15 trades, 8 failures, 0 warnings"
    assert lines[-1] == (
        "  FAIL fields_equal_the_trades: BTC-USD kraken 2026-03-01T12:04:00Z: "
        "stored vwap 103.83333333, expected 102.83333333"
    )


@pytest.mark.spark_cases
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_engines_agree_for_any_trades(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    harness = Harness(spark, tmp_path_factory.mktemp("agree"))
    # A notional beyond decimal(38,16) is withheld by one engine only; another test covers it.
    trades = [
        replace(each, quantity=min(each.quantity, Decimal(1000))) if each.quantity else each
        for each in data.draw(trade_lists())
    ]
    harness.load(trades)
    start, end = at("2026-01-31 00:00"), at("2026-02-02 00:00")
    for timeframe in ("1m", "1d"):
        harness.build(timeframe, start, end)
        result = validate(harness.settings, harness.settings.timeframe(timeframe), Range(start, end))
        assert result.failures == []
        assert result.candles == len(harness.expected(timeframe, (start, end)).candles)


def test_history_missing_in_the_finer_timeframe_is_not_a_finding(built: Harness) -> None:
    built.load([trade(NOON - timedelta(minutes=10), "99")])
    built.build("5m", at("2026-03-01 11:00"), ONE)
    five = built.settings.timeframe("5m")
    assert validate(built.settings, five, Range(at("2026-03-01 11:00"), ONE)).findings == []


def test_timeframes_built_from_different_snapshots_may_differ_but_errors_are_found(built: Harness) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    built.build("5m", NOON, ONE)
    five = built.settings.timeframe("5m")
    assert validate(built.settings, five, Range(NOON, ONE)).findings == []
    built.sql(f"UPDATE {TABLE} SET volume = volume + 1 WHERE window_start = TIMESTAMP '2026-03-01 12:01:00'")
    assert {finding.rule for finding in validate(built.settings, five, Range(NOON, ONE)).failures} == {
        "agrees_with_the_smaller"
    }


def test_pending_hours_are_warnings_until_they_are_built(harness: Harness) -> None:
    # The budget allows one old hour per run, newest first.
    harness = Harness(harness.spark, harness.settings.home, {"OHLCV_REPAIR_TRADES": "1"})
    own = (at("2026-03-01 14:50"), at("2026-03-01 15:00"))
    harness.load([trade(own[0])])
    harness.build("1m", *own, rebuild_pending=True)
    harness.load([trade(NOON + timedelta(seconds=n), "5") for n in range(5)], [trade(ONE)])
    harness.build("1m", *own, rebuild_pending=True)
    result = validate(harness.settings, harness.settings.timeframe("1m"), Range(NOON, own[1]))
    assert (result.failures, [str(finding) for finding in result.warnings]) == (
        [],
        ["none_is_missing: BTC-USD kraken 2026-03-01T12:00:00Z: stored nothing, expected 5 trades"],
    )
    harness.build("1m", *own, rebuild_pending=True)
    assert validate(harness.settings, harness.settings.timeframe("1m"), Range(NOON, own[1])).findings == []


def test_many_rejected_trades_and_sequence_gaps_are_warnings(harness: Harness) -> None:
    harness.load([trade(NOON + timedelta(seconds=n), "1" if n % 2 else "0", sequence=n) for n in range(40)])
    harness.build("1m", NOON, ONE)
    result = check(harness)
    assert result.failures == []
    assert [str(finding) for finding in result.warnings] == [
        "few_trades_are_rejected: BTC-USD kraken 2026-03-01T12:00:00Z: stored 20 of 40 trades rejected, "
        "expected at most 1%",
        "sequences_have_no_gaps: BTC-USD kraken 2026-03-01T12:00:00Z: stored 20 numbers, expected 39 from 1 to 39",
    ]


def test_candles_deleted_by_retention_are_not_missing(harness: Harness) -> None:
    today = floor_time(datetime.now(UTC), timedelta(days=1))
    # 1m candles are kept for 90 days.
    days = [today - timedelta(days=days) for days in (93, 92, 89)]
    harness.load([trade(day + timedelta(hours=hour)) for day in days for hour in range(24)])
    harness.build("1m", days[0], today)
    harness.sql(f"DELETE FROM {TABLE} WHERE window_date IN (DATE '{days[0]:%F}', DATE '{days[2]:%F}')")
    harness.sql(f"DELETE FROM {TABLE} WHERE window_start = TIMESTAMP '{days[1]:%F} 05:00:00'")
    result = validate(harness.settings, harness.settings.timeframe("1m"), Range(days[0], today))
    missing = [finding.window_start for finding in result.failures if finding.rule == "none_is_missing"]
    # A day that was not deleted must be complete, and a day within retention must exist.
    assert missing == [f"{days[1]:%F}T05:00:00Z", *(f"{days[2]:%F}T{hour:02}:00:00Z" for hour in range(24))]
    assert result.notes == [f"deleted by retention: {days[0]:%F}"]


@pytest.mark.parametrize(
    ("name", "late_at", "due"),
    [
        # test_health.py has the schedule of every timeframe.
        ("5m", "00:10", "00:05"),
        ("1d", "00:10", "00:00"),
    ],
)
def test_candles_behind_trades_are_a_freshness_warning(harness: Harness, name: str, late_at: str, due: str) -> None:
    timeframe = harness.settings.timeframe(name)
    harness.load([trade(at("2026-03-01 23:59:30"))], [trade(at("2026-03-02 23:59:30"))])
    harness.build(name, at("2026-03-01 00:00"), at("2026-03-02 00:00"))
    assert validate_freshness(harness.settings, timeframe, at("2026-03-02 00:00")) == []
    late = at(f"2026-03-03 {late_at}")
    (finding,) = validate_freshness(harness.settings, timeframe, late)
    assert str(finding) == (
        f"candles_are_fresh: 2026-03-03T{due}:00Z: stored candles up to 2026-03-02T00:00:00Z, "
        "trades up to 2026-03-02T23:59:30Z, expected candles up to here"
    )
    assert finding.severity == "WARN"
    harness.build(name, at("2026-03-02 00:00"), at("2026-03-03 00:00"))
    assert validate_freshness(harness.settings, timeframe, late) == []


def test_trades_before_1970_are_built_as_they_are_validated(harness: Harness) -> None:
    begin, end = at("1969-12-31 23:00"), at("1970-01-01 01:00")
    # At each border of a minute and right before it.
    moments = [
        begin + minutes * timedelta(minutes=1) - early
        for minutes in range(1, 121)
        for early in (timedelta(0), timedelta(microseconds=1))
    ]
    harness.load([trade(moment, f"{100 + n % 7}") for n, moment in enumerate(moments) if moment < end])
    for timeframe in ("1m", "1h"):
        harness.build(timeframe, begin, end)
        assert harness.candles(timeframe) == harness.expected(timeframe, (begin, end)).candles
        result = validate(harness.settings, harness.settings.timeframe(timeframe), Range(begin, end))
        assert result.candles == (120 if timeframe == "1m" else 2)
        assert result.failures == []

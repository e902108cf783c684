"""The check by another engine: silent on what the job wrote, and loud on every corruption."""

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


def test_what_the_job_wrote_is_found_right(built: Harness) -> None:
    verdict = check(built, run_id="first")
    assert (verdict.candles, verdict.findings, verdict.notes) == (5, [], [])
    details = asset_event_extra(verdict)
    assert (details["inserted"], details["trades_read"], details["candles_checked"]) == (5, 15, 5)


Row = dict[str, Any]
TINY = Decimal("0.00000001")


def off(name: str, by: Decimal | int | timedelta = TINY) -> Callable[[Row], list[Row]]:
    return lambda row: [row | {name: row[name] + by}]


# What is done to one candle, and the rules that notice beside those that hold it against trades and other candles.
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
    "late end": (off("window_end", timedelta(seconds=1)), {"window_is_one_timeframe"}),
    "wrong date": (off("window_date", timedelta(days=1)), {"window_date_is_its_day"}),
    "stored twice": (lambda row: [row, row], {"key_is_unique"}),
    "off the grid": (
        off("window_start", timedelta(seconds=1)),
        {"window_is_aligned", "window_is_one_timeframe", "none_is_missing", "none_is_extra"},
    ),
    "lost": (lambda row: [], {"none_is_missing"}),
    "made up": (lambda row: [row, row | {"symbol": "made up by hand"}], {"none_is_extra"}),
    **{f"{name} a little off": (off(name), set()) for name in ("open_price", "close_price", "volume", "vwap")},
    "high_price a little off": (off("high_price"), set()),
    "low_price a little off": (off("low_price", -TINY), set()),
    "one trade more": (off("trade_count", 1), set()),
}
FILLER = "filler"
# The key, end and date of a candle are not recomputed; one at another key has nothing beside it.
NOT_RECOMPUTED = {"late end", "wrong date", "stored twice", "off the grid", "lost", "made up"}
# Parts do not tell the vwap of the whole.
UNSEEN_BY_THE_SMALLER = {*NOT_RECOMPUTED, "vwap above high", "vwap a little off"}


@pytest.fixture(scope="module")
def five(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """All five timeframes of an hour, a symbol for every corruption, as the job wrote them."""
    harness = Harness(spark, tmp_path_factory.mktemp("five"))
    # Every window of every timeframe opens at 103, closes at 104, between 101 and 110, at a vwap between the two.
    pattern = [("103", "1"), ("110", "1"), ("101", "2"), ("104", "1")]
    harness.load(
        [
            trade(NOON + timedelta(seconds=15 * n), *pattern[n % 4], symbol=symbol)
            for n in range(4 * 7)
            for symbol in CORRUPTIONS
        ]
    )
    # Something trades in every hour: a day with an hour without any may keep candles of expired trades.
    harness.load([trade(at("2026-03-01 00:30") + timedelta(hours=hour), symbol=FILLER) for hour in range(24)])
    for name in WIDTHS:
        harness.build(name, *DAY)
    return harness


@pytest.mark.parametrize("name", WIDTHS)
def test_what_the_job_wrote_passes_every_rule(five: Harness, name: str) -> None:
    verdict = validate(five.settings, five.settings.timeframe(name), Range(*DAY))
    assert verdict.findings == []
    assert verdict.candles == len(five.candles(name))
    assert set(verdict.counts()) == set(RULES)


@pytest.mark.parametrize("name", WIDTHS)
def test_every_corruption_is_caught_by_its_rules(five: Harness, name: str) -> None:
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
        verdict = validate(five.settings, five.settings.timeframe(name), Range(*DAY))
    finally:
        five.table(name).manage_snapshots().rollback_to_snapshot(good.snapshot_id).commit()
    found: dict[str, set[str]] = {symbol: set() for symbol in CORRUPTIONS}
    for finding in verdict.failures:
        found[finding.symbol.removesuffix(" by hand")].add(finding.rule)
    expected = {
        symbol: {
            *rules,
            *(set() if symbol in NOT_RECOMPUTED else {"fields_equal_the_trades"}),
            *({"agrees_with_the_smaller"} if name != "1m" and symbol not in UNSEEN_BY_THE_SMALLER else set()),
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


def test_trades_that_came_after_the_build_are_no_errors(built: Harness) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    assert check(built, run_id="first").findings == []


def test_a_cleared_run_is_judged_by_what_stands_there_now(built: Harness) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    built.build("1m", NOON, ONE, run_id="second")
    assert check(built, run_id="first").findings == []


def test_candles_of_expired_trades_are_left_in_peace(built: Harness) -> None:
    built.sql("DELETE FROM {trades} WHERE exchange_date = DATE '2026-03-01' AND exchange_hour = 12")
    built.build("1m", NOON, ONE)
    built.load([trade(ONE, "1")])
    built.build("1m", ONE, ONE + timedelta(minutes=5))
    assert check(built).findings == []


def test_a_verdict_reads_as_text(built: Harness) -> None:
    built.sql(f"UPDATE {TABLE} SET vwap = vwap + 1")
    lines = format_result(check(built)).splitlines()
    assert lines[0] == "1m: 5 candles checked against 15 trades, 8 failures, 0 warnings"
    assert lines[-1] == (
        "  FAIL fields_equal_the_trades: BTC-USD kraken 2026-03-01T12:04:00Z: "
        "stored vwap 103.83333333, expected 102.83333333"
    )


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_engines_agree_whatever_the_trades(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    harness = Harness(spark, tmp_path_factory.mktemp("agree"))
    # A price of more than a decimal(38,16) turnover is withheld by one engine only: tested on its own.
    trades = [
        replace(each, quantity=min(each.quantity, Decimal(1000))) if each.quantity else each
        for each in data.draw(trade_lists())
    ]
    harness.load(trades)
    start, end = at("2026-01-31 00:00"), at("2026-02-02 00:00")
    for timeframe in ("1m", "1d"):
        harness.build(timeframe, start, end)
        verdict = validate(harness.settings, harness.settings.timeframe(timeframe), Range(start, end))
        assert verdict.failures == []
        assert verdict.candles == len(harness.expected(timeframe, (start, end)).candles)


def test_a_larger_timeframe_is_not_blamed_for_history_the_smaller_one_lacks(built: Harness) -> None:
    built.load([trade(NOON - timedelta(minutes=10), "99")])
    built.build("5m", at("2026-03-01 11:00"), ONE)
    five = built.settings.timeframe("5m")
    assert validate(built.settings, five, Range(at("2026-03-01 11:00"), ONE)).findings == []


def test_timeframes_that_have_seen_other_trades_need_not_agree_but_wrong_ones_are_told(built: Harness) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    built.build("5m", NOON, ONE)
    five = built.settings.timeframe("5m")
    assert validate(built.settings, five, Range(NOON, ONE)).findings == []
    built.sql(f"UPDATE {TABLE} SET volume = volume + 1 WHERE window_start = TIMESTAMP '2026-03-01 12:01:00'")
    assert {finding.rule for finding in validate(built.settings, five, Range(NOON, ONE)).failures} == {
        "agrees_with_the_smaller"
    }


def test_what_a_table_knows_to_owe_is_a_warning_until_it_is_built(harness: Harness) -> None:
    # One old hour a run, the newest first.
    harness = Harness(harness.spark, harness.settings.home, {"OHLCV_REPAIR_TRADES": "1"})
    own = (at("2026-03-01 14:50"), at("2026-03-01 15:00"))
    harness.load([trade(own[0])])
    harness.build("1m", *own, repair=True)
    harness.load([trade(NOON + timedelta(seconds=n), "5") for n in range(5)], [trade(ONE)])
    harness.build("1m", *own, repair=True)
    verdict = validate(harness.settings, harness.settings.timeframe("1m"), Range(NOON, own[1]))
    assert (verdict.failures, [str(finding) for finding in verdict.warnings]) == (
        [],
        ["none_is_missing: BTC-USD kraken 2026-03-01T12:00:00Z: stored nothing, expected 5 trades"],
    )
    harness.build("1m", *own, repair=True)
    assert validate(harness.settings, harness.settings.timeframe("1m"), Range(NOON, own[1])).findings == []


def test_a_feed_that_is_mostly_bad_or_full_of_gaps_is_a_warning(harness: Harness) -> None:
    harness.load([trade(NOON + timedelta(seconds=n), "1" if n % 2 else "0", sequence=n) for n in range(40)])
    harness.build("1m", NOON, ONE)
    verdict = check(harness)
    assert verdict.failures == []
    assert [str(finding) for finding in verdict.warnings] == [
        "few_trades_are_rejected: BTC-USD kraken 2026-03-01T12:00:00Z: stored 20 of 40 trades rejected, "
        "expected at most 1%",
        "sequences_have_no_gaps: BTC-USD kraken 2026-03-01T12:00:00Z: stored 20 numbers, expected 39 from 1 to 39",
    ]


def test_what_retention_has_deleted_is_not_missing(harness: Harness) -> None:
    today = floor_time(datetime.now(UTC), timedelta(days=1))
    # 1m candles are kept for 90 days.
    days = [today - timedelta(days=days) for days in (93, 92, 89)]
    harness.load([trade(day + timedelta(hours=hour)) for day in days for hour in range(24)])
    harness.build("1m", days[0], today)
    harness.sql(f"DELETE FROM {TABLE} WHERE window_date IN (DATE '{days[0]:%F}', DATE '{days[2]:%F}')")
    harness.sql(f"DELETE FROM {TABLE} WHERE window_start = TIMESTAMP '{days[1]:%F} 05:00:00'")
    verdict = validate(harness.settings, harness.settings.timeframe("1m"), Range(days[0], today))
    missing = [finding.window_start for finding in verdict.failures if finding.rule == "none_is_missing"]
    # A day that is still there has to be whole, and one that is kept has to be there.
    assert missing == [f"{days[1]:%F}T05:00:00Z", *(f"{days[2]:%F}T{hour:02}:00:00Z" for hour in range(24))]
    assert verdict.notes == [f"deleted by retention: {days[0]:%F}"]


@pytest.mark.parametrize(
    ("name", "late_at", "due"),
    [
        ("1m", "00:05", "00:00"),
        ("5m", "00:10", "00:05"),
        ("30m", "00:15", "00:00"),
        ("1h", "00:20", "00:00"),
        ("1d", "00:10", "00:00"),
    ],
)
def test_candles_behind_trades_are_a_warning_of_the_present(
    harness: Harness, name: str, late_at: str, due: str
) -> None:
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

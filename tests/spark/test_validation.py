"""The check by another engine: silent on what the job wrote, and loud on every corruption."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from lab import Lab, at, trade
from ohlcv.validation import Verdict, describe, event_details, validate
from ohlcv.windows import Range
from strategies import trade_lists

NOON = at("2026-03-01 12:00")
ONE = at("2026-03-01 13:00")
TABLE = "iceberg.market_data.gold_ohlcv_1m"
FIRST = "window_start = TIMESTAMP '2026-03-01 12:00:00'"


def check(lab: Lab, timeframe: str = "1m", run_id: str = "") -> Verdict:
    own = Range(NOON, ONE) if timeframe != "1d" else Range(at("2026-03-01 00:00"), at("2026-03-02 00:00"))
    return validate(lab.settings, lab.settings.timeframe(timeframe), own, run_id)


@pytest.fixture
def built(lab: Lab) -> Lab:
    lab.load([trade(NOON + timedelta(seconds=20 * n), f"{100 + n % 7}", f"{1 + n % 3}") for n in range(15)])
    lab.build("1m", NOON, ONE, run_id="first")
    return lab


def test_what_the_job_wrote_is_found_right(built: Lab) -> None:
    verdict = check(built, run_id="first")
    assert (verdict.candles, verdict.findings, verdict.notes) == (5, [], [])
    details = event_details(verdict)
    assert (details["inserted"], details["trades_read"], details["candles_checked"]) == (5, 15, 5)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("open_price = open_price + 0.00000001", "open_price equals the trades"),
        ("high_price = high_price + 0.00000001", "high_price equals the trades"),
        ("low_price = low_price - 0.00000001", "low_price equals the trades"),
        ("close_price = close_price - 0.00000001", "close_price equals the trades"),
        ("volume = volume + 0.00000001", "volume equals the trades"),
        ("trade_count = trade_count + 1", "trade_count equals the trades"),
        ("vwap = vwap + 0.00000001", "vwap equals the trades"),
        ("window_end = window_end + INTERVAL 1 SECOND", "window_end one window later"),
        ("window_date = DATE '2026-03-02'", "window_date the UTC date"),
    ],
)
def test_a_changed_field_is_named(built: Lab, change: str, rule: str) -> None:
    built.sql(f"UPDATE {TABLE} SET {change} WHERE {FIRST}")
    assert [finding.rule for finding in check(built).findings] == [rule]


def test_missing_extra_and_doubled_candles_are_named(built: Lab) -> None:
    built.sql(f"INSERT INTO {TABLE} SELECT * FROM {TABLE} WHERE {FIRST}")
    assert {finding.rule for finding in check(built).findings} == {"key unique"}
    built.sql(f"DELETE FROM {TABLE} WHERE {FIRST}")
    assert [str(finding) for finding in check(built).findings] == [
        "no candle missing: BTC-USD kraken 2026-03-01T12:00:00Z: stored nothing, expected 3 trades"
    ]
    built.build("1m", NOON, ONE)
    built.sql(f"UPDATE {TABLE} SET symbol = 'ETH-USD' WHERE {FIRST}")
    assert {finding.rule for finding in check(built).findings} == {"no candle missing", "no candle without trades"}


def test_a_withheld_candle_is_a_finding_with_its_value(lab: Lab) -> None:
    lab.load([trade(NOON + timedelta(seconds=n), "1", "9000000000.5", symbol="PEPE-USD") for n in range(3)])
    lab.build("1d", at("2026-03-01 00:00"), at("2026-03-02 00:00"))
    assert [str(finding) for finding in check(lab, "1d").findings] == [
        "volume must fit its column: PEPE-USD kraken 2026-03-01T00:00:00Z: "
        "stored withheld, expected 27000000001.50000000"
    ]


def test_trades_that_came_after_the_build_are_no_errors(built: Lab) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    assert check(built, run_id="first").findings == []


def test_a_cleared_run_is_judged_by_what_stands_there_now(built: Lab) -> None:
    built.load([trade(NOON + timedelta(seconds=30), "999", trade_id="late")])
    built.build("1m", NOON, ONE, run_id="second")
    assert check(built, run_id="first").findings == []


def test_candles_of_expired_trades_are_left_in_peace(built: Lab) -> None:
    built.sql("DELETE FROM {trades} WHERE exchange_date = DATE '2026-03-01' AND exchange_hour = 12")
    built.build("1m", NOON, ONE)
    built.load([trade(ONE, "1")])
    built.build("1m", ONE, ONE + timedelta(minutes=5))
    assert check(built).findings == []


def test_a_verdict_reads_as_text(built: Lab) -> None:
    built.sql(f"UPDATE {TABLE} SET vwap = vwap + 1")
    lines = describe(check(built)).splitlines()
    assert lines[0] == "1m: 5 candles checked, 5 findings"
    assert lines[2].startswith("  FAIL vwap equals the trades: BTC-USD kraken 2026-03-01T12:00:00Z: stored ")


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_engines_agree_whatever_the_trades(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lab = Lab(spark, tmp_path_factory.mktemp("agree"))
    # A price of more than a decimal(38,16) turnover is withheld by one engine only: tested on its own.
    trades = [
        replace(each, quantity=min(each.quantity, Decimal(1000))) if each.quantity else each
        for each in data.draw(trade_lists())
    ]
    lab.load(trades)
    start, end = at("2026-01-31 00:00"), at("2026-02-02 00:00")
    for timeframe in ("1m", "1d"):
        lab.build(timeframe, start, end)
        verdict = validate(lab.settings, lab.settings.timeframe(timeframe), Range(start, end))
        assert verdict.findings == []
        assert verdict.candles == len(lab.expected(timeframe, (start, end)).candles)

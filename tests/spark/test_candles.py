"""Candles computed by the job compared with the reference model, for any list of trades."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range, to_microseconds
from ohlcv.model.source_hours import hours_overlapping
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from spark_jobs.compute.trade_aggregation import TradeSummary, aggregate_trades
from spark_jobs.runtime.session import code_generation_for
from support.computed_candles import job_result, trades_frame
from support.harness import WIDTHS, at, trade
from support.lanes import spark_cases
from support.reference_model import Candle, Trade, reference_candles
from support.strategies import markets, range_lists

NOON = at("2026-03-01 12:00")
# Each example is one Spark query, so there are few of them; each contains several lists of edge cases.
EXAMPLES = settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# Expressions are evaluated for few trades and compiled for many; both must give the same result. The timeframes share
# the expressions: two of them are compiled, one with and one without merged steps.
@pytest.mark.parametrize(
    ("name", "trades_read"),
    spark_cases(
        {
            **{f"{name}-evaluated": (name, 0) for name in WIDTHS},
            **{f"{name}-compiled": (name, CODE_GENERATION_MIN_TRADES) for name in ("1m", "1d")},
        },
        "1m-evaluated",
        "1m-compiled",
    ),
)
@EXAMPLES
@given(data=st.data())
def test_every_field_equals_the_reference_model(
    spark: SparkSession, name: str, trades_read: int, data: st.DataObject
) -> None:
    trades = [trade for market in data.draw(markets()) for trade in market]
    spans = data.draw(range_lists(WIDTHS[name] * 1_000_000))
    with code_generation_for(spark, trades_read):
        assert job_result(spark, trades, name, spans) == reference_candles(trades, WIDTHS[name] * 1_000_000, spans)


# How source sequences relate to ids. 5,000,000,000 has bits above those that fit beside the time.
SEQUENCES: dict[str, Callable[[int], int | None]] = {
    "none": lambda number: None,
    "rising with the ids": lambda number: number + 7,
    "falling with the ids": lambda number: -number,
    "missing for one id": lambda number: None if number == 5_000_000_000 else number,
}


@pytest.mark.spark_cases
@EXAMPLES
@given(lists=markets(len(SEQUENCES), bad_rows=False), seed=st.integers(0, 1000))
def test_consecutive_numeric_ids_are_ordered_like_all_others(
    spark: SparkSession, lists: list[list[Trade]], seed: int
) -> None:
    numbers = random.Random(seed)
    renumbered = []
    for market, sequence in zip(lists, SEQUENCES.values(), strict=True):
        for each in market:
            number = 5_000_000_000 + numbers.randrange(len(market))
            renumbered.append(replace(each, trade_id=str(number), source_sequence=sequence(number)))
    span = [(to_microseconds(at("2026-01-31 00:00")), to_microseconds(at("2026-02-02 00:00")))]
    for name, trades_read in (("1m", 0), ("1d", CODE_GENERATION_MIN_TRADES)):
        with code_generation_for(spark, trades_read):
            assert job_result(spark, renumbered, name, span) == reference_candles(
                renumbered, WIDTHS[name] * 1_000_000, span
            )


def summary_of(spark: SparkSession, *trades: Trade) -> TradeSummary:
    span = Range(at("2026-03-01 12:00"), at("2026-03-01 13:00"))
    with trades_frame(spark, trades, hours_overlapping([span])) as frame:
        totals = aggregate_trades(frame, 60_000_000, [span])
        totals.release()
    return totals.summary


@pytest.mark.parametrize(
    ("first", "second", "ordered"),
    [
        pytest.param({"trade_id": "9"}, {"trade_id": "10"}, True, id="numbers"),
        pytest.param({"trade_id": "9"}, {"trade_id": "010"}, False, id="a leading zero"),
        pytest.param({"trade_id": "9"}, {"trade_id": " 10"}, False, id="a leading space"),
        pytest.param({"trade_id": "9"}, {"trade_id": "-10"}, False, id="a negative number"),
        pytest.param({"trade_id": "9"}, {"trade_id": "a1"}, False, id="a text"),
        pytest.param({"trade_id": "9"}, {"trade_id": None, "message_id": "10"}, False, id="message id only"),
        pytest.param({"trade_id": "9"}, {"trade_id": "9" * 25}, False, id="too long for a bigint"),
        pytest.param({"trade_id": str(2**31 - 1)}, {"trade_id": str(2**31)}, False, id="different upper bits"),
        pytest.param({"trade_id": str(2**31)}, {"trade_id": str(2**31 + 1)}, True, id="equal upper bits"),
        pytest.param(
            {"trade_id": "9", "sequence": 1}, {"trade_id": "10", "sequence": 2}, True, id="constant sequence offset"
        ),
        pytest.param(
            {"trade_id": "9", "sequence": 1}, {"trade_id": "10", "sequence": 3}, False, id="changing sequence offset"
        ),
        pytest.param({"trade_id": "9", "sequence": 1}, {"trade_id": "10"}, False, id="one sequence missing"),
        pytest.param({"trade_id": "1", "sequence": -(2**63)}, {"trade_id": "1"}, False, id="offset overflow"),
        pytest.param(
            {"trade_id": "1", "sequence": 1}, {"trade_id": "9", "symbol": "ETH-USD"}, True, id="another series"
        ),
    ],
)
def test_the_first_read_detects_whether_ids_order_trades(
    spark: SparkSession, first: dict[str, Any], second: dict[str, Any], ordered: bool
) -> None:
    summary = summary_of(spark, trade(NOON, "1", **first), trade(NOON, "2", **second))
    assert summary.unordered_series == (not ordered)


@pytest.mark.parametrize("limit", [0, 200_000], ids=["joined", "broadcast"])
def test_a_trade_that_was_delivered_again_counts_once(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("spark_jobs.compute.trade_aggregation.MAX_BROADCAST_IDENTITIES", limit)
    single = [trade(NOON + timedelta(seconds=number), "1", trade_id=str(number)) for number in range(150)]
    again = [
        trade(NOON + timedelta(minutes=5 + copy), str(2 + copy), trade_id=name, ingested=NOON + timedelta(hours=copy))
        for name, copies in (("70", 3), ("71", 1), ("149", 2))
        for copy in range(1, copies)
    ]
    listed, span = hour_of(*single, *again)
    assert summary_of(spark, *listed).repeated_trades == 2
    assert job_result(spark, listed, "1m", span) == reference_candles(listed, 60_000_000, span)


@pytest.mark.parametrize("copies", [2, 3])
def test_deliveries_equal_in_every_field_count_once(spark: SparkSession, copies: int) -> None:
    single = [trade(NOON + timedelta(seconds=number), str(1 + number % 7), trade_id=str(number)) for number in range(9)]
    listed, span = hour_of(*single, *(copies - 1) * [single[4]])
    assert job_result(spark, listed, "1m", span) == reference_candles(listed, 60_000_000, span)


@pytest.mark.spark_cases
@EXAMPLES
@given(lists=markets(bad_rows=False), seed=st.integers(0, 1000))
def test_the_order_of_files_does_not_matter(spark: SparkSession, lists: list[list[Trade]], seed: int) -> None:
    trades = [trade for market in lists for trade in market]
    span = [(to_microseconds(at("2026-01-31 00:00")), to_microseconds(at("2026-02-02 00:00")))]
    shuffled = random.Random(seed).sample(trades, len(trades))
    assert job_result(spark, trades, "1h", span) == job_result(spark, shuffled, "1h", span)


def hour_of(*trades: Trade) -> tuple[list[Trade], list[tuple[int, int]]]:
    start = at("2026-03-01 12:00")
    return list(trades), [(to_microseconds(start), to_microseconds(start + timedelta(hours=1)))]


def one_candle(spark: SparkSession, name: str, *trades: Trade) -> Candle:
    listed, span = hour_of(*trades)
    result = job_result(spark, listed, name, span)
    assert len(result.candles) == 1
    return next(iter(result.candles.values()))


def test_numeric_ids_compare_as_numbers(spark: SparkSession) -> None:
    candle = one_candle(spark, "1m", trade(NOON, "2", trade_id="10"), trade(NOON, "1", trade_id="9"))
    assert [candle.open, candle.close] == [1, 2]


def test_equal_timestamps_are_ordered_by_source_sequence_before_id(spark: SparkSession) -> None:
    later = trade(NOON, "1", trade_id="1", sequence=8)
    earlier = trade(NOON, "2", trade_id="2", sequence=7)
    candle = one_candle(spark, "1m", later, earlier)
    assert [candle.open, candle.close] == [2, 1]


def test_windows_are_half_open_to_the_microsecond(spark: SparkSession) -> None:
    end = NOON + timedelta(minutes=1)
    listed, span = hour_of(trade(end - timedelta(microseconds=1), "1", trade_id="1"), trade(end, "2", trade_id="2"))
    result = job_result(spark, listed, "1m", span)
    assert [candle.open for _, candle in sorted(result.candles.items())] == [1, 2]


def test_trades_of_one_millisecond_are_ordered_by_microsecond(spark: SparkSession) -> None:
    first = trade(NOON + timedelta(microseconds=1), "1", trade_id="2")
    second = trade(NOON + timedelta(microseconds=2), "2", trade_id="1")
    candle = one_candle(spark, "1m", second, first)
    assert [candle.open, candle.close] == [1, 2]


def test_a_correction_moves_its_trade_to_another_minute(spark: SparkSession) -> None:
    first = trade(NOON, "5", trade_id="1", ingested=NOON)
    moved = trade(NOON + timedelta(minutes=7), "6", trade_id="1", ingested=NOON + timedelta(hours=5))
    candle = one_candle(spark, "1m", first, moved)
    assert candle.window_start_us == to_microseconds(NOON + timedelta(minutes=7))
    assert [candle.open, candle.trade_count] == [6, 1]


def test_the_same_id_in_another_hour_is_another_trade(spark: SparkSession) -> None:
    later = NOON + timedelta(hours=1)
    trades = [trade(NOON, "1", trade_id="1"), trade(later, "2", trade_id="1")]
    span = [(to_microseconds(at("2026-03-01 00:00")), to_microseconds(at("2026-03-02 00:00")))]
    result = job_result(spark, trades, "1d", span)
    assert [candle.trade_count for candle in result.candles.values()] == [2]


def test_a_volume_that_does_not_fit_is_withheld_until_the_column_is_widened(spark: SparkSession) -> None:
    listed, span = hour_of(
        *(trade(NOON, "1", "9999999999.99999999", trade_id=str(number)) for number in range(3)),
        trade(NOON, "1", "1", trade_id="1", symbol="ETH-USD"),
    )
    result = job_result(spark, listed, "1h", span)
    assert list(result.withheld.values()) == [Decimal("29999999999.99999997")]
    assert [key[0] for key in result.candles] == ["ETH-USD"]
    assert job_result(spark, listed, "1h", span, wide=True) == reference_candles(
        listed, 3_600_000_000, span, amount_limit=None
    )

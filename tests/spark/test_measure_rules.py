"""Measures computed by the job compared with the reference model, for any list of trades."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from ohlcv.model.intervals import to_microseconds
from ohlcv.spark.job_protocol import CODE_GENERATION_MIN_TRADES
from spark_jobs.runtime.session import code_generation_for
from support.computed_candles import job_measures
from support.harness import WIDTHS, at, trade
from support.lanes import spark_cases
from support.reference_model import Trade, reference_candles, reference_measures
from support.strategies import MAX_AMOUNT, MIN_AMOUNT, markets, range_lists

NOON = at("2026-03-01 12:00")
HOUR = [(to_microseconds(NOON), to_microseconds(at("2026-03-01 13:00")))]
TWO_DAYS = [(to_microseconds(at("2026-01-31 00:00")), to_microseconds(at("2026-02-02 00:00")))]
MINUTE = 60_000_000
# Each example is one Spark query with several lists of edge cases.
EXAMPLES = settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def assert_equal_to_reference(
    spark: SparkSession, trades: list[Trade], name: str, spans: list[tuple[int, int]], trades_read: int = 0
) -> None:
    width = WIDTHS[name] * 1_000_000
    expected = reference_candles(trades, width, spans)
    measures = reference_measures(trades, width, spans)
    with code_generation_for(spark, trades_read):
        found = job_measures(spark, trades, name, spans)
    assert found == (expected, {key: measures[key] for key in expected.candles})


# Expressions are evaluated for few trades and compiled for many; 1d is merged from the totals of hours.
@pytest.mark.parametrize(
    ("name", "trades_read"),
    spark_cases({"1m-evaluated": ("1m", 0), "1d-compiled": ("1d", CODE_GENERATION_MIN_TRADES)}, "1d-compiled"),
)
@EXAMPLES
@given(data=st.data())
def test_every_measure_equals_the_reference_model(
    spark: SparkSession, name: str, trades_read: int, data: st.DataObject
) -> None:
    trades = [trade for market in data.draw(markets()) for trade in market]
    spans = data.draw(range_lists(WIDTHS[name] * 1_000_000))
    assert_equal_to_reference(spark, trades, name, spans, trades_read)


@pytest.mark.spark_cases
@EXAMPLES
@given(lists=markets(2, bad_rows=False), seed=st.integers(0, 1000))
def test_measures_of_trades_that_their_ids_order_equal_the_reference_model(
    spark: SparkSession, lists: list[list[Trade]], seed: int
) -> None:
    numbers = random.Random(seed)
    renumbered = [
        replace(each, trade_id=str(5_000 + numbers.randrange(len(market))), source_sequence=None)
        for market in lists
        for each in market
    ]
    assert_equal_to_reference(spark, renumbered, "5m", TWO_DAYS)


def series(name: str, *trades: dict[str, Any]) -> list[Trade]:
    """Return trades of a series with the given fields."""
    return [trade(NOON, symbol=name, **{"trade_id": str(number), **fields}) for number, fields in enumerate(trades)]


def test_every_edge_case_of_sides_equals_the_reference_model(spark: SparkSession) -> None:
    trades = [
        *series("bought", {"side": "BUY"}, {"side": "BUY"}),
        *series("sold", {"side": "SELL"}, {"side": "SELL"}),
        *series("both", {"side": "SELL", "quantity": "3"}, {"side": "BUY", "quantity": "5", "price": "7"}),
        *(
            each
            for text in (None, "", "buy", "Buy", "sell", " BUY", "BUY ", "B", "UNKNOWN")
            for each in series(f"one has {text}", {"side": "BUY"}, {"side": text}, {"side": "SELL"})
        ),
        # Delivered again, with and without a numeric id: the side decides last.
        *(
            replace(each, trade_id=trade_id, message_id="m", symbol=f"versions {trade_id} {older} {newer}")
            for trade_id in ("7", "seven")
            for older, newer in permutations((None, "BUY", "SELL", "buy"), 2)
            for each in (trade(NOON, side=older), trade(NOON, side=newer))
        ),
        # A later version without a side.
        *series(
            "side removed",
            {"trade_id": "1", "side": "BUY", "ingested": NOON},
            {"trade_id": "1", "side": None, "ingested": at("2026-03-01 12:01")},
        ),
        *series("least", {"side": "BUY", "price": MIN_AMOUNT, "quantity": MIN_AMOUNT}, {"side": "SELL"}),
        *series("most", {"side": "BUY", "price": MAX_AMOUNT, "quantity": MAX_AMOUNT - 1}),
        *series("rejected", {"side": "BUY"}, {"side": None, "price": "0"}),
    ]
    for shuffled in (trades, trades[::-1]):
        assert_equal_to_reference(spark, shuffled, "1m", HOUR)


def test_a_quote_volume_that_does_not_fit_withholds_the_candle(spark: SparkSession) -> None:
    trades = [
        trade(NOON, MAX_AMOUNT, MAX_AMOUNT, trade_id=str(number), symbol=name, side=side)
        for name, count, side in (("fits", 99, "BUY"), ("too large", 101, "BUY"), ("other side", 101, "SELL"))
        for number in range(count)
    ]
    result, measures = job_measures(spark, trades, "1m", HOUR, wide=True)
    assert {key[0] for key in result.withheld} == {"too large", "other side"}
    expected = reference_measures(trades, MINUTE, HOUR)
    assert measures == {key: each for key, each in expected.items() if key[0] == "fits"}

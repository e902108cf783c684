"""Measures of extended candle tables: computed by the job, filled without a revision, kept by every write."""

from __future__ import annotations

from datetime import timedelta

from support.harness import Harness, at, trade
from support.reference_model import Trade

NOON = at("2026-03-01 12:00")
ONE = NOON + timedelta(hours=1)
HOUR = (NOON, ONE)


def some_trades(count: int = 30) -> list[Trade]:
    """Return trades of one hour with both sides; one minute has a trade without a side."""
    return [
        trade(
            NOON + timedelta(seconds=47 * number, microseconds=number),
            str(100 + number % 7),
            f"{1 + number % 3}.00000001",
            trade_id=str(1000 + number),
            side=None if number == 5 else ("BUY", "SELL")[number % 3 == 0],
        )
        for number in range(count)
    ]


def test_a_build_fills_the_measures_of_an_extended_table(harness: Harness) -> None:
    harness.load(some_trades())
    harness.build("1m", *HOUR)
    before = harness.stored("1m")
    assert set(harness.measures("1m").values()) == {None}
    harness.extend("1m")
    report = harness.build("1m", *HOUR)
    after = harness.stored("1m")
    assert report["candles"]["filled"] == len(before)
    assert harness.summary("1m")["ohlcv.candles-filled"] == str(len(before))
    assert harness.measures("1m") == harness.expected_measures("1m", HOUR)
    for key, stored in before.items():
        assert (after[key].candle, after[key].created_at, after[key].updated_at) == (
            stored.candle,
            stored.created_at,
            stored.updated_at,
        )
    assert harness.build("1m", *HOUR)["candles"]["unchanged"] == len(before)

"""A day of candles that is built and then gets late trades, so that the next run changes some of them."""

from __future__ import annotations

from datetime import timedelta

from support.harness import Harness, at, trade

DAY, NEXT = at("2026-03-01 00:00"), at("2026-03-02 00:00")


def build_then_load_late_trades(harness: Harness, step: int = 61, late: int = 40) -> None:
    """Build a day with a trade of two series every `step` seconds, then load late trades into some windows."""
    harness.load(
        trade(DAY + timedelta(seconds=second), f"{100 + second % 13}", symbol=symbol)
        for symbol in ("BTC-USD", "ETH-USD")
        for second in range(0, 6 * 3600, step)
    )
    harness.build("1m", DAY, NEXT)
    harness.load(trade(DAY + timedelta(minutes=7 * n, seconds=3), "777", trade_id=f"late-{n}") for n in range(late))

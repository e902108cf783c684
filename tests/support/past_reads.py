"""Reads of the past in short form."""

from __future__ import annotations

from typing import Any

from ohlcv.readers.point_in_time import read_past_candles
from support.candle_rows import HOUR, Row, at, candle
from support.ledger import RecordedHistory

NOON = at("2026-03-01T12:00")


def hour(start: str, close: str = "1", /, **values: Any) -> Row:
    """Return a 1h candle of March 2026, by day and hour such as 01T10."""
    return {**candle(HOUR, f"2026-03-{start}", close), **values}


def closes(history: RecordedHistory, **arguments: Any) -> list[str]:
    """Return start and close of the candles that a read returns."""
    table = read_past_candles(history.settings, history.timeframe, **arguments)
    return sorted(f"{row['window_start']:%dT%H} {row['close_price'].normalize():f}" for row in table.to_pylist())

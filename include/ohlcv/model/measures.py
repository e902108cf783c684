"""Refusal of requests for measures of a candle table that is not extended."""

from __future__ import annotations

from ohlcv.model.errors import InputError


def missing_measures(table: str, timeframe: str) -> InputError:
    """Return the error of a request for measures of a table that has none."""
    return InputError(f"{table} has no measures: run 'ohlcv tables extend --timeframe {timeframe}'")

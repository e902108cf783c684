"""Freshness of candles, measured against their schedule and the newest trades."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ohlcv.config.settings import Settings
from ohlcv.model.intervals import Range, floor_time
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.latest import newest_candle_end, newest_trade

# Candles are late if a scheduled run has not written them this long after its schedule time. 1m runs are scheduled
# every five minutes, so 1m candles are late when the newest one ended ten minutes ago.
GRACE = timedelta(minutes=5)


@dataclass(frozen=True)
class Freshness:
    """End of the newest candle, expected and found, and the newest trade that is missing between the two."""

    # End of the newest candle that should exist.
    due: datetime
    # Age of the newest candle just before the next scheduled run, if no run is late.
    usual: timedelta
    # End of the newest candle that exists; None if there is none.
    newest: datetime | None
    # Time of the newest valid trade between the two; None if there is none or the candles are not late.
    traded: datetime | None


def measure_freshness(settings: Settings, timeframe: Timeframe, now: datetime) -> Freshness:
    """Return the freshness of the candles of a timeframe."""
    newest = newest_candle_end(settings, timeframe)
    tick, tick_before = timeframe.last_schedule_times(now - GRACE)
    due = floor_time(tick, timeframe.length)
    usual = tick - tick_before + (tick - due)
    if newest is not None and newest >= due:
        return Freshness(due, usual, newest, None)
    return Freshness(due, usual, newest, newest_trade(settings, Range(newest or due - timeframe.lookback, due)))

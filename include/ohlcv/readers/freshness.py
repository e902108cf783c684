"""How new candles are, by their schedule and by the trades there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ohlcv.config.settings import Settings
from ohlcv.model.intervals import Range, floor_time
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.latest import newest_candle_end, newest_trade

# A run that is due has this long to end before its candles are late. With a tick every five minutes a 1m candle is
# then late when the newest one ended ten minutes ago.
GRACE = timedelta(minutes=5)


@dataclass(frozen=True)
class Freshness:
    """What there should be, what there is, and whether that is the market's doing."""

    # The newest candle there should be ends here.
    due: datetime
    # How old the newest candle is right before the next tick, when all is well.
    usual: timedelta
    # The newest candle there is ends here; none where there is no candle.
    newest: datetime | None
    # The newest sound trade between the two: none where nobody traded, or nothing is late.
    traded: datetime | None


def look(settings: Settings, timeframe: Timeframe, now: datetime) -> Freshness:
    """See how new the candles of a timeframe are."""
    newest = newest_candle_end(settings, timeframe)
    tick, tick_before = timeframe.last_schedule_times(now - GRACE)
    due = floor_time(tick, timeframe.length)
    usual = tick - tick_before + (tick - due)
    if newest is not None and newest >= due:
        return Freshness(due, usual, newest, None)
    return Freshness(due, usual, newest, newest_trade(settings, Range(newest or due - timeframe.lookback, due)))

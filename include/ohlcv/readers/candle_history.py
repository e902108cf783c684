"""History of one candle: what readers saw, from when, and why it changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from pyiceberg.expressions import And

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import floor_time, iso
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.recorded_table import open_recorded_table
from ohlcv.readers.revisions import AFTER, BEFORE, read_events
from ohlcv.readers.scans import series_condition, time_condition


@dataclass(frozen=True)
class CandleHistory:
    """The versions of a candle that the ledger knows."""

    window_start: datetime
    # Columns of `read_events`: each version is that after a change.
    events: pa.Table
    # Publications at or after this time are not recorded yet. None: all are.
    known_until: datetime | None

    @property
    def versions(self) -> pa.Table:
        """Return the events with the values after each of them, without those before."""
        kept = self.events.select([name for name in self.events.column_names if not name.startswith(BEFORE)])
        return kept.rename_columns([name.removeprefix(AFTER) for name in kept.column_names])


def read_candle_history(
    settings: Settings, timeframe: Timeframe, symbol: str, exchange: str, time: datetime
) -> CandleHistory:
    """Return the versions of the candle whose window contains a time, the oldest first."""
    try:
        start = floor_time(time, timeframe.length)
        condition = time_condition(start, start + timeframe.length)
    except OverflowError:
        raise InputError(f"there is no window at {iso(time)}: give another time") from None
    recorded = open_recorded_table(settings, timeframe)
    events = read_events(recorded.versions(), And(series_condition(symbol, exchange), condition))
    if not len(events):
        recorded.check_series(symbol, exchange)
    return CandleHistory(start, events, recorded.known_until)

"""Continuous feed of sample trades, for the demo and for demonstration deployments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table_to_write
from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import iso
from ohlcv.readers.latest import newest_trade

# The lookback of the 1d timeframe is two days.
HISTORY = timedelta(hours=49)
FEED_SECONDS = 20
FEED_TRADES_PER_SECOND = 4
# Difference between the clocks of two machines that run a feed.
CLOCK_TOLERANCE = timedelta(minutes=1)


def load_history(settings: Settings, trades: int) -> Feed:
    """Load sample trades of the last two days, or since the newest trade in the table, and return the feed."""
    load_table_to_write(settings, settings.trades_contract)  # reports a table that is only read
    now = datetime.now(UTC)
    newest = newest_trade(settings)
    if newest and newest > now + CLOCK_TOLERANCE:
        raise OhlcvError(
            f"the newest trade is of {iso(newest)}, in the future, and a feed continues after it: "
            "use another OHLCV_HOME, or delete that trade"
        )
    # An earlier feed may have loaded trades: continue after its newest one.
    begin = max(now - HISTORY, newest + timedelta(milliseconds=1)) if newest else now - HISTORY
    feed = Feed(begin)
    share = max(round(trades * ((now - begin) / HISTORY)), 8)
    if now - begin > timedelta(seconds=1):
        append_trades(settings, feed.batch(now, share))
    return feed


def run_feed(settings: Settings, feed: Feed, stopped: threading.Event, report_progress: Callable[[str], None]) -> None:
    """Append the trades of the last seconds periodically until `stopped` is set."""
    while not stopped.wait(FEED_SECONDS):
        now = datetime.now(UTC)
        seconds = (now - feed.end).total_seconds()
        if seconds < 1:
            continue  # until the clock has reached the newest trade
        try:
            append_trades(settings, feed.batch(now, max(round(FEED_TRADES_PER_SECOND * seconds), 8)))
        except OhlcvError as error:
            report_progress(f"the feed skipped {seconds:.0f} s of trades: {error}")

"""Made-up trades as time goes by, for the demo and for a deployment that is to be seen at work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ohlcv.config.settings import Settings
from ohlcv.ingest.loader import append_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.errors import OhlcvError
from ohlcv.readers.latest import newest_trade

Say = Callable[[str], None]

# The day's candles look back two days.
HISTORY = timedelta(hours=49)
FEED_SECONDS = 20
FEED_TRADES_PER_SECOND = 4


def load_history(settings: Settings, trades: int) -> Feed:
    """Load the trades of two days up to now, or since those that are there."""
    now = datetime.now(UTC)
    newest = newest_trade(settings)
    # A feed before this one has left off somewhere: go on from there, no older trade is made twice.
    begin = max(now - HISTORY, newest + timedelta(milliseconds=1)) if newest else now - HISTORY
    feed = Feed(begin)
    share = max(round(trades * ((now - begin) / HISTORY)), 8)
    if now - begin > timedelta(seconds=1):
        append_trades(settings, feed.batch(now, share))
    return feed


def go_on(settings: Settings, feed: Feed, stopped: threading.Event, say: Say) -> None:
    """Add the trades of the last seconds, again and again, until stopped."""
    while not stopped.wait(FEED_SECONDS):
        now = datetime.now(UTC)
        seconds = (now - feed.end).total_seconds()
        try:
            append_trades(settings, feed.batch(now, max(round(FEED_TRADES_PER_SECOND * seconds), 8)))
        except OhlcvError as error:
            say(f"the feed missed {seconds:.0f} s of trades: {error}")

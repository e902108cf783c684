"""The feed of sample trades continues after the newest trade, also if the clock is behind it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings
from ohlcv.ingest import sample_feed
from ohlcv.ingest.loader import load_trades
from ohlcv.ingest.sample_data import Feed
from ohlcv.ingest.sample_feed import load_history, run_feed
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import to_microseconds
from support.trade_files import stored_trades, write_generic


def load_trade_of(settings: Settings, folder: Path, time: datetime) -> None:
    load_trades(settings, [write_generic(folder, f"x,BTC-USD,{to_microseconds(time)},1,1,1")])


def test_a_trade_of_the_future_ends_the_feed_with_one_line(settings: Settings, tmp_path: Path) -> None:
    load_trade_of(settings, tmp_path, datetime(2099, 1, 1, tzinfo=UTC))
    with pytest.raises(OhlcvError) as raised:
        load_history(settings, 100)
    assert str(raised.value) == (
        "the newest trade is of 2099-01-01T00:00:00Z, in the future, and a feed continues after it: "
        "use another OHLCV_HOME, or delete that trade"
    )


def test_a_feed_waits_for_a_newest_trade_that_is_slightly_in_the_future(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = datetime.now(UTC) + timedelta(seconds=50)
    load_trade_of(settings, tmp_path, newest)
    feed = load_history(settings, 100)
    assert feed.end == newest + timedelta(milliseconds=1)
    assert len(stored_trades(settings)) == 1

    class StoppedAfterTwoRounds(threading.Event):
        rounds = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.rounds += 1
            return self.rounds > 2

    messages: list[str] = []
    monkeypatch.setattr(sample_feed, "append_trades", lambda *_: pytest.fail("no trade is due"))
    run_feed(settings, Feed(datetime.now(UTC) + timedelta(seconds=50)), StoppedAfterTwoRounds(), messages.append)
    assert messages == []

"""Freshness in the health checks, without a Spark job."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ohlcv.config.settings import Settings
from ohlcv.monitoring.health import freshness
from support.audited_tables import add_trades, trade
from support.candle_rows import MINUTE, at

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


def test_a_trade_of_the_future_is_not_the_last_trade(settings: Settings) -> None:
    add_trades(settings, trade("2026-03-01T12:00"), trade("2099-01-01T00:00"))
    found = freshness(settings, MINUTE, at("2026-03-01T12:00") + timedelta(hours=5))
    assert (found.state, found.found) == ("quiet", "no candle yet; no trades since 2026-03-01T12:00:00Z")

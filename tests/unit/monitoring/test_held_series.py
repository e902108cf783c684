"""Held series in the health checks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ohlcv.config.settings import Settings
from ohlcv.monitoring.health import held_series
from ohlcv.monitoring.measurements import Measurement
from support import audit_records
from support.candle_rows import MINUTE

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


def test_any_held_series_is_an_alert_of_its_timeframe(settings: Settings) -> None:
    since = audit_records.NOON + timedelta(minutes=10)
    old, young = audit_records.held_series(), audit_records.held_series(exchange="a", since="2026-03-01T13:00:00Z")
    audit_records.hold(settings, MINUTE, young, old)
    first, *others = held_series(settings, since + timedelta(hours=3, minutes=5))
    found = "2, the oldest is 1m:2026-03-01T12:binance:BTC/USD, held for 3 h 5 min"
    assert first == Measurement("1m", "held series", found, "none", "alert", 2, 11_100)
    assert others == [
        Measurement(name, "held series", "none", "none", "ok", 0, 0) for name in ("5m", "30m", "1h", "1d")
    ]
    audit_records.hold(settings, MINUTE)
    assert {each.state for each in held_series(settings, since)} == {"ok"}

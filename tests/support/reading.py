"""Stored candles of the recipes in docs/reading.md."""

from __future__ import annotations

from decimal import Decimal

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import create_tables, widen_volume
from support.candle_rows import HOUR, Row, candle, write_candles
from support.default_tables import candles_contract


def _hour(start: str, close: str = "1", symbol: str = "BTC-USD", exchange: str = "coinbase") -> Row:
    return candle(HOUR, start, close, symbol, exchange)


# BTC-USD on coinbase, 1 March 2026: the smallest value, values with more digits than a float has, and a gap.
STORED_HOURS = [
    _hour("2026-03-01T00:00", "84100.50"),
    {
        **_hour("2026-03-01T01:00", "1234567890.12345678"),
        "volume": Decimal("9999999999.99999999"),
        "trade_count": 2**62,
    },
    {**_hour("2026-03-01T02:00", "84090.25"), "low_price": Decimal("0.00000001"), "volume": Decimal("0.00000001")},
    _hour("2026-03-01T22:00", "84120.00000003"),
]
NEWER_HOUR = _hour("2026-03-02T01:00", "84130")
# Candles that the filters exclude.
OTHER_HOURS = [
    _hour("2026-02-28T23:00"),
    _hour("2026-03-01T00:00", symbol="ETH-USD"),
    _hour("2026-03-01T00:00", exchange="kraken"),
]


def store_candles(settings: Settings, wide: bool = False) -> list[Row]:
    """Create the tables, store the candles and return those of the recipes. The last one is in a later snapshot.

    With `wide`, the column `volume` is widened between the snapshots.
    """
    create_tables(settings)
    *hours, last = STORED_HOURS
    write_candles(settings, HOUR, *hours, *OTHER_HOURS)
    if wide:
        widen_volume(settings, candles_contract(HOUR))
        last = {**last, "volume": Decimal("10000000000.00000001")}
    write_candles(settings, HOUR, last, NEWER_HOUR)
    return [*hours, last]

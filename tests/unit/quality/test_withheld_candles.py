"""Candles whose notional (price x quantity, summed) is near and beyond the limit of the Spark job and of 128 bits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog, widen_volume
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.intervals import MICROSECOND, Range, to_microseconds
from ohlcv.quality.validator import validate
from support.candle_rows import MINUTE, at, candle, write_candles
from support.default_tables import TRADES, candles_contract
from support.strategies import MAX_AMOUNT

NOON = at("2026-03-01T12:00")


def load_largest_trades(settings: Settings, count: int) -> None:
    rows = [
        {
            "message_id": f"m {number}",
            "symbol": "BTC",
            "exchange": "X",
            "timestamp": to_microseconds(NOON) + number,
            "price": MAX_AMOUNT,
            "quantity": MAX_AMOUNT,
            "ingestion_timestamp": to_microseconds(NOON),
            "exchange_date": NOON.date(),
            "exchange_hour": NOON.hour,
        }
        for number in range(count)
    ]
    load_table(open_catalog(settings), TRADES).append(pa.Table.from_pylist(rows, schema=TRADE_SCHEMA))


def findings(settings: Settings) -> list[tuple[str, str, str]]:
    # The table is built up to this candle, which is not validated.
    write_candles(settings, MINUTE, candle(MINUTE, NOON + timedelta(minutes=1)))
    widen_volume(settings, candles_contract(MINUTE))
    result = validate(settings, MINUTE, Range(NOON, NOON + timedelta(minutes=1)))
    return [(each.rule, each.stored, each.expected) for each in result.failures]


# 100 such trades have a notional of 38 digits; 171 and more have one of more than 127 bits.
@pytest.mark.parametrize("count", [101, 300])
def test_a_notional_of_more_than_38_digits_is_reported_as_withheld(settings: Settings, count: int) -> None:
    load_largest_trades(settings, count)
    expected = f"volume {count * MAX_AMOUNT} and a notional of more than 38 digits"
    assert findings(settings) == [("none_is_withheld", "withheld", expected)]


@pytest.mark.parametrize("is_withheld", [False, True])
def test_the_largest_notional_is_compared_exactly(settings: Settings, is_withheld: bool) -> None:
    count = 101 if is_withheld else 100
    load_largest_trades(settings, count)
    widen_volume(settings, candles_contract(MINUTE))
    values: dict[str, Any] = dict.fromkeys(("open_price", "high_price", "low_price", "close_price"), MAX_AMOUNT)
    stored = candle(MINUTE, NOON) | values | {"volume": count * MAX_AMOUNT, "trade_count": count}
    write_candles(settings, MINUTE, stored | {"vwap": MAX_AMOUNT})
    assert findings(settings) == (
        [("fields_equal_the_trades", f"vwap {MAX_AMOUNT}", "a withheld candle")] if is_withheld else []
    )


def test_other_candles_are_compared(settings: Settings) -> None:
    load_largest_trades(settings, 300)
    write_candles(settings, MINUTE, candle(MINUTE, NOON + 59 * MICROSECOND, symbol="ETH"))
    assert {rule for rule, _, _ in findings(settings)} == {"none_is_withheld", "none_is_extra", "window_is_aligned"}

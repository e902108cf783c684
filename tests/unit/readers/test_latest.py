"""The newest trade that may reach a candle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.errors import EqualityDeletesError
from ohlcv.model.intervals import Range, to_microseconds
from ohlcv.readers.latest import newest_trade
from support.candle_rows import at
from support.default_tables import TRADES

VALID_TIME = at("2026-03-01T10:30")
LATER = at("2026-03-01T10:45")


def trade(time: datetime, **changes: Any) -> dict[str, Any]:
    """Return a valid trade in the partition of its timestamp, with changes."""
    row = {
        "message_id": f"message {time}",
        "trade_id": f"trade {time}",
        "symbol": "BTC-USD",
        "exchange": "x",
        "asset_class": "crypto",
        "timestamp": to_microseconds(time),
        "price": Decimal(1),
        "quantity": Decimal(1),
        "ingestion_timestamp": to_microseconds(time),
        "exchange_date": time.date(),
        "exchange_hour": time.hour,
    }
    return row | changes


def load(settings: Settings, *rows: Mapping[str, Any]) -> None:
    # As another writer does: without the validation and the staging of the loader.
    load_table(open_catalog(settings), TRADES).append(pa.Table.from_pylist(list(rows), schema=TRADE_SCHEMA))


def test_equality_deletes_are_refused(settings: Settings) -> None:
    # pyiceberg writes no such deletes; the number in the summary decides.
    deletes = {"added-equality-deletes": "1"}
    load_table(open_catalog(settings), TRADES).append(TRADE_SCHEMA.empty_table(), deletes)
    with pytest.raises(EqualityDeletesError, match=r"^market_data\.gold_crypto_trades has equality deletes, which"):
        newest_trade(settings)


def test_a_table_without_trades_has_no_newest_trade(settings: Settings) -> None:
    assert newest_trade(settings) is None


@pytest.mark.parametrize(
    "invalid",
    [
        {"symbol": None},
        {"exchange": None},
        {"timestamp": None},
        {"trade_id": None, "message_id": None},
        {"price": None},
        {"price": Decimal(0)},
        {"price": Decimal(-1)},
        {"quantity": None},
        {"quantity": Decimal(0)},
        {"quantity": Decimal(-1)},
        {"exchange_hour": 9},
        {"exchange_hour": 11},
        {"exchange_date": date(2026, 3, 2)},
        {"exchange_date": None},
        {"exchange_hour": None},
        {"exchange_hour": 34, "exchange_date": date(2026, 2, 28)},
        {"exchange_date": date.max},
    ],
    ids=str,
)
def test_invalid_trades_are_ignored(settings: Settings, invalid: dict[str, Any]) -> None:
    load(settings, trade(VALID_TIME), trade(LATER, **invalid))
    assert newest_trade(settings) == VALID_TIME
    assert newest_trade(settings, Range(at("2026-03-01T10:40"), at("2026-03-01T11:00"))) is None


def test_a_trade_with_a_trade_id_or_a_message_id_is_valid(settings: Settings) -> None:
    load(settings, trade(VALID_TIME, trade_id=None))
    assert newest_trade(settings) == VALID_TIME
    load(settings, trade(LATER, message_id=None))
    assert newest_trade(settings) == LATER


def test_hours_without_a_valid_trade_are_skipped(settings: Settings) -> None:
    load(
        settings,
        trade(VALID_TIME),
        trade(at("2026-03-01T11:05"), price=None),
        trade(at("2026-03-01T12:05"), symbol=None),
    )
    assert newest_trade(settings) == VALID_TIME


def test_the_range_is_half_open(settings: Settings) -> None:
    load(settings, trade(VALID_TIME), trade(LATER))
    assert newest_trade(settings, Range(VALID_TIME, LATER)) == VALID_TIME
    assert newest_trade(settings, Range(LATER, datetime(2026, 3, 2, tzinfo=UTC))) == LATER
    assert newest_trade(settings, Range(at("2026-03-01T10:31"), LATER)) is None

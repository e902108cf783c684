"""The preview of a mapping: its counts equal those of the rules of a mapping in plain Python."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import open_catalog
from ohlcv.readers.mapping_preview import SHOWN_ROWS, MappingPreview, preview_mapping
from ohlcv.readers.trades import load_trades
from support.mapped_trades import SHAPES, append_rows, mapped_settings, random_rows, reference_trades
from support.reference_model import EPOCH_DATE, HOUR_MICROSECONDS, Trade

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def preview(settings: Settings, max_rows: int = 10**6) -> MappingPreview:
    return preview_mapping(load_trades(open_catalog(settings), settings.trades_contract), max_rows)


def reason(trade: Trade, *, every_row: bool, has_hour: bool) -> str | None:
    """Return why a trade is rejected, by the order of the data contract."""
    hour = (trade.exchange_date - EPOCH_DATE).days * 24 + trade.exchange_hour
    identity = every_row or trade.trade_id is not None or trade.message_id is not None
    reasons = {
        "no_hour": not has_hour,
        "null_key": None in (trade.symbol, trade.exchange) or not identity,
        trade.amount_fault: trade.amount_fault is not None,
        "bad_price": trade.price is None or trade.price <= 0,
        "bad_quantity": trade.quantity is None or trade.quantity <= 0,
        "wrong_partition": (trade.timestamp or 0) // HOUR_MICROSECONDS != hour,
    }
    return next((name for name, applies in reasons.items() if applies), None)


@pytest.mark.parametrize("name", SHAPES)
def test_the_rejections_are_those_of_the_rules(tmp_path: Path, name: str) -> None:
    settings = mapped_settings(tmp_path, SHAPES[name])
    mapping = settings.trades_mapping
    trades_table = load_trades(open_catalog(settings), settings.trades_contract).table
    rows = random_rows(mapping, SHAPES[name], random.Random(3), NOON, 3)
    append_rows(trades_table, rows[:100])
    append_rows(trades_table, rows[100:])
    found = preview(settings)
    trades = reference_trades(rows, mapping)
    # Where hours are stored there are no filters, so rows and trades correspond.
    stored_hours = [row["hr"] for row in rows] if mapping.has_hours else [0] * len(trades)
    expected = Counter(
        reason(trade, every_row=mapping.every_row, has_hour=hour in range(24))
        for trade, hour in zip(trades, stored_hours, strict=True)
    )
    assert (found.rows_read, found.excluded) == (len(rows), len(rows) - len(trades))
    assert found.valid == expected.pop(None)
    assert found.rejected == expected
    assert found.sides.total() == found.valid
    assert all(found.sides[side] for side in ("BUY", "SELL", None))
    assert len(expected) >= 3
    assert found.is_complete
    assert found.files_read == found.files >= 2
    assert len(found.rows) == SHOWN_ROWS


def test_the_newest_file_is_read_first_and_the_number_of_rows_is_limited(tmp_path: Path) -> None:
    name = "nanoseconds without ids"
    settings = mapped_settings(tmp_path, SHAPES[name])
    table = load_trades(open_catalog(settings), settings.trades_contract).table
    for exchange, second in (("old", 0), ("new", 2), ("middle", 1)):
        row = {"ns": second * 10**9 + 1_999, "quantity": 0.1 + second, "price": 1, "exchange": exchange, "seq": None}
        append_rows(table, [row] * 20)
    found = preview(settings, 25)
    assert (found.files_read, found.files, found.rows_read, found.is_complete) == (2, 3, 25, False)
    assert [row["exchange"] for row in found.rows] == ["new"] * SHOWN_ROWS
    assert {name: value for name, value in found.rows[0].items() if value is not None} == {
        "symbol": "BTC-USD",
        "exchange": "new",
        # Nanoseconds are floored.
        "timestamp": 2_000_001,
        "price": Decimal("2.1"),
        "quantity": 1,
    }

    assert preview(settings, 40).files_read == 2
    assert not preview(settings, 40).is_complete


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    found = preview(mapped_settings(tmp_path, SHAPES["nanoseconds without ids"]))
    assert (found.rows_read, found.files, found.rows, found.is_complete) == (0, 0, [], True)


def test_rejections_are_ordered_by_number_and_name() -> None:
    preview = MappingPreview("trades", 1)
    preview.rejected.update({"infinite": 1, "no_key": 1, "bad_price": 1, "not_a_number": 3})
    assert list(preview.rejections()) == ["not_a_number", "bad_price", "infinite", "no_key"]

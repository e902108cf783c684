"""Trades of a snapshot that was committed before columns of the table were renamed, added or replaced."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.types import DecimalType

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.source_hours import hour_number
from ohlcv.readers.trades import load_trades
from support.audited_tables import add_trades, trade
from support.candle_rows import at
from support.default_tables import TRADES


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path)})
    create_tables(found)
    return found


def prices(settings: Settings, snapshot: int) -> list[Decimal | None]:
    """Return the prices of the hour of the test as the readers get them."""
    chunks = load_trades(open_catalog(settings), TRADES).read_chunks(
        [hour_number(at("2026-03-01T12:00"))], snapshot, 10
    )
    return [price for _, tables in chunks for price in pa.concat_tables(tables)["price"].to_pylist()]


def test_a_column_that_was_renamed_at_the_commit_is_read(settings: Settings) -> None:
    table = load_table(open_catalog(settings), TRADES)
    with table.update_schema() as update:
        update.rename_column("price", "px")
    row = trade("2026-03-01T12:00")
    table.append(pa.Table.from_pylist([row | {"px": row["price"]}], schema=table.schema().as_arrow()))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    with table.update_schema() as update:
        update.rename_column("px", "price")
    assert prices(settings, snapshot.snapshot_id) == [Decimal(1)]


def test_a_column_that_replaced_another_one_has_its_values(settings: Settings) -> None:
    snapshot = add_trades(settings, trade("2026-03-01T12:00"))
    table = load_table(open_catalog(settings), TRADES)
    with table.update_schema() as update:
        update.rename_column("price", "old_price")
    with table.update_schema() as update:
        update.add_column("price", DecimalType(18, 8))
    after = add_trades(settings, trade("2026-03-01T12:01", "3"))
    assert prices(settings, snapshot) == [Decimal(1)]
    # Nobody has copied the old values.
    assert sorted(prices(settings, after), key=str) == [Decimal(3), None]

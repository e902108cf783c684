"""Candidates of candle tables: snapshots that no reader sees, with the trades that their candles were built from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.timeframes import Timeframe
from support.candle_rows import Row, at, candle
from support.default_tables import TRADES, candles_contract


def trade(time: str, price: str = "1", symbol: str = "BTC", exchange: str = "X") -> Row:
    """Return a trade of quantity 2."""
    start = at(time)
    return {
        "message_id": f"{symbol} {exchange} {time} {price}",
        "symbol": symbol,
        "exchange": exchange,
        "timestamp": to_microseconds(start),
        "price": Decimal(price),
        "quantity": Decimal(2),
        "ingestion_timestamp": to_microseconds(start),
        "exchange_date": start.date(),
        "exchange_hour": start.hour,
    }


def add_trades(settings: Settings, *rows: Row) -> int:
    """Add trades and return the snapshot."""
    table = load_table(open_catalog(settings), TRADES)
    table.append(pa.Table.from_pylist(list(rows), schema=TRADE_SCHEMA))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def built(timeframe: Timeframe, start: str, price: str = "1", symbol: str = "BTC", exchange: str = "X") -> Row:
    """Return the candle of a window with one such trade."""
    prices: dict[str, Any] = dict.fromkeys(
        ("open_price", "high_price", "low_price", "close_price", "vwap"), Decimal(price)
    )
    row = candle(timeframe, start, symbol=symbol, exchange=exchange)
    return row | prices | {"volume": Decimal(2), "trade_count": 1}


def candle_table(settings: Settings, timeframe: Timeframe) -> Table:
    return load_table(open_catalog(settings), candles_contract(timeframe))


def stage(
    settings: Settings,
    timeframe: Timeframe,
    rows: Iterable[Row],
    summary: Mapping[str, str] = {},
    *,
    append: bool = False,
) -> int:
    """Replace all candles by these rows, or add them, in a candidate; return its snapshot."""
    return _write(candle_table(settings, timeframe), settings.home, timeframe, rows, None, summary, append=append)


def publish(settings: Settings, timeframe: Timeframe, rows: Iterable[Row], summary: Mapping[str, str] = {}) -> int:
    """Replace all candles by these rows, and return the snapshot."""
    return _write(candle_table(settings, timeframe), settings.home, timeframe, rows, "main", summary, append=False)


def _write(
    table: Table,
    folder: Path,
    timeframe: Timeframe,
    rows: Iterable[Row],
    branch: str | None,
    summary: Mapping[str, str],
    *,
    append: bool,
) -> int:
    schema = table.schema().as_arrow()
    partitions: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        partitions[str(row["window_date"])[: 10 if timeframe.partition == "day" else 7]].append(row)
    files = []
    for members in partitions.values():
        file = folder / f"candidate-{uuid4()}.parquet"
        pq.write_table(pa.Table.from_pylist(members, schema=schema), file)
        files.append(file.as_uri())
    known = {snapshot.snapshot_id for snapshot in table.snapshots()}
    with table.transaction() as transaction:
        update = transaction.update_snapshot(snapshot_properties=dict(summary), branch=branch)
        with update.overwrite() as overwrite:
            for task in [] if append else table.scan().plan_files():
                overwrite.delete_data_file(task.file)
            for data_file in parquet_files_to_data_files(table.io, table.metadata, iter(files)):
                overwrite.append_data_file(data_file)
    (new,) = {snapshot.snapshot_id for snapshot in table.refresh().snapshots()} - known
    return new

"""Candle rows of the reader tests, written to real Iceberg tables in an embedded catalog."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg import tables as iceberg_tables
from ohlcv.model.intervals import EPOCH, MICROSECOND
from ohlcv.model.table_contracts import MEASURES
from ohlcv.model.timeframes import Timeframe, get_timeframe
from support.default_tables import candles_contract
from support.reference_model import Candle

MINUTE = get_timeframe("1m")
HOUR = get_timeframe("1h")
DAY = get_timeframe("1d")
CREATED_AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
COLUMNS = candles_contract(MINUTE).column_names

Row = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def candle(
    timeframe: Timeframe, start: str | datetime, close: str = "1", symbol: str = "BTC", exchange: str = "X"
) -> Row:
    """Return a candle whose numbers all differ, so that a test detects swapped columns."""
    start = at(start) if isinstance(start, str) else start
    price = Decimal(close)
    return {
        "symbol": symbol,
        "exchange": exchange,
        "window_start": start,
        "window_end": start + timeframe.length,
        "window_date": start.date(),
        "open_price": price + 1,
        "high_price": price + 2,
        "low_price": price - Decimal("0.5"),
        "close_price": price,
        "volume": Decimal("7.5"),
        "trade_count": 3,
        "vwap": price + Decimal("0.25"),
        "created_at": CREATED_AT,
        "updated_at": CREATED_AT + timedelta(minutes=1),
    }


def measured(row: Row, sides: bool = True) -> Row:
    """Return a candle with measures that all differ. Without sides, what takers bought is not known."""
    bought = row["volume"] - 3
    return {
        **row,
        "quote_volume": row["close_price"] * row["volume"] + Decimal("1E-16"),
        "taker_buy_volume": bought if sides else None,
        "taker_buy_quote_volume": row["close_price"] * bought if sides else None,
        "first_trade_at": row["window_start"] + 7 * MICROSECOND,
        "last_trade_at": row["window_end"] - MICROSECOND,
    }


def unmeasured(row: Row) -> Row:
    """Return a candle that was not rebuilt since the table was extended, or a filled one."""
    return {**row, **dict.fromkeys(MEASURES)}


def extend_table(settings: Settings, timeframe: Timeframe) -> None:
    """Add the columns of the measures to a candle table."""
    iceberg_tables.extend(settings, candles_contract(timeframe))


def table_row(candle: Candle) -> dict[str, Any]:
    """Return the fields of a candle of the reference model under the column names of the table."""
    return {
        "symbol": candle.symbol,
        "exchange": candle.exchange,
        "window_start": EPOCH + candle.window_start_us * MICROSECOND,
        "window_end": EPOCH + candle.window_end_us * MICROSECOND,
        "open_price": candle.open,
        "high_price": candle.high,
        "low_price": candle.low,
        "close_price": candle.close,
        "volume": candle.volume,
        "trade_count": candle.trade_count,
        "vwap": candle.vwap,
    }


def filled_candle(timeframe: Timeframe, start: str, close: str, symbol: str = "BTC", exchange: str = "X") -> Row:
    """Return the row that the reader adds for a window without trades."""
    price = Decimal(close)
    return {
        **candle(timeframe, start, close, symbol, exchange),
        **dict.fromkeys(("open_price", "high_price", "low_price"), price),
        **{"volume": Decimal(0), "trade_count": 0, "vwap": None, "created_at": None, "updated_at": None},
        "filled": True,
        "fill_reason": None,
    }


def unfilled(row: Row) -> Row:
    """Return a stored candle as the reader returns it together with filled candles."""
    return {**row, "filled": False, "fill_reason": None}


def write_candles(settings: Settings, timeframe: Timeframe, *rows: Row) -> None:
    """Add rows to a candle table, one file per partition.

    Uses `add_files`, because `append` needs pyiceberg-core to partition by day and month. Only Spark jobs write candles
    otherwise.
    """
    partitions: dict[str, list[Row]] = {}
    for row in rows:
        name = str(row["window_date"])
        partitions.setdefault(name if timeframe.partition == "day" else name[:7], []).append(row)
    files = [candle_file(settings, timeframe, rows) for rows in partitions.values()]
    _candle_table(settings, timeframe).add_files(files, check_duplicate_files=False)


def candle_file(settings: Settings, timeframe: Timeframe, rows: list[Row]) -> str:
    """Write the rows of one partition to a file that is not yet part of the candle table, and return its location."""
    arrow_schema = _candle_table(settings, timeframe).schema().as_arrow()
    schema = pa.schema([(field.name, field.type) for field in arrow_schema])
    file = settings.home / f"gold_ohlcv_{timeframe}-{uuid4()}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    return file.as_uri()


def _candle_table(settings: Settings, timeframe: Timeframe) -> Table:
    return iceberg_tables.load_table(iceberg_tables.open_catalog(settings), candles_contract(timeframe))


def window_starts(table: pa.Table) -> list[str]:
    return [time.strftime("%Y-%m-%dT%H:%M") for time in table["window_start"].to_pylist()]


# The columns of a scan, and the partitions of the files that it reads, as Iceberg numbers them.
Scan = tuple[tuple[str, ...], list[int]]


def dates_read(scans: list[Scan], column: str = "close_price") -> list[str]:
    """Return the dates of all files from which a column was read."""
    days = sorted(day for columns, partitions in scans if column in columns for day in partitions)
    return [str(date(1970, 1, 1) + timedelta(days=day)) for day in days]

"""Candle reader: pyiceberg reads the files, DuckDB fills gaps and sorts. It needs no JVM and stores nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args

import duckdb
import pyarrow as pa
from pyiceberg.expressions import And

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import MICROSECOND, iso, to_microseconds
from ohlcv.model.measures import missing_measures
from ohlcv.model.table_contracts import AMOUNT_SCALE, MEASURES
from ohlcv.model.timeframes import DAY, Timeframe
from ohlcv.readers.latest import newest_candles, newest_window_start
from ohlcv.readers.mapped_columns import floor_division
from ohlcv.readers.scans import CandleSource, StoredCandles, series_condition, single_series, time_condition

# Methods for windows without trades.
Fill = Literal["previous"]


def read_candles(
    settings: Settings,
    timeframe: Timeframe,
    symbol: str | None = None,
    exchange: str | None = None,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    newest: int | None = None,
    fill: Fill | None = None,
    measures: bool = False,
) -> pa.Table:
    """Read the candles with start <= window_start < end, sorted by symbol, exchange and window_start.

    `newest` limits the result to the newest windows of each series. Without `start`, only the newest partitions are
    read, and series without a candle in the newest 31 partitions are omitted.

    `fill="previous"` adds windows without trades, with the previous close, a column `filled` that marks them, and a
    column `fill_reason`: why a window has no trades, as far as the coverage tells.
    Filling covers the windows from the first to the last candle of a series. With `start` it begins at `start`, with
    the close of the previous candle if one of the previous 31 partitions contains it. With `end` it continues up to
    `end`, but not beyond the newest candle of the table, because later windows may not have been built yet.

    `measures` adds the measures of an extended table: null in candles that were not rebuilt since, and in filled ones.
    """
    check_request(start, end, newest, fill)
    catalog = open_catalog(settings)
    contract = settings.candles_contract(timeframe)
    table = load_table(catalog, contract)
    if measures and not contract.is_extended(table.schema().column_names):
        raise missing_measures(contract.name, timeframe.name)
    source = StoredCandles(table, measures=measures)
    candles = select_candles(source, timeframe, symbol, exchange, start, end, newest)
    if fill is None:
        return sorted_candles(candles, newest)

    if start is not None:
        before = And(series_condition(symbol, exchange), time_condition(None, start))
        previous = newest_candles(source, timeframe, before, single_series(symbol, exchange), 1)
        candles = pa.concat_tables([previous, candles])
    newest_start = None if end is None else newest_window_start(table, timeframe)
    first, last = windows_to_fill(timeframe, start, end, newest_start)
    # Only here: other reads need no coverage, and its reader uses this module.
    from ohlcv.readers.fill_reasons import with_fill_reasons

    return with_fill_reasons(settings, timeframe, fill_windows(candles, timeframe, first, last, newest), catalog)


def select_candles(
    source: CandleSource,
    timeframe: Timeframe,
    symbol: str | None,
    exchange: str | None,
    start: datetime | None,
    end: datetime | None,
    newest: int | None,
) -> pa.Table:
    """Return the candles of a range, unsorted; at least the newest windows of each series."""
    condition = And(series_condition(symbol, exchange), time_condition(start, end))
    if newest is not None and start is None:
        return newest_candles(source, timeframe, condition, single_series(symbol, exchange), newest)
    return source.rows(condition)


def check_request(
    start: datetime | None, end: datetime | None, newest: int | None = None, fill: str | None = None
) -> None:
    """Raise InputError for an invalid range, number of windows or method of filling."""
    if any(time is not None and time.tzinfo is None for time in (start, end)):
        raise ValueError("start and end must have a time zone")
    if start is not None and end is not None and start >= end:
        raise InputError(f"start {iso(start)} must be before end {iso(end)}")
    if newest is not None and newest < 1:
        raise InputError(f"the number of newest windows must be 1 or more, not {newest}")
    if fill is not None and fill not in get_args(Fill):
        raise InputError(f"unknown fill '{fill}': choose one of {', '.join(get_args(Fill))}")


# SQL for DuckDB. It gets times and dates as integers, because its timestamptz depends on the time zone of the session.

_SORT = """
    SELECT {columns}
    FROM candles
    QUALIFY $newest IS NULL
        OR row_number() OVER (PARTITION BY symbol, exchange ORDER BY window_start DESC) <= $newest
    ORDER BY symbol, exchange, window_start
"""

_FILL = """
    WITH ranges AS (
        SELECT symbol, exchange,
            greatest(min(window_start), coalesce($first, min(window_start))) AS first_start,
            coalesce($last, max(window_start)) AS last_start
        FROM candles
        GROUP BY symbol, exchange
    ),
    trimmed AS (
        SELECT symbol, exchange, last_start,
            greatest(first_start, coalesce(last_start - ($newest - 1) * $length, first_start)) AS first_start
        FROM ranges
    ),
    windows AS (
        SELECT symbol, exchange, unnest(range(first_start, last_start + 1, $length)) AS moment FROM trimmed
    ),
    joined AS (
        SELECT windows.moment, candles.*, windows.moment > candles.window_start AS filled
        FROM windows ASOF JOIN candles
            ON windows.symbol = candles.symbol
            AND windows.exchange = candles.exchange
            AND windows.moment >= candles.window_start
    )
    SELECT {columns}, filled
    FROM joined
    ORDER BY symbol, exchange, moment
"""


def _fill_expressions(schema: pa.Schema) -> dict[str, str]:
    # The zero has an explicit type; otherwise DuckDB could choose another type than that of the column.
    zero = f"CAST(0 AS DECIMAL({schema.field('volume').type.precision}, {AMOUNT_SCALE}))"
    filled_values = {
        "window_end": "moment + $length",
        "window_date": f"CAST({floor_division('moment', '$day')} AS INTEGER)",
        "open_price": "close_price",
        "high_price": "close_price",
        "low_price": "close_price",
        "volume": zero,
        "trade_count": "0",
        "vwap": "NULL",
        "created_at": "NULL",
        "updated_at": "NULL",
        **dict.fromkeys(MEASURES, "NULL"),
    }
    return {
        # `moment` equals window_start in stored candles, so no CASE is needed.
        "window_start": "moment AS window_start",
        **{name: f"CASE WHEN filled THEN {value} ELSE {name} END AS {name}" for name, value in filled_values.items()},
    }


def sorted_candles(candles: pa.Table, newest: int | None) -> pa.Table:
    """Return the candles, or the newest windows of each series, sorted by symbol, exchange and window_start."""
    query = _SORT.format(columns=", ".join(candles.column_names))
    return _query(query, candles, {"newest": newest}).cast(candles.schema)


def windows_to_fill(
    timeframe: Timeframe, start: datetime | None, end: datetime | None, newest_start: int | None
) -> tuple[int | None, int | None]:
    """Return the first and the last window start to fill, in microseconds; None for those of the candles.

    `newest_start` is the start of the newest candle of the table.
    """
    # Whole numbers: times near the years 1 and 9999 cannot be rounded as datetime.
    length = timeframe.microseconds
    first = None if start is None else -(-to_microseconds(start) // length) * length
    if end is None or newest_start is None:
        return first, None
    return first, min((to_microseconds(end) - 1) // length * length, newest_start)


def fill_windows(
    candles: pa.Table, timeframe: Timeframe, first: int | None, last: int | None, newest: int | None
) -> pa.Table:
    """Return the candles with the windows from first to last that have no trades, sorted by series.

    `candles` may contain one candle before `first` for each series: its close fills the first windows.
    """
    expressions = _fill_expressions(candles.schema)
    query = _FILL.format(columns=", ".join(expressions.get(name, name) for name in candles.column_names))
    values = {
        "first": first,
        "last": last,
        "newest": newest,
        "length": timeframe.microseconds,
        "day": DAY // MICROSECOND,
    }
    return _query(query, candles, values).cast(candles.schema.append(pa.field("filled", pa.bool_())))


def _query(query: str, candles: pa.Table, values: dict[str, Any]) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("candles", candles.cast(integer_times(candles.schema)))
        return connection.sql(query, params=values).to_arrow_table()


def integer_times(schema: pa.Schema) -> pa.Schema:
    """Return a schema with integers in place of times and dates."""

    def integer_type(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.int64()
        return pa.int32() if pa.types.is_date32(kind) else kind

    return pa.schema([(field.name, integer_type(field.type)) for field in schema])

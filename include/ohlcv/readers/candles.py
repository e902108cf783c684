"""Candles for readers: pyiceberg finds and reads the files, DuckDB fills and sorts. No JVM, and nothing is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    LessThan,
    LessThanOrEqual,
    LiteralPredicate,
    Or,
)
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import hours_filter, load_table, open_catalog
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import (
    EPOCH,
    MICROSECOND,
    Range,
    ceil_time,
    floor_time,
    from_microseconds,
    hours_touched,
    iso,
    to_microseconds,
)
from ohlcv.model.table_contracts import AMOUNT_SCALE, TRADES, candles_contract
from ohlcv.model.timeframes import DAY, Timeframe

# How far a reader looks for a series that is quiet: a month of daily partitions, two and a half years of
# monthly ones. Without a bound, a series with one candle too few would cost a read of the whole table.
LOOKBACK_PARTITIONS = 31

# What an answer can do about windows without trades.
Fill = Literal["previous"]
# A symbol on an exchange.
Series = tuple[str, str]


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
) -> pa.Table:
    """Read the candles with start <= window_start < end, sorted by symbol, exchange and window_start.

    `newest` keeps that many windows of each series. Without `start` it reads the newest partitions only, and
    leaves out series without a candle in the newest 31.

    `fill="previous"` adds the windows without trades at the previous close, and a column `filled` that tells them
    apart. It goes from the series' first candle to its last one. With `start` it begins there, at the close of the
    candle before, if the 31 partitions before hold one; with `end` it goes on up to there, though never past the
    newest candle of the table: what is not built yet is not known to be without trades.
    """
    _check_request(start, end, newest, fill)
    table = load_table(open_catalog(settings), candles_contract(timeframe))
    of_series = _series_condition(symbol, exchange)
    condition = And(of_series, _time_condition(start, end))
    if newest is not None and start is None:
        candles = _newest_candles(table, timeframe, condition, _only_series(symbol, exchange), newest)
    else:
        candles = _read(table, condition)
    if fill is None:
        return _sorted(candles, newest)

    if start is not None:
        before = And(of_series, _time_condition(None, start))
        previous = _newest_candles(table, timeframe, before, _only_series(symbol, exchange), 1)
        candles = pa.concat_tables([previous, candles])
    first = None if start is None else to_microseconds(ceil_time(start, timeframe.length))
    last = None
    if end is not None and (newest_start := newest_window(table, timeframe)) is not None:
        last = min(to_microseconds(floor_time(end - MICROSECOND, timeframe.length)), newest_start)
    return _filled(candles, timeframe, first, last, newest)


def recent_series(settings: Settings, timeframe: Timeframe) -> list[Series]:
    """Name each (symbol, exchange) with a candle in the newest 31 partitions."""
    table = load_table(open_catalog(settings), candles_contract(timeframe))
    return sorted(_recent_series(table, timeframe, AlwaysTrue(), _partitions(table, AlwaysTrue())))


def newest_candle_end(settings: Settings, timeframe: Timeframe) -> datetime | None:
    """Give the end of the newest candle of all series, None while there is none."""
    start = newest_window(load_table(open_catalog(settings), candles_contract(timeframe)), timeframe)
    return None if start is None else EPOCH + start * MICROSECOND + timeframe.length


def newest_trade(settings: Settings, span: Range | None = None) -> datetime | None:
    """Give the time of the newest trade that may reach a candle, of all or in a span; None while there is none."""
    table = load_table(open_catalog(settings), TRADES)
    sound = "price > 0 AND quantity > 0"
    if span is not None:
        sound += f" AND timestamp >= {to_microseconds(span.start)} AND timestamp < {to_microseconds(span.end)}"
    hours = {task.file.partition[0] * 24 + task.file.partition[1] for task in table.scan().plan_files()}
    if span is not None:
        hours &= hours_touched([span])
    # The newest hour first: mostly that is all there is to read.
    for hour in sorted(hours, reverse=True):
        rows = table.scan(f"({hours_filter({hour})}) AND {sound}", selected_fields=("timestamp",)).to_arrow()
        newest: int | None = pc.max(rows["timestamp"]).as_py()
        if newest is not None:
            return from_microseconds(newest)
    return None


def _check_request(start: datetime | None, end: datetime | None, newest: int | None, fill: str | None) -> None:
    if any(time is not None and time.tzinfo is None for time in (start, end)):
        raise ValueError("start and end must name their zone")
    if start is not None and end is not None and start >= end:
        raise InputError(f"start {iso(start)} must be before end {iso(end)}")
    if newest is not None and newest < 1:
        raise InputError(f"the number of newest windows must be 1 or more, not {newest}")
    if fill is not None and fill not in get_args(Fill):
        raise InputError(f"unknown fill '{fill}': choose {', '.join(get_args(Fill))}")


# Which rows. The conditions are pyiceberg's row filter: it prunes by partition and by the files' column bounds.


def _compare(predicate: type[LiteralPredicate], column: str, value: object) -> BooleanExpression:
    # By way of the base class: to mypy, the predicates themselves take what pydantic would make of their fields.
    return predicate(column, value)


def _series_condition(symbol: str | None, exchange: str | None) -> BooleanExpression:
    condition: BooleanExpression = AlwaysTrue()
    if symbol is not None:
        condition = And(condition, _compare(EqualTo, "symbol", symbol))
    if exchange is not None:
        condition = And(condition, _compare(EqualTo, "exchange", exchange))
    return condition


def _time_condition(start: datetime | None, end: datetime | None) -> BooleanExpression:
    # `window_date` is what the tables are partitioned by; `window_start` alone would prune nothing.
    condition: BooleanExpression = AlwaysTrue()
    if start is not None:
        start = start.astimezone(UTC)
        condition = And(
            condition,
            _compare(GreaterThanOrEqual, "window_date", start.date()),
            _compare(GreaterThanOrEqual, "window_start", start),
        )
    if end is not None:
        end = end.astimezone(UTC)
        condition = And(
            condition,
            _compare(LessThanOrEqual, "window_date", (end - MICROSECOND).date()),
            _compare(LessThan, "window_start", end),
        )
    return condition


def _any_of(series: set[Series]) -> BooleanExpression:
    conditions = [_series_condition(symbol, exchange) for symbol, exchange in sorted(series)]
    return conditions[0] if len(conditions) == 1 else Or(*conditions)


def _partition_condition(timeframe: Timeframe, partitions: Sequence[int]) -> BooleanExpression:
    return And(
        _compare(GreaterThanOrEqual, "window_date", timeframe.partition_start(min(partitions))),
        _compare(LessThan, "window_date", timeframe.partition_start(max(partitions) + 1)),
    )


# What is read.


def _schema(table: Table) -> pa.Schema:
    # Without the field numbers of pyiceberg's own schema, which would keep an answer from equalling a reader's table.
    return pa.schema([(field.name, field.type) for field in table.schema().as_arrow()])


def _read(table: Table, condition: BooleanExpression, columns: Sequence[str] | None = None) -> pa.Table:
    schema = _schema(table)
    names = columns or schema.names
    rows = table.scan(row_filter=condition, selected_fields=tuple(names)).to_arrow()
    return rows.select(names).cast(pa.schema([schema.field(name) for name in names]))


def _partitions(table: Table, condition: BooleanExpression) -> list[int]:
    """Number the partitions with files that may hold such rows, the newest first; opens no data file."""
    files = table.scan(row_filter=condition).plan_files()
    return sorted({task.file.partition[0] for task in files}, reverse=True)


def _newest_candles(
    table: Table, timeframe: Timeframe, condition: BooleanExpression, only: Series | None, count: int
) -> pa.Table:
    """Read partitions from the newest back until every series has its number of candles; some get more."""
    partitions = _partitions(table, condition)
    missing = {only} if only else _recent_series(table, timeframe, condition, partitions)
    found: Counter[Series] = Counter()
    parts = [_schema(table).empty_table()]
    # Reading ever more partitions at once keeps the number of scans small: each one plans anew.
    step, quiet = 1, 0
    while partitions and missing and quiet < LOOKBACK_PARTITIONS:
        some, partitions = partitions[:step], partitions[step:]
        rows = _read(table, And(condition, _partition_condition(timeframe, some), _any_of(missing)))
        parts.append(rows)
        found.update(_count_by_series(rows))
        missing = {series for series in missing if found[series] < count}
        quiet = 0 if len(rows) else quiet + len(some)
        step = min(2 * step, LOOKBACK_PARTITIONS - quiet)
    return pa.concat_tables(parts)


def _recent_series(
    table: Table, timeframe: Timeframe, condition: BooleanExpression, partitions: Sequence[int]
) -> set[Series]:
    # The newest partition alone would lose every series that has not traded since midnight.
    recent = partitions[:LOOKBACK_PARTITIONS]
    if not recent:
        return set()
    # Two columns of few different values: next to nothing of the files' bytes.
    rows = _read(table, And(condition, _partition_condition(timeframe, recent)), ("symbol", "exchange"))
    return set(_count_by_series(rows))


def newest_window(table: Table, timeframe: Timeframe) -> int | None:
    """Give the start of the newest candle of all series, in microseconds."""
    # The files' column bounds would do, but for rows that were deleted.
    for partition in _partitions(table, AlwaysTrue()):
        rows = _read(table, _partition_condition(timeframe, [partition]), ("window_start",))
        if len(rows):
            newest: int = pc.max(rows["window_start"].cast(pa.int64())).as_py()
            return newest
    return None


def _only_series(symbol: str | None, exchange: str | None) -> Series | None:
    return None if symbol is None or exchange is None else (symbol, exchange)


def _count_by_series(rows: pa.Table) -> dict[Series, int]:
    counts = rows.group_by(["symbol", "exchange"]).aggregate([([], "count_all")])
    return {(row["symbol"], row["exchange"]): row["count_all"] for row in counts.to_pylist()}


# What DuckDB makes of it. It sees times and dates as integers: its timestamptz depends on a session's zone.

_SORT = """
    SELECT {columns}
    FROM candles
    QUALIFY $newest IS NULL
        OR row_number() OVER (PARTITION BY symbol, exchange ORDER BY window_start DESC) <= $newest
    ORDER BY symbol, exchange, window_start
"""

# `candles` may hold a candle before `$first` for each series: its close is what the first windows are filled with.
_FILL = """
    WITH spans AS (
        SELECT symbol, exchange,
            greatest(min(window_start), coalesce($first, min(window_start))) AS first_start,
            coalesce($last, max(window_start)) AS last_start
        FROM candles
        GROUP BY symbol, exchange
    ),
    trimmed AS (
        SELECT symbol, exchange, last_start,
            greatest(first_start, coalesce(last_start - ($newest - 1) * $length, first_start)) AS first_start
        FROM spans
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
    # The zero is typed: a plain one could make DuckDB choose another type for the column than the table's.
    zero = f"CAST(0 AS DECIMAL({schema.field('volume').type.precision}, {AMOUNT_SCALE}))"
    instead = {
        "window_end": "moment + $length",
        "window_date": "CAST(moment // $day AS INTEGER)",
        "open_price": "close_price",
        "high_price": "close_price",
        "low_price": "close_price",
        "volume": zero,
        "trade_count": "0",
        "vwap": "NULL",
        "created_at": "NULL",
        "updated_at": "NULL",
    }
    return {
        # A candle that is there has its own start at `moment`, so that one needs no choice.
        "window_start": "moment AS window_start",
        **{name: f"CASE WHEN filled THEN {value} ELSE {name} END AS {name}" for name, value in instead.items()},
    }


def _sorted(candles: pa.Table, newest: int | None) -> pa.Table:
    query = _SORT.format(columns=", ".join(candles.column_names))
    return _query(query, candles, {"newest": newest}).cast(candles.schema)


def _filled(
    candles: pa.Table, timeframe: Timeframe, first: int | None, last: int | None, newest: int | None
) -> pa.Table:
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
        connection.register("candles", candles.cast(_integer_times(candles.schema)))
        return connection.sql(query, params=values).to_arrow_table()


def _integer_times(schema: pa.Schema) -> pa.Schema:
    def plain(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.int64()
        return pa.int32() if pa.types.is_date32(kind) else kind

    return pa.schema([(field.name, plain(field.type)) for field in schema])

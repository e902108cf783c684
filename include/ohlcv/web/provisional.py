"""Provisional candles: windows newer than the newest stored one, computed from raw trades as the validation does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.model.intervals import EPOCH, HOUR, floor_time, from_microseconds
from ohlcv.model.source_hours import hour_number, hour_range
from ohlcv.model.table_contracts import AMOUNT_LIMIT, AMOUNT_SCALE, MEASURES
from ohlcv.model.timeframes import Timeframe, get_timeframe
from ohlcv.quality.recomputation import Recomputation, common_step
from ohlcv.web.candle_query import CandleQuery, CandleReader
from ohlcv.web.file_decoder import read_batches
from ohlcv.web.table_index import FileKey, IndexedFile, TableIndex

# Only trades of the newest hours are read, and fewer hours if they have more candles (about 25 MB).
_MAX_HOURS = 48
_MAX_CANDLES = 150_000
# DuckDB writes what needs more memory to temporary files.
_MEMORY = "128m"

# The hours from which longer candles are combined, whether or not their table is enabled.
HOURLY = get_timeframe("1h")

_WIDE = pa.decimal128(38, AMOUNT_SCALE)
_AMOUNTS = ("open_price", "high_price", "low_price", "close_price", "volume", "vwap")
# Columns of a computed candle; the others follow from them or are null.
_COMPUTED = pa.schema(
    [
        ("symbol", pa.string()),
        ("exchange", pa.string()),
        ("window_start", pa.timestamp("us", "UTC")),
        *((name, _WIDE) for name in _AMOUNTS),
        ("trade_count", pa.int64()),
    ]
)


@dataclass(frozen=True, eq=False)
class Provisional:
    """Candles of one series, computed from a trades snapshot. created_at and updated_at are null, vwap may be."""

    # None if there are no trades.
    trades_snapshot: int | None
    computed_at: datetime
    # Columns of the index; sorted by window_start. Measures are null.
    table: pa.Table


@dataclass(frozen=True)
class _Request:
    """A series, and what its provisional candles are computed from."""

    symbol: str
    exchange: str
    trades: TableIndex
    # Hours with trades, in order.
    hours: list[int]
    now: datetime


@dataclass(frozen=True)
class _Candles:
    """Candles of all series from an hour on."""

    # Trades snapshot and first hour that the computation was to include.
    basis: tuple[int | None, int]
    # The first hour that it includes. Hours without trades are not listed.
    first_hour: int
    computed_at: datetime
    # The candles of each hour with the files that they were computed from.
    hours: Mapping[int, tuple[frozenset[FileKey], pa.Table]]


@dataclass
class _Newest:
    """The last computation of a timeframe."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    candles: _Candles | None = None


class ProvisionalCandles:
    """Provisional candles of all timeframes, computed once for each trades snapshot."""

    def __init__(
        self,
        readers: Mapping[str, CandleReader],
        candles: Callable[[Timeframe], TableIndex | None],
        trades: Callable[[], TableIndex | None],
    ) -> None:
        """`candles` and `trades` return the current indexes."""
        self._readers = readers
        self._candles = candles
        self._trades = trades
        self._newest = {name: _Newest() for name in readers}

    def candles(
        self, timeframe: Timeframe, index: TableIndex, symbol: str, exchange: str, now: datetime
    ) -> Provisional:
        """Return the candles of a series that are newer than its newest stored one, the incomplete one included."""
        trades = self._trades()
        hours = [] if trades is None else _hours(trades, now)
        if trades is None or not hours:
            return Provisional(None if trades is None else trades.snapshot_id, now, index.schema.empty_table())
        request = _Request(symbol, exchange, trades, hours, now)
        computed, rows = (self._from_trades if timeframe.length <= HOUR else self._from_hours)(
            timeframe, index, request
        )
        fitting = rows.filter(pc.field("volume") < pa.scalar(_volume_limit(index), _WIDE))
        return Provisional(trades.snapshot_id, computed.computed_at, _complete(fitting, timeframe, index.schema))

    def _from_trades(self, timeframe: Timeframe, index: TableIndex, request: _Request) -> tuple[_Candles, pa.Table]:
        computed = self._all_series(timeframe, index, request)
        condition = (pc.field("symbol") == request.symbol) & (pc.field("exchange") == request.exchange)
        newest = self._newest_window(timeframe, index, request)
        if newest is not None:
            condition &= pc.field("window_start") > newest
        rows = pa.concat_tables(
            [_COMPUTED.empty_table(), *(table.filter(condition) for _, table in computed.hours.values())]
        )
        return computed, rows.sort_by("window_start")

    def _from_hours(self, timeframe: Timeframe, index: TableIndex, request: _Request) -> tuple[_Candles, pa.Table]:
        """Combine stored and provisional candles of one hour. Windows with an hour in neither of them are left out."""
        hourly = self._candles(HOURLY)
        # Without its table, every hour is computed from trades.
        computed, provisional = self._from_trades(HOURLY, hourly or index, request)
        reader = self._readers[HOURLY.name]
        first = floor_time(hour_range(request.hours[-1]).start, timeframe.length) - timeframe.length
        newest = self._newest_window(timeframe, index, request)
        if newest is not None:
            first = max(first, newest + timeframe.length)
        read_from = hour_range(computed.first_hour).start
        stored_until = EPOCH
        tables = [provisional.filter(pc.field("window_start") >= first)]
        if hourly is not None:
            query = CandleQuery(request.symbol, request.exchange, start=first)
            tables.insert(0, reader.page(hourly, query).table.select(_COMPUTED.names).cast(_COMPUTED))
            stored_until = from_microseconds(reader.newest_window(hourly) or 0) + HOUR
        combined = []
        for start, rows in _by_window(pa.concat_tables(tables), timeframe):
            if max(start, stored_until) >= min(read_from, start + timeframe.length):
                combined.append(_combine(rows, start))
        return computed, pa.concat_tables([_COMPUTED.empty_table(), *combined])

    def _newest_window(self, timeframe: Timeframe, index: TableIndex, request: _Request) -> datetime | None:
        query = CandleQuery(request.symbol, request.exchange, newest=1)
        page = self._readers[timeframe.name].page(index, query).table
        newest: datetime | None = page["window_start"][0].as_py() if len(page) else None
        return newest

    def _all_series(self, timeframe: Timeframe, index: TableIndex, request: _Request) -> _Candles:
        """Return the candles of all series from the newest stored window on."""
        stored = self._readers[timeframe.name].newest_window(index)
        first_hour = request.hours[-1] - _MAX_HOURS + 1
        if stored is not None:
            first_hour = max(first_hour, hour_number(from_microseconds(stored)))
        state = self._newest[timeframe.name]
        with state.lock:
            known = state.candles
            if known is None or known.basis != (request.trades.snapshot_id, first_hour):
                known = state.candles = _compute_hours(timeframe, request, first_hour, known)
            return known


def _hours(trades: TableIndex, now: datetime) -> list[int]:
    """Return the newest hours with trades, not after now, in order."""
    present = hour_number(now)
    past = [file.hours for file in trades.files if file.hours and file.hours[0] <= present]
    if not past:
        return []
    newest = max(min(hours[-1], present) for hours in past)
    first = newest - _MAX_HOURS + 1
    return sorted({hour for hours in past for hour in range(max(first, hours.start), min(newest + 1, hours.stop))})


def _compute_hours(timeframe: Timeframe, request: _Request, first_hour: int, known: _Candles | None) -> _Candles:
    """Compute the hours whose files have changed, the newest first. Hours of the same files are computed together."""
    newest_first = [each for each in reversed(request.hours) if each >= first_hour]
    files = {hour: [file for file in request.trades.files if hour in file.hours] for hour in newest_first}
    hours: dict[int, tuple[frozenset[FileKey], pa.Table]] = {}
    included = first_hour
    for keys, members in groupby(newest_first, lambda hour: frozenset(file.key for file in files[hour])):
        if sum(len(table) for _, table in hours.values()) > _MAX_CANDLES:
            included = min(hours)
            break
        group = list(members)
        if known is not None and all(known.hours.get(hour, (None, None))[0] == keys for hour in group):
            hours |= {hour: known.hours[hour] for hour in group}
        else:
            rows = _compute(timeframe, request.trades, files[group[0]], group)
            hours |= {hour: (keys, rows.filter(_in_hour(hour))) for hour in group}
    return _Candles((request.trades.snapshot_id, first_hour), included, request.now, hours)


def _in_hour(hour: int) -> pc.Expression:
    span = hour_range(hour)
    return (pc.field("window_start") >= span.start) & (pc.field("window_start") < span.end)


def _compute(timeframe: Timeframe, trades: TableIndex, files: list[IndexedFile], hours: list[int]) -> pa.Table:
    """Return the candles of all series in some hours."""
    ranges = list(map(hour_range, hours))
    with Recomputation(ranges, common_step([timeframe]), _MEMORY) as recomputation:
        batches = (batch for file in files for batch in read_batches(trades, file, trades.trades.columns))
        recomputation.add_chunk(trades.trades, hours, batches)
        recomputation.create_expected(timeframe, ranges)
        names = ", ".join(_COMPUTED.names)
        # Larger numbers are not a decimal of Arrow. Without its vwap, a candle is withheld.
        rows = recomputation.connection.sql(
            f"SELECT {names} FROM expected WHERE volume < {10**38} AND vwap IS NOT NULL"
        ).to_arrow_table()
    return pa.table([_converted(rows[each.name].combine_chunks(), each.type) for each in _COMPUTED], schema=_COMPUTED)


def _converted(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return values of the recomputation with the type of a column."""
    if not pa.types.is_decimal(kind):
        return values.cast(kind)
    # Whole numbers of 10^-8: only the scale of the type changes.
    whole = values.cast(pa.decimal128(38, 0))
    return pa.Array.from_buffers(kind, len(whole), whole.buffers(), whole.null_count, whole.offset)


def _by_window(rows: pa.Table, timeframe: Timeframe) -> list[tuple[datetime, pa.Table]]:
    """Return sorted rows by the window of a longer timeframe."""
    starts = rows["window_start"].cast(pa.int64()).to_numpy() // timeframe.microseconds * timeframe.microseconds
    windows = [(int(start), len(list(members))) for start, members in groupby(starts)]
    ends = np.cumsum([count for _, count in windows])
    return [
        (from_microseconds(start), rows.slice(int(end) - count, count))
        for (start, count), end in zip(windows, ends, strict=True)
    ]


def _combine(rows: pa.Table, start: datetime) -> pa.Table:
    """Return the candle of one window from its sorted candles of one hour."""
    values = {
        "symbol": rows["symbol"][0],
        "exchange": rows["exchange"][0],
        "window_start": pa.scalar(start, pa.timestamp("us", "UTC")),
        "open_price": rows["open_price"][0],
        "high_price": pc.max(rows["high_price"]),
        "low_price": pc.min(rows["low_price"]),
        "close_price": rows["close_price"][len(rows) - 1],
        "volume": pc.sum(rows["volume"]),
        "vwap": pa.scalar(None, _WIDE),
        "trade_count": pc.sum(rows["trade_count"]),
    }
    return pa.table([pa.array([values[each.name].as_py()], each.type) for each in _COMPUTED], schema=_COMPUTED)


def _complete(rows: pa.Table, timeframe: Timeframe, schema: pa.Schema) -> pa.Table:
    """Return computed candles with all columns of a schema."""
    starts = rows["window_start"].cast(pa.int64())
    nulls = {name: pa.nulls(len(rows)) for name in ("created_at", "updated_at", *MEASURES)}
    columns = (
        {name: rows[name] for name in rows.column_names}
        | nulls
        | {
            "window_end": pc.add(starts, timeframe.microseconds).cast(pa.timestamp("us", "UTC")),
            "window_date": rows["window_start"].cast(pa.date32()),
        }
    )
    return pa.table([columns[name] for name in schema.names], names=schema.names).cast(schema)


def _volume_limit(index: TableIndex) -> Decimal:
    """Return a volume that the column does not hold. A column of 38 digits holds every computed volume."""
    limit = 10**38 - 1 if index.schema.field("volume").type.precision > 18 else AMOUNT_LIMIT
    return Decimal(f"{limit}E-{AMOUNT_SCALE}")

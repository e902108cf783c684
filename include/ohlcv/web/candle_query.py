"""Selection of stored candles by range, series, key and time of change, from the cached columns of data files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.model.errors import InputError
from ohlcv.model.intervals import MICROSECOND, iso, to_microseconds
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.candles import Fill, fill_windows, windows_to_fill
from ohlcv.readers.latest import LOOKBACK_PARTITIONS
from ohlcv.web.file_cache import DecodedRows, FileCache
from ohlcv.web.file_decoder import KEY_COLUMNS, WHOLE, Part, dictionary_schema, sorted_rows
from ohlcv.web.file_groups import FileGroup, Span, file_groups, slice_of_file, slices
from ohlcv.web.table_index import IndexedFile, TableIndex

# (window_start, symbol, exchange) of a candle: its place in the order of the pages.
PageKey = tuple[datetime, str, str]

_BATCH_ROWS = 32_768


@dataclass(frozen=True)
class CandleQuery:
    """A selection of candles. None means unbounded or any. Times have a time zone."""

    symbol: str | None = None
    exchange: str | None = None
    # start <= window_start < end
    start: datetime | None = None
    end: datetime | None = None
    # Number of newest windows before `end`. Needs symbol and exchange; not with start, limit and after.
    newest: int | None = None
    # updated_at >= updated_since
    updated_since: datetime | None = None
    # "previous" needs symbol, exchange, start and end; not with newest and updated_since.
    fill: Fill | None = None
    # Candles per page. None: all.
    limit: int | None = None
    # Only candles after this key.
    after: PageKey | None = None
    # Whether the candles have their measures. The table must be extended.
    measures: bool = False

    def __post_init__(self) -> None:
        if any(time is not None and time.tzinfo is None for time in (self.start, self.end, self.updated_since)):
            raise ValueError("times must have a time zone")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise InputError(f"start {iso(self.start)} must be before end {iso(self.end)}")
        for name, number in (("newest", self.newest), ("limit", self.limit)):
            if number is not None and number < 1:
                raise InputError(f"{name} must be 1 or more, not {number}")
        if (self.newest or self.fill) and not self.part.is_series:
            raise InputError(f"{'newest' if self.newest else 'fill'} needs a symbol and an exchange: add them")
        if self.newest and (self.start or self.limit or self.after):
            raise InputError("newest cannot be combined with start, limit or a cursor: remove one of them")
        if self.fill and (self.start is None or self.end is None):
            raise InputError("fill needs start and end: add them")
        if self.fill and (self.newest or self.updated_since):
            raise InputError("fill cannot be combined with newest or updated_since: remove one of them")

    @property
    def part(self) -> Part:
        """Return the part of a file to keep in the cache."""
        # All series of an exchange are too many for one part.
        return WHOLE if self.symbol is None else Part(self.symbol, self.exchange)


@dataclass(frozen=True, eq=False)
class CandlePage:
    """Candles in the order window_start, symbol, exchange, and the key of the last one if more follow."""

    table: pa.Table
    next_key: PageKey | None
    index: TableIndex


class CandleReader:
    """Pages and batches of candles of one timeframe, read through the cache."""

    def __init__(self, cache: FileCache, timeframe: Timeframe) -> None:
        self._cache = cache
        self._timeframe = timeframe

    def page(self, index: TableIndex, query: CandleQuery) -> CandlePage:
        """Return one page. It has more than `limit` candles only if several have the key of the last one."""
        tables = self._tables_of(index, query)
        if query.limit is None:
            return CandlePage(_complete(tables, index, query), None, index)
        found: list[pa.Table] = []
        missing, more_follow = query.limit, False
        for table in tables:
            size = _page_size(table, missing)
            found.append(table.slice(0, size))
            missing -= size
            if more_follow := size < len(table):
                break
        page = _complete(found, index, query)
        return CandlePage(page, _last_key(page) if more_follow else None, index)

    def batches(self, index: TableIndex, query: CandleQuery) -> Iterator[pa.RecordBatch]:
        """Return all candles in the order of the pages, in batches. Memory holds the rows of one slice of files."""
        query = replace(query, limit=None)
        for table in self._tables_of(index, query):
            for first in range(0, len(table), _BATCH_ROWS):
                yield from _complete([table.slice(first, _BATCH_ROWS)], index, query).to_batches()

    def count(self, index: TableIndex, query: CandleQuery, series: int | None) -> int:
        """Return an upper bound of the number of candles, from metadata.

        `series`: number of series that the query selects, None if unknown.
        """
        total = 0
        for group in file_groups(matching_files(index, self._timeframe, query), self._timeframe):
            rows = sum(file.rows for file in group.files)
            if series is not None and group.low is not None and group.high is not None:
                low = group.low if query.start is None else max(group.low, to_microseconds(query.start))
                high = group.high if query.end is None else min(group.high, to_microseconds(query.end) - 1)
                rows = min(rows, max(0, (high - low) // self._timeframe.microseconds + 1) * series)
            total += rows
        return total if query.newest is None else min(total, query.newest)

    def newest_window(self, index: TableIndex) -> int | None:
        """Return the start of the newest candle of all series in microseconds, or None if there is none."""
        dated = (file for file in index.files if file.partition is not None)
        for _, files in groupby(dated, lambda file: file.partition):
            newest = [start for file in files if (start := self._newest_start(index, file)) is not None]
            if newest:
                return max(newest)
        return None

    def _newest_start(self, index: TableIndex, file: IndexedFile) -> int | None:
        # Bounds of times are exact, except those of rows that a delete file has deleted.
        if "window_start" in file.bounds and not file.task.delete_files:
            return int(file.bounds["window_start"][1])
        (group,) = file_groups([file], self._timeframe)
        for first, _ in reversed(slices(group, self._timeframe, self._cache.is_large)):
            starts = self._rows(index, file, WHOLE, first).starts
            if len(starts):
                return int(starts[-1])
        return None

    def _tables_of(self, index: TableIndex, query: CandleQuery) -> Iterable[pa.Table]:
        """Return the rows of a query in order. Each table contains all rows of its windows."""
        if query.newest is not None:
            return [self._newest(index, query, query.newest)]
        if query.fill is not None:
            return [self._filled(index, query)]
        return self._tables(index, query)

    def _filled(self, index: TableIndex, query: CandleQuery) -> pa.Table:
        before = CandleQuery(query.symbol, query.exchange, end=query.start, newest=1)
        stored = replace(query, fill=None, after=None, limit=None)
        tables = [self._newest(index, before, 1), *self._tables(index, stored)]
        first, last = windows_to_fill(self._timeframe, query.start, query.end, self.newest_window(index))
        filled = fill_windows(_complete(tables, index, stored), self._timeframe, first, last, None)
        return filled if query.after is None else filled.slice(_position_after(filled, query, query.after))

    def _newest(self, index: TableIndex, query: CandleQuery, count: int) -> pa.Table:
        """Return the newest candles of a series: files are read backwards until the search limit is reached."""
        dated = [file for file in matching_files(index, self._timeframe, query) if file.partition is not None]
        found: list[pa.Table] = []
        rows = without_rows = 0
        for group in reversed(file_groups(dated, self._timeframe)):
            table = self._group_rows(index, query, group, (None, None))
            found.append(table)
            rows += len(table)
            without_rows = 0 if len(table) else without_rows + len({file.partition for file in group.files})
            if rows >= count or without_rows >= LOOKBACK_PARTITIONS:
                break
        tables = [_part_schema(index, query.part).empty_table(), *reversed(found)]
        table = pa.concat_tables(tables)
        return table.slice(max(0, len(table) - count))

    def _tables(self, index: TableIndex, query: CandleQuery) -> Iterator[pa.Table]:
        for group in file_groups(matching_files(index, self._timeframe, query), self._timeframe):
            whole: list[Span] = [(None, None)]
            spans = whole if query.symbol is not None else slices(group, self._timeframe, self._cache.is_large)
            for span in spans:
                if _overlaps(span, query):
                    yield self._group_rows(index, query, group, span)

    def _group_rows(self, index: TableIndex, query: CandleQuery, group: FileGroup, span: Span) -> pa.Table:
        """Return the matching rows of a group in a slice, sorted; only as many as a page may need."""
        found = []
        for file in group.files:
            table = _matching_rows(self._rows(index, file, query.part, span[0]), query, span)
            if query.limit is not None and len(table) > query.limit + 1:
                table = table.slice(0, _page_size(table, query.limit + 1))
            if len(table):
                found.append(table)
        if len(found) == 1:
            return found[0]
        table = pa.concat_tables([_part_schema(index, query.part).empty_table(), *found])
        return sorted_rows(table) if found else table

    def _rows(self, index: TableIndex, file: IndexedFile, part: Part, first: int | None) -> DecodedRows:
        if part == WHOLE and self._cache.is_large(file):
            low, end = slice_of_file(file, self._timeframe, first)
            part = Part(first=low, end=end)
        return self._cache.rows(index, file, part)


def matching_files(index: TableIndex, timeframe: Timeframe, query: CandleQuery) -> list[IndexedFile]:
    """Return the files that may have matching rows, by partition and bounds."""
    first_day, last_day = _days(query)
    first = None if first_day is None else timeframe.partition_number(first_day)
    last = None if last_day is None else timeframe.partition_number(last_day)
    low, high = _start(query), None if query.end is None else to_microseconds(query.end) - 1
    since = None if query.updated_since is None else to_microseconds(query.updated_since)

    def is_in_partitions(number: int | None) -> bool:
        if number is None:
            # Rows without a date are in no range.
            return first is None and last is None
        return (first is None or number >= first) and (last is None or number <= last)

    return [
        file
        for file in index.files
        if is_in_partitions(file.partition)
        and file.may_contain("window_start", low, high)
        and file.may_contain("symbol", query.symbol, query.symbol)
        and file.may_contain("exchange", query.exchange, query.exchange)
        and file.may_contain("updated_at", since, None)
    ]


def _start(query: CandleQuery) -> int | None:
    """Return the first window start that can match, in microseconds."""
    times = [to_microseconds(time) for time in (query.start, query.after and query.after[0]) if time is not None]
    return max(times, default=None)


def _days(query: CandleQuery) -> tuple[date | None, date | None]:
    """Return the first and the last window_date of the range, like readers.scans.time_condition."""
    first = None if query.start is None else query.start.astimezone(UTC).date()
    if query.end is None:
        return first, None
    end = query.end.astimezone(UTC)
    return first, end.date() if end.date() == date.min else (end - MICROSECOND).date()


def _overlaps(span: Span, query: CandleQuery) -> bool:
    first, end = span
    start = _start(query)
    return (end is None or start is None or start < end) and (
        first is None or query.end is None or to_microseconds(query.end) > first
    )


def _matching_rows(rows: DecodedRows, query: CandleQuery, span: Span) -> pa.Table:
    """Return the rows of a slice that match a query, in their order."""
    low = max((time for time in (span[0], _start(query)) if time is not None), default=None)
    high = None if query.end is None else to_microseconds(query.end)
    high = min((time for time in (span[1], high) if time is not None), default=None)
    first = 0 if low is None else int(np.searchsorted(rows.starts, low))
    end = len(rows.starts) if high is None else int(np.searchsorted(rows.starts, high))
    table = rows.table.slice(first, max(0, end - first))
    if query.after is not None and len(table):
        table = table.slice(_position_after(table, query, query.after))
    conditions = []
    if not rows.dates_match:
        first_day, last_day = _days(query)
        if first_day is not None:
            conditions.append(pc.field("window_date") >= first_day)
        if last_day is not None:
            conditions.append(pc.field("window_date") <= last_day)
    if query.symbol is None and query.exchange is not None:
        conditions.append(pc.field("exchange") == query.exchange)
    if query.updated_since is not None:
        conditions.append(pc.field("updated_at") >= query.updated_since)
    for condition in conditions:
        table = table.filter(condition)
    return table


def _position_after(table: pa.Table, query: CandleQuery, key: PageKey) -> int:
    """Return the position of the first row after a key in sorted rows."""
    starts = pc.cast(table["window_start"].combine_chunks(), pa.int64()).to_numpy()
    time = to_microseconds(key[0])
    first, end = (int(np.searchsorted(starts, time, side)) for side in ("left", "right"))
    if query.part.is_series:
        return end if (query.symbol, query.exchange) <= key[1:] else first
    same_time = table.slice(first, end - first).select(KEY_COLUMNS).to_pydict()
    return first + bisect_right(list(zip(*same_time.values(), strict=True)), key[1:])


def _page_size(table: pa.Table, limit: int) -> int:
    """Return the number of rows of a page of sorted rows: the limit, and rows with the key of the last one."""
    size = min(limit, len(table))
    while 0 < size < len(table) and _last_key_values(table, size) == _last_key_values(table, size + 1):
        size += 1
    return size


def _last_key_values(table: pa.Table, size: int) -> tuple[object, ...]:
    names = [name for name in ("window_start", *KEY_COLUMNS) if name in table.column_names]
    return tuple(table[name][size - 1].as_py() for name in names)


def _last_key(page: pa.Table) -> PageKey:
    start, symbol, exchange = (page[name][len(page) - 1].as_py() for name in ("window_start", *KEY_COLUMNS))
    return start, symbol, exchange


def _part_schema(index: TableIndex, part: Part) -> pa.Schema:
    """Return the schema of the cached rows of a part."""
    schema = dictionary_schema(index.schema)
    return pa.schema([field for field in schema if not part.is_series or field.name not in KEY_COLUMNS])


def _complete(tables: Iterable[pa.Table], index: TableIndex, query: CandleQuery) -> pa.Table:
    """Return the rows of tables with the columns of the contract, each in one piece."""
    tables = list(tables)
    if tables and "filled" in tables[0].column_names:
        return pa.concat_tables(tables).combine_chunks()
    table = pa.concat_tables([_part_schema(index, query.part).empty_table(), *tables]).combine_chunks()
    if query.part.is_series:
        for position, value in enumerate((query.symbol, query.exchange)):
            name = index.schema.names[position]
            table = table.add_column(position, name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
    return table.cast(index.schema)

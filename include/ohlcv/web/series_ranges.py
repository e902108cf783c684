"""Series of each timeframe with their first and newest windows, from ranges that are cached per data file."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.model.intervals import from_microseconds
from ohlcv.readers.latest import LOOKBACK_PARTITIONS
from ohlcv.web.file_decoder import KEY_COLUMNS, TEXT, read_batches
from ohlcv.web.table_index import FileKey, IndexedFile, TableIndex

# Beyond the newest 31 partitions, files are read while the cached ranges have fewer rows (about 10 MB).
_MAX_ROWS = 400_000

_COLUMNS = (*KEY_COLUMNS, "window_start")
_RANGES = pa.schema([("symbol", TEXT), ("exchange", TEXT), ("first", pa.int64()), ("newest", pa.int64())])


@dataclass(frozen=True)
class SeriesRange:
    """A series with its first and newest window start."""

    symbol: str
    exchange: str
    first_window: datetime
    newest_window: datetime


class SeriesRanges:
    """Series of one candle table. One thread scans files; every thread may read the result."""

    def __init__(self) -> None:
        self._files: dict[FileKey, pa.Table] = {}
        # The files whose series are in the result.
        self._merged_files: set[FileKey] = set()
        self._result: list[SeriesRange] = []
        self._covers_all = False
        self._scanned = threading.Event()

    def ranges(self, wait: float) -> list[SeriesRange]:
        """Return the series, sorted. Wait some seconds for the first scan, then return what has been found."""
        self._scanned.wait(wait)
        return self._result

    @property
    def covers_all(self) -> bool:
        """Return whether the series of all files are known, not only those of the newest ones."""
        return self._covers_all

    def lacks(self, index: TableIndex, symbol: str, exchange: str) -> bool:
        """Return whether it is certain that a table has no such series: all its files have been scanned."""
        # In this order: the result is set before the files.
        if not self._merged_files.issuperset(file.key for file in index.files) or not self._scanned.is_set():
            return False
        return not any(each.symbol == symbol and each.exchange == exchange for each in self._result)

    def scan_next(self, index: TableIndex | None) -> bool:
        """Read the newest file that has not been read. Return False if there is none, and the result is up to date."""
        files = () if index is None else index.files
        cached = {file.key: rows for file in files if (rows := self._files.get(file.key)) is not None}
        missing = _next_file(files, cached)
        if index is not None and missing is not None:
            try:
                cached[missing.key] = _file_ranges(index, missing)
            except Exception:
                # Requests must not wait: they return the series of other files.
                self._scanned.set()
                raise
        self._files = cached
        if missing is not None:
            return True
        if self._merged_files != cached.keys():
            self._result = _merged(list(cached.values()))
            self._merged_files = set(cached)
        self._covers_all = len(cached) == len(files)
        self._scanned.set()
        return False


def _next_file(files: tuple[IndexedFile, ...], cached: dict[FileKey, pa.Table]) -> IndexedFile | None:
    partitions: set[int | None] = set()
    rows = 0
    for file in files:
        partitions.add(file.partition)
        if len(partitions) > LOOKBACK_PARTITIONS and rows >= _MAX_ROWS:
            return None
        if file.key not in cached:
            return file
        rows += len(cached[file.key])
    return None


def _file_ranges(index: TableIndex, file: IndexedFile) -> pa.Table:
    """Return the first and the newest window of each series of a file. These columns are a small part of it."""
    tables = []
    for batch in read_batches(index, file, _COLUMNS):
        rows = reduce(lambda table, name: table.filter(pc.field(name).is_valid()), _COLUMNS, batch)
        starts = rows["window_start"].cast(pa.int64())
        tables.append(pa.table([rows["symbol"], rows["exchange"], starts, starts], schema=_RANGES))
    return _grouped(tables)


def _grouped(tables: list[pa.Table]) -> pa.Table:
    rows = pa.concat_tables([_RANGES.empty_table(), *tables]).unify_dictionaries()
    grouped = rows.group_by(list(KEY_COLUMNS)).aggregate([("first", "min"), ("newest", "max")])
    return grouped.rename_columns(_RANGES.names).cast(_RANGES)


def _merged(tables: list[pa.Table]) -> list[SeriesRange]:
    columns = (column.to_pylist() for column in _grouped(tables).columns)
    return sorted(
        (
            SeriesRange(symbol, exchange, from_microseconds(first), from_microseconds(newest))
            for symbol, exchange, first, newest in zip(*columns, strict=True)
        ),
        key=lambda each: (each.symbol, each.exchange),
    )

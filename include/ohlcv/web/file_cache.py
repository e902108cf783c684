"""Cache of decoded data files, bounded by bytes. Data files never change; an entry is loaded once for all threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ohlcv.model.intervals import MICROSECOND
from ohlcv.model.timeframes import DAY
from ohlcv.web.file_decoder import KEY_COLUMNS, WHOLE, Part, decode_parts, rows_of_part, sorted_rows
from ohlcv.web.table_index import FileKey, IndexedFile, TableIndex

# The service has 512 MB: 190 MB for libraries, and up to 80 MB while a large file is decoded. A year of 1m candles of a
# series needs 74 MB.
CACHE_BYTES = 80 * 2**20
# A file with more rows is not kept as a whole: 200,000 rows need about 30 MB.
WHOLE_ROWS = 200_000
# Parts of a large file that one pass decodes for waiting threads. Each has at most about 8 MB.
_PARTS_PER_PASS = 4
# Memory of the objects of an entry in addition to its columns.
_ENTRY_BYTES = 12_000
# Stands for a missing window_date. No time of this type is so early.
_NO_DAY = -(2**31)


@dataclass(frozen=True, eq=False)
class DecodedRows:
    """Rows in the order window_start, symbol, exchange, with the columns of the contract.

    symbol and exchange are dictionaries; a part of one series has neither. Rows without a complete key are left out.
    """

    table: pa.Table
    # window_start in microseconds.
    starts: npt.NDArray[np.int64]
    # Whether each window_date is the date of its window_start.
    dates_match: bool

    @property
    def bytes(self) -> int:
        """Return the memory of the entry; `starts` is a view of a column."""
        return int(self.table.nbytes) + _ENTRY_BYTES


_SchemaKey = tuple[int, bool]
_Key = tuple[FileKey, _SchemaKey, Part]
_FileVersion = tuple[FileKey, _SchemaKey]


class FileCache:
    """Decoded rows by data file (with its delete files), schema and part. The least recently used are evicted."""

    def __init__(self, max_bytes: int = CACHE_BYTES, whole_rows: int = WHOLE_ROWS) -> None:
        self._max_bytes = max_bytes
        self._whole_rows = whole_rows
        self._lock = threading.Lock()
        self._entries: OrderedDict[_Key, DecodedRows] = OrderedDict()
        self._bytes = 0
        self._loading: dict[_Key, Future[DecodedRows]] = {}
        # Parts of large files that no pass has begun to decode.
        self._waiting: dict[_FileVersion, dict[Part, Future[DecodedRows]]] = {}
        self._passes: dict[_FileVersion, threading.Lock] = {}
        # One thread decodes all files: a decoded file is temporarily several times as large, and the memory that the
        # allocator keeps for a thread grows with the number of threads.
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="file decoder")

    @property
    def bytes(self) -> int:
        """Return the memory of all entries."""
        return self._bytes

    def is_large(self, file: IndexedFile) -> bool:
        """Return whether only parts of a file are kept."""
        return file.rows > self._whole_rows

    def rows(self, index: TableIndex, file: IndexedFile, part: Part) -> DecodedRows:
        """Return the rows of a part of a file. The whole of a large file is refused."""
        key = (file.key, index.schema_key, part)
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
            future = self._loading.get(key)
            is_first = future is None
            if future is None:
                future = self._loading[key] = Future()
                if self.is_large(file):
                    self._waiting.setdefault(key[:2], {})[part] = future
        if not is_first:
            return future.result()
        if self.is_large(file):
            self._load_waiting(index, file, future)
        elif part == WHOLE:
            self._complete({part: future}, key[:2], partial(self._decode, index, file, [part]))
        else:
            self._complete(
                {part: future},
                key[:2],
                lambda: [_decoded(rows_of_part(self.rows(index, file, WHOLE).table, part), part)],
            )
            self._evict_next((*key[:2], WHOLE))
        return future.result()

    def _evict_next(self, key: _Key) -> None:
        """Let an entry be the next that is evicted. A whole file would replace the parts of many others."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key, last=False)

    def _load_waiting(self, index: TableIndex, file: IndexedFile, future: Future[DecodedRows]) -> None:
        """Decode a large file, one pass at a time, until a pass has contained the part of this future."""
        version = (file.key, index.schema_key)
        with self._lock:
            pass_lock = self._passes.setdefault(version, threading.Lock())
        while not future.done():
            with pass_lock:
                with self._lock:
                    waiting = self._waiting.get(version, {})
                    parts = dict(list(waiting.items())[:_PARTS_PER_PASS])
                    for part in parts:
                        del waiting[part]
                    if not waiting:
                        self._waiting.pop(version, None)
                if parts:
                    self._complete(parts, version, partial(self._decode, index, file, list(parts)))
        with self._lock:
            if version not in self._waiting:
                self._passes.pop(version, None)

    def _decode(self, index: TableIndex, file: IndexedFile, parts: Sequence[Part]) -> list[DecodedRows]:
        return self._decoder.submit(_decode, index, file, parts).result()

    def _complete(
        self, futures: dict[Part, Future[DecodedRows]], version: _FileVersion, load: Callable[[], list[DecodedRows]]
    ) -> None:
        """Load parts of a file, store them and set their futures."""
        try:
            loaded = dict(zip(futures, load(), strict=True))
        except BaseException as error:
            with self._lock:
                for part in futures:
                    del self._loading[*version, part]
            for future in futures.values():
                future.set_exception(error)
            return
        with self._lock:
            for part, rows in loaded.items():
                del self._loading[*version, part]
                self._entries[*version, part] = rows
                self._bytes += rows.bytes
            while self._bytes > self._max_bytes:
                _, evicted = self._entries.popitem(last=False)
                self._bytes -= evicted.bytes
        for part, future in futures.items():
            future.set_result(loaded[part])


def _decode(index: TableIndex, file: IndexedFile, parts: Sequence[Part]) -> list[DecodedRows]:
    tables = decode_parts(index, file, parts)
    # Each table is freed before the next one is sorted.
    found = [_decoded(tables.pop(0), part) for part in parts]
    pa.default_memory_pool().release_unused()
    return found


def _decoded(table: pa.Table, part: Part) -> DecodedRows:
    if part.is_series:
        # Otherwise each part would hold the dictionary of its file.
        table = table.drop_columns(list(KEY_COLUMNS))
    table = sorted_rows(table)
    starts = table["window_start"].combine_chunks().cast(pa.int64()).to_numpy()
    days = table["window_date"].combine_chunks().cast(pa.int32()).fill_null(_NO_DAY).to_numpy()
    return DecodedRows(table, starts, bool((starts // (DAY // MICROSECOND) == days).all()))

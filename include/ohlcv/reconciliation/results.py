"""Table of results: the latest comparison of each window, replaced in one commit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.table import FileScanTask, Table
from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import PartitionRows, commit_files, plan, read_file
from ohlcv.iceberg.tables import load_table_to_write
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.coverage_columns import RECONCILIATION_COLUMNS
from ohlcv.model.intervals import from_microseconds
from ohlcv.model.partition_units import partition_number
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.scans import compare
from ohlcv.reconciliation.comparison import ComparedWindow

# (start, end) in microseconds.
Span = tuple[int, int]
_START = "window_start"
# Columns that do not make a result another one.
_INCIDENTAL = ("file", "compared_at", "candles_snapshot")
_SERIES = ("venue", "symbol", "exchange", "timeframe")
_COMPARED = [each.name for each in RECONCILIATION_COLUMNS if each.name not in (*_SERIES, _START, *_INCIDENTAL)]
_ORDER = [(name, "ascending") for name in ("venue", "symbol", "exchange", _START)]


@dataclass(frozen=True)
class Results:
    """The results of a comparison, with what its rows have in common."""

    venue: str
    symbol: str
    exchange: str
    timeframe: Timeframe
    compared_at: datetime
    candles_snapshot: int | None
    spans: Sequence[Span]
    equal: np.ndarray
    windows: Sequence[ComparedWindow]
    # File names by the first window of the file, in order.
    files: Sequence[tuple[int, Path]]


def write_results(settings: Settings, catalog: Catalog, results: Results) -> int:
    """Replace the stored results of the compared windows, and return how many changed. Equal ones stay as they are."""
    contract = settings.reconciliation_contract
    with write_lock(settings, contract) as assert_lock_held:
        table = load_table_to_write(settings, contract, catalog)
        rows = _rows(results, table.schema().as_arrow())
        added: list[PartitionRows] = []
        removed: list[FileScanTask] = []
        changed = 0
        for month in _months(results.spans):
            change = _Month(table, results, month).replace(rows)
            if change is not None:
                removed += change.removed
                changed += change.changed
                if len(change.rows):
                    added.append((Record(results.timeframe.name, month), change.rows))
        if changed:
            files = [task.file for task in removed]
            commit_files(catalog, contract, table, added, files, assert_lock_held)
    return changed


def _rows(results: Results, schema: pa.Schema) -> pa.Table:
    """Return the results as rows in the order of their windows."""
    equal, windows = results.equal, results.windows
    starts = np.concatenate([equal, np.array([each.start for each in windows], np.int64)])
    files = pa.array([path.name for _, path in results.files])
    first = np.array([start for start, _ in results.files], np.int64)
    size, none = len(equal), len(starts)
    columns = {
        "venue": pa.repeat(results.venue, none),
        "symbol": pa.repeat(results.symbol, none),
        "exchange": pa.repeat(results.exchange, none),
        "timeframe": pa.repeat(results.timeframe.name, none),
        _START: pa.array(starts).cast(pa.timestamp("us", "UTC")),
        "result": pa.array(["equal"] * size + [each.outcome for each in windows], pa.string()),
        "fields": pa.array([[]] * size + [each.fields for each in windows], pa.list_(pa.string())),
        "differences": pa.array([None] * size + [_differences(each) for each in windows], pa.string()),
        "evidence": pa.array([[]] * size + [list(each.evidence) for each in windows], pa.list_(pa.string())),
        "file": files.take(pa.array(np.maximum(np.searchsorted(first, starts, "right") - 1, 0))),
        "compared_at": pa.repeat(pa.scalar(results.compared_at, pa.timestamp("us", "UTC")), none),
        "candles_snapshot": pa.repeat(pa.scalar(results.candles_snapshot, pa.int64()), none),
    }
    return pa.table({field.name: columns[field.name].cast(field.type) for field in schema}).sort_by(_START)


def _differences(window: ComparedWindow) -> str:
    return json.dumps([each.to_json() for each in window.differences])


def _months(spans: Sequence[Span]) -> list[int]:
    found: set[int] = set()
    for start, end in spans:
        first, last = (partition_number("month", from_microseconds(each).date()) for each in (start, end - 1))
        found.update(range(first, last + 1))
    return sorted(found)


@dataclass(frozen=True)
class _Change:
    rows: pa.Table
    removed: list[FileScanTask]
    changed: int


@dataclass(frozen=True)
class _Month:
    table: Table
    results: Results
    number: int

    def replace(self, rows: pa.Table) -> _Change | None:
        """Return the new rows of the files that have results of the compared windows; None if none changes."""
        start, end = _month_span(self.number)
        new = rows.filter(_between(rows, start, end))
        tasks = [task for task in self._plan(start, end) if task.file.partition[1] == self.number]
        stored = pa.concat_tables(
            [
                new.slice(0, 0),
                *(read_file(self.table, task).select(new.column_names).cast(new.schema) for task in tasks),
            ]
        )
        is_mine = self._is_mine(stored)
        others, mine = stored.filter(pc.invert(is_mine)), stored.filter(is_mine)
        mine = mine.sort_by(_START)
        kept, written = _same_rows(mine, new)
        gone = np.setdiff1d(_starts(mine), _starts(new))
        changed = len(new) - len(kept) + len(gone)
        if not changed:
            return None
        merged = pa.concat_tables([others, mine.take(kept), new.filter(written)]).sort_by(_ORDER)
        return _Change(merged, tasks, changed)

    def _plan(self, start: int, end: int) -> list[FileScanTask]:
        results = self.results
        condition = And(
            compare(EqualTo, "timeframe", results.timeframe.name),
            compare(EqualTo, "venue", results.venue),
            compare(EqualTo, "symbol", results.symbol),
            compare(EqualTo, "exchange", results.exchange),
            compare(GreaterThanOrEqual, _START, from_microseconds(start)),
            compare(LessThan, _START, from_microseconds(end)),
        )
        return plan(self.table, condition)

    def _is_mine(self, rows: pa.Table) -> pa.Array:
        in_spans = pa.array(np.zeros(len(rows), bool))
        for start, end in self.results.spans:
            in_spans = pc.or_(in_spans, _between(rows, start, end))
        for name, value in (
            ("venue", self.results.venue),
            ("symbol", self.results.symbol),
            ("exchange", self.results.exchange),
        ):
            in_spans = pc.and_(in_spans, pc.equal(rows[name], value))
        return in_spans


def _month_span(number: int) -> Span:
    first, after = (np.datetime64("1970-01", "M") + each for each in (number, number + 1))
    return int(first.astype("datetime64[us]").astype(int)), int(after.astype("datetime64[us]").astype(int))


def _between(rows: pa.Table, start: int, end: int) -> pa.Array:
    starts = rows[_START].cast(pa.int64())
    return pc.and_(pc.greater_equal(starts, start), pc.less(starts, end))


def _starts(rows: pa.Table) -> np.ndarray:
    found: np.ndarray = rows[_START].cast(pa.int64()).to_numpy()
    return found


def _same_rows(mine: pa.Table, new: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the positions of stored rows that have an equal new one, and which new rows have no equal stored one."""
    old_starts, new_starts = _starts(mine), _starts(new)
    _, old_rows, new_rows = np.intersect1d(old_starts, new_starts, assume_unique=True, return_indices=True)
    before, after = mine.take(pa.array(old_rows)), new.take(pa.array(new_rows))
    same = np.ones(len(old_rows), bool)
    for name in _COMPARED:
        same &= pc.equal(_comparable(before[name]), _comparable(after[name])).to_numpy()
    written = np.ones(len(new), bool)
    written[new_rows[same]] = False
    return pa.array(old_rows[same]), pa.array(written)


def _comparable(values: pa.ChunkedArray) -> pa.ChunkedArray:
    is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
    texts = pc.binary_join(values.cast(pa.list_(pa.string())), "\x1f") if is_list else values
    return pc.fill_null(texts, "\x00")

"""Partial overwrites: which files of a large partition a write leaves untouched.

A day of many series is large, and a run changes only its last minutes. A write therefore puts candles that later runs
are unlikely to change (cold rows) into a file of their own. Later runs leave that file untouched: they read and write
only the files that end after the first rebuilt window.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from ohlcv.model.intervals import EPOCH, HOUR, Range, floor_time, from_microseconds
from ohlcv.model.timeframes import Timeframe
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class

# This many rows are written in less than a second. A partition with no more rows stays one file.
MAX_SINGLE_FILE_ROWS = 100_000
TIME = "window_start"


@dataclass(frozen=True)
class FileBounds:
    """The first and last window of a data file, None if its statistics do not contain them."""

    windows: tuple[datetime, datetime] | None
    rows: int


@dataclass(frozen=True)
class PartialOverwrite:
    """The part of a partition that a write replaces: the windows from `start` on, or all of them."""

    start: datetime | None = None
    # Rows before this time are cold and go to a file of their own. None if the write has few rows.
    cold_before: datetime | None = None


def plan_overwrite(files: Iterable[FileBounds], first_rebuilt: datetime) -> PartialOverwrite:
    """Return the part to replace. A file is replaced as a whole or not at all."""
    known = list(files)
    spans = [(file.windows, file.rows) for file in known if file.windows]
    if sum(file.rows for file in known) <= MAX_SINGLE_FILE_ROWS:
        return PartialOverwrite()
    # The next runs rebuild this hour again, but rarely an earlier one.
    cold_before = floor_time(first_rebuilt, HOUR)
    if len(spans) < len(known):
        return PartialOverwrite(None, cold_before)
    start, rows = first_rebuilt, 0
    # In descending order of their ends: once a file ends before `start`, so do all that follow.
    for (first, last), count in sorted(spans, key=lambda span: span[0][1], reverse=True):
        if last >= start:
            start, rows = min(start, first), rows + count
    return PartialOverwrite(start, cold_before if rows > MAX_SINGLE_FILE_ROWS else None)


def plan_overwrites(
    table: JavaObject, timeframe: Timeframe, partitions: Iterable[date], ranges: Iterable[Range]
) -> dict[date, PartialOverwrite]:
    """Return the part to replace of each changed partition."""
    changed = list(partitions)
    files = _files(table, timeframe, changed)
    return {day: plan_overwrite(files.get(day, ()), _first_rebuilt(timeframe, day, ranges)) for day in changed}


def _first_rebuilt(timeframe: Timeframe, partition: date, ranges: Iterable[Range]) -> datetime:
    begin, end = (_midnight(day) for day in (partition, timeframe.next_partition(partition)))
    return min(max(span.start, begin) for span in ranges if span.start < end and span.end > begin)


def _midnight(day: date) -> datetime:
    return EPOCH + (day - EPOCH.date())


def _files(table: JavaObject, timeframe: Timeframe, partitions: list[date]) -> dict[date, list[FileBounds]]:
    """Return the files of the partitions, read from the manifests.

    The result is empty if the whole table has few rows, or if a file has an older partition spec.
    """
    snapshot = table.currentSnapshot()
    if snapshot is None:
        return {}
    total_records = int(snapshot.summary().get("total-records") or MAX_SINGLE_FILE_ROWS + 1)
    if total_records <= MAX_SINGLE_FILE_ROWS:
        return {}
    expressions = java_class("org.apache.iceberg.expressions.Expressions")
    first, after = min(partitions), timeframe.next_partition(max(partitions))
    between = getattr(expressions, "and")(
        expressions.greaterThanOrEqual("window_date", (first - EPOCH.date()).days),
        expressions.lessThan("window_date", (after - EPOCH.date()).days),
    )
    found: dict[date, list[FileBounds]] = {}
    tasks = table.newScan().filter(between).includeColumnStats().planFiles()
    integer, column = java_class("java.lang.Class").forName("java.lang.Integer"), table.schema().findField(TIME)
    for task in tasks.iterator():
        file = task.file()
        if file.specId() != table.spec().specId():
            tasks.close()
            return {}
        day = timeframe.partition_start(int(file.partition().get(0, integer)))
        found.setdefault(day, []).append(FileBounds(_windows(file, column), int(file.recordCount())))
    tasks.close()
    return found


def _windows(file: JavaObject, column: JavaObject) -> tuple[datetime, datetime] | None:
    field_id = column.fieldId()
    # A null is neither before nor after a time, so Iceberg treats a file with nulls as cut by the overwrite filter.
    if not file.nullValueCounts() or file.nullValueCounts().get(field_id) != 0:
        return None
    read = java_class("org.apache.iceberg.types.Conversions").fromByteBuffer
    bounds = [bound.get(field_id) for bound in (file.lowerBounds(), file.upperBounds()) if bound]
    if len(bounds) < 2 or None in bounds:
        return None
    first, last = (from_microseconds(int(read(column.type(), bound))) for bound in bounds)
    return first, last

"""Which candles of a partition a write leaves alone: those in files that end before the windows it rebuilds.

A day of many series is large, and a run changes its last minutes. So what no run is likely to look at again goes to a
file of its own, and the runs that follow read and write what came after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from ohlcv.model.intervals import EPOCH, HOUR, Range, floor_time, from_microseconds
from ohlcv.model.timeframes import Timeframe
from spark_jobs.runtime.py4j_bridge import JavaObject, java_class

# Fewer rows than this are written in a second, and a day of them stays one file.
MAX_SINGLE_FILE_ROWS = 100_000
TIME = "window_start"


@dataclass(frozen=True)
class FileBounds:
    """The first and last window of a data file; none where it does not tell."""

    windows: tuple[datetime, datetime] | None
    rows: int


@dataclass(frozen=True)
class PartialOverwrite:
    """What of a partition is written anew: its windows from a time on, or all of them."""

    begin: datetime | None = None
    # What is older goes to a file of its own; where there are few rows, none does.
    settled: datetime | None = None


def plan_overwrite(files: Iterable[FileBounds], first_rebuilt: datetime) -> PartialOverwrite:
    """Leave alone the files that end before what is rebuilt begins, so that none is written anew in part."""
    known = list(files)
    spans = [(file.windows, file.rows) for file in known if file.windows]
    if sum(file.rows for file in known) <= MAX_SINGLE_FILE_ROWS:
        return PartialOverwrite()
    # The next runs rebuild this hour again, but hardly an earlier one.
    settled = floor_time(first_rebuilt, HOUR)
    if len(spans) < len(known):
        return PartialOverwrite(None, settled)
    begin, rows = first_rebuilt, 0
    # By their ends: after the first that ends before the beginning there is none that does not.
    for (first, last), count in sorted(spans, key=lambda span: span[0][1], reverse=True):
        if last >= begin:
            begin, rows = min(begin, first), rows + count
    return PartialOverwrite(begin, settled if rows > MAX_SINGLE_FILE_ROWS else None)


def plan_overwrites(
    table: JavaObject, timeframe: Timeframe, partitions: Iterable[date], ranges: Iterable[Range]
) -> dict[date, PartialOverwrite]:
    """Tell what of each changed partition is to be written anew."""
    wanted = list(partitions)
    files = _files(table, timeframe, wanted)
    return {day: plan_overwrite(files.get(day, ()), _first_rebuilt(timeframe, day, ranges)) for day in wanted}


def _first_rebuilt(timeframe: Timeframe, partition: date, ranges: Iterable[Range]) -> datetime:
    begin, end = (_midnight(day) for day in (partition, timeframe.next_partition(partition)))
    return min(max(span.start, begin) for span in ranges if span.start < end and span.end > begin)


def _midnight(day: date) -> datetime:
    return EPOCH + (day - EPOCH.date())


def _files(table: JavaObject, timeframe: Timeframe, partitions: list[date]) -> dict[date, list[FileBounds]]:
    """List the files of partitions, by the manifests alone.

    None of a table that has few rows altogether, nor of one with files from before its partitioning was changed.
    """
    snapshot = table.currentSnapshot()
    if (
        snapshot is None
        or int(snapshot.summary().get("total-records") or MAX_SINGLE_FILE_ROWS + 1) <= MAX_SINGLE_FILE_ROWS
    ):
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
    number = column.fieldId()
    # A null would be neither before nor after a time: Iceberg refuses to tell such a file from one cut in two.
    if not file.nullValueCounts() or file.nullValueCounts().get(number) != 0:
        return None
    read = java_class("org.apache.iceberg.types.Conversions").fromByteBuffer
    bounds = [bound.get(number) for bound in (file.lowerBounds(), file.upperBounds()) if bound]
    if len(bounds) < 2 or None in bounds:
        return None
    first, last = (from_microseconds(int(read(column.type(), bound))) for bound in bounds)
    return first, last

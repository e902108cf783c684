"""Data files in the order of their windows, and time slices of files that are too large to be kept as a whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

from ohlcv.model.intervals import to_microseconds
from ohlcv.model.timeframes import Timeframe
from ohlcv.web.table_index import IndexedFile

# Rows of a slice; about 8 MB.
_SLICE_ROWS = 50_000

# First and last window start, both inclusive, in microseconds; None means unbounded.
Span = tuple[int | None, int | None]


@dataclass(frozen=True, eq=False)
class FileGroup:
    """Files with overlapping windows. No other file of the selection has a window among them."""

    files: tuple[IndexedFile, ...]
    low: int | None
    high: int | None


def file_groups(files: Sequence[IndexedFile], timeframe: Timeframe) -> list[FileGroup]:
    """Return the files in groups, ordered by window. Usually a group has the files of one partition."""
    spans = sorted(
        ((file_span(file, timeframe), file) for file in files),
        key=lambda each: (each[0][0] is not None, each[0][0] or 0, each[1].key),
    )
    groups: list[FileGroup] = []
    members: list[IndexedFile] = []
    low: int | None = None
    high: int | None = None
    for (first, last), file in spans:
        if members and high is not None and first is not None and first > high:
            groups.append(FileGroup(tuple(members), low, high))
            members = []
        if not members:
            low, high = first, last
        elif high is not None:
            high = None if last is None else max(high, last)
        members.append(file)
    return [*groups, FileGroup(tuple(members), low, high)] if members else []


def file_span(file: IndexedFile, timeframe: Timeframe) -> Span:
    """Return the windows that a file may contain: by its column bounds, else by its partition."""
    if bounds := file.bounds.get("window_start"):
        return int(bounds[0]), int(bounds[1])
    if file.partition is None:
        return None, None
    try:
        first, end = (timeframe.partition_start(number) for number in (file.partition, file.partition + 1))
        first_time, end_time = (to_microseconds(datetime.combine(day, time(), UTC)) for day in (first, end))
    except (ValueError, OverflowError):
        # Other writers may store a date after the year 9999.
        return None, None
    return first_time, end_time - 1


def slices(group: FileGroup, timeframe: Timeframe, is_large: Callable[[IndexedFile], bool]) -> list[Span]:
    """Return consecutive slices [first, end) of a group, each in one slice of every large file."""
    cuts = sorted({cut for file in group.files if is_large(file) for cut in _cuts(file, timeframe)})
    return list(zip([None, *cuts], [*cuts, None], strict=True))


def slice_of_file(file: IndexedFile, timeframe: Timeframe, first: int | None) -> Span:
    """Return the slice [first, end) of a large file that contains a time; None is the earliest time."""
    cuts = _cuts(file, timeframe)
    position = 0 if first is None else bisect_right(cuts, first)
    return (cuts[position - 1] if position else None), (cuts[position] if position < len(cuts) else None)


def _cuts(file: IndexedFile, timeframe: Timeframe) -> list[int]:
    """Return the times that divide a file into slices. They depend only on the file, as the cached slices do."""
    low, high = file_span(file, timeframe)
    if low is None or high is None:
        return []
    count = -(-file.rows // _SLICE_ROWS)
    return [low + (high + 1 - low) * number // count for number in range(1, count)]

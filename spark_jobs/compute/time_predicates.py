"""Column expressions for windows and time ranges. Times are microseconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterable

from pyspark.sql import Column
from pyspark.sql import functions as F

from ohlcv.model.intervals import Range, iso, to_microseconds
from ohlcv.model.source_hours import partition_blocks, partition_predicate


def window_start(length: int, time: str = "timestamp") -> Column:
    """Return the start of the window that contains a time."""
    return F.col(time) - F.pmod(time, F.lit(length))


def within(microseconds: str, ranges: Iterable[Range]) -> Column:
    """Return the predicate that a time, given as a SQL expression, lies in one of the ranges.

    It is one SQL text, because every operation on a Column object is a call to the JVM.
    """
    bounds = ((to_microseconds(span.start), to_microseconds(span.end)) for span in ranges)
    terms = [f"({microseconds} >= {start} AND {microseconds} < {end})" for start, end in bounds]
    return F.expr(" OR ".join(terms) or "FALSE")


def starts_within(ranges: Iterable[Range]) -> Column:
    """Return the predicate that a candle's window starts in one of the ranges; Iceberg skips files with it."""
    terms = (
        f"(window_start >= TIMESTAMP '{iso(span.start)}' AND window_start < TIMESTAMP '{iso(span.end)}')"
        for span in ranges
    )
    return F.expr(" OR ".join(terms) or "FALSE")


def in_hours(hours: Iterable[int]) -> Column:
    """Return the predicate on the partition columns that selects exactly the trades of those hours."""
    return F.expr(partition_predicate(partition_blocks(hours), lambda day: f"DATE '{day}'"))

"""UTC hours as partitions of the trades table.

An hour is a whole number, counted from the Unix epoch, so that sets and runs of hours are plain integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ohlcv.model.intervals import EPOCH, HOUR, MICROSECOND, Range, ceil_time, floor_time
from ohlcv.model.timeframes import Timeframe

HOURS_PER_DAY = 24


def hour_number(time: datetime) -> int:
    """Number the UTC hour a time lies in, counted from the epoch."""
    return (time - EPOCH) // HOUR


def hour_range(hour: int) -> Range:
    """Give the span of a numbered hour."""
    return Range(EPOCH + hour * HOUR, EPOCH + (hour + 1) * HOUR)


def hours_overlapping(ranges: Iterable[Range]) -> set[int]:
    """Number every hour that overlaps one of the ranges."""
    return {hour for span in ranges for hour in range(hour_number(span.start), hour_number(span.end - MICROSECOND) + 1)}


def windows_of_hour(timeframe: Timeframe, hour: int) -> Range:
    """Give the span of all windows that take trades from an hour: for a day candle, its whole day."""
    span = hour_range(hour)
    return Range(floor_time(span.start, timeframe.length), ceil_time(span.end, timeframe.length))


def consecutive_hours(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Give sorted hours as runs (first, last), both inclusive."""
    first = last = None
    for hour in sorted(set(hours)):
        if last is None or first is None:
            first = last = hour
        elif hour == last + 1:
            last = hour
        else:
            yield first, last
            first = last = hour
    if first is not None and last is not None:
        yield first, last


def format_hours(hours: Iterable[int]) -> str:
    """Write hours compactly, as in 2026-01-31T09..2026-01-31T12,2026-02-01T00."""
    return ",".join(
        _hour_text(first) if first == last else f"{_hour_text(first)}..{_hour_text(last)}"
        for first, last in consecutive_hours(hours)
    )


def parse_hours(text: str) -> set[int]:
    """Read what `format_hours` wrote."""
    hours: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("..")
        hours.update(range(_hour_from_text(first), _hour_from_text(last or first) + 1))
    return hours


def _hour_text(hour: int) -> str:
    return (EPOCH + hour * HOUR).strftime("%Y-%m-%dT%H")


def _hour_from_text(text: str) -> int:
    return hour_number(datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC))


@dataclass(frozen=True)
class PartitionBlock:
    """The same hours of consecutive days: `first_hour` to `last_hour` of each day, all bounds inclusive."""

    first_day: date
    last_day: date
    first_hour: int
    last_hour: int


def partition_blocks(hours: Iterable[int]) -> Iterator[PartitionBlock]:
    """Split hours into blocks of partitions. Every predicate on the partition columns is built from them."""
    for first, last in consecutive_hours(hours):
        yield from blocks_of_consecutive_hours(first, last)


def blocks_of_consecutive_hours(first: int, last: int) -> Iterator[PartitionBlock]:
    """Split consecutive hours, both bounds inclusive, into at most three blocks."""
    (first_day, first_hour), (last_day, last_hour) = divmod(first, HOURS_PER_DAY), divmod(last, HOURS_PER_DAY)
    if first_day == last_day:
        yield _block(first_day, last_day, first_hour, last_hour)
        return
    if first_hour > 0:
        yield _block(first_day, first_day, first_hour, HOURS_PER_DAY - 1)
        first_day += 1
    end_day = last_day if last_hour == HOURS_PER_DAY - 1 else last_day - 1
    if first_day <= end_day:
        yield _block(first_day, end_day, 0, HOURS_PER_DAY - 1)
    if end_day < last_day:
        yield _block(last_day, last_day, 0, last_hour)


def _block(first_day: int, last_day: int, first_hour: int, last_hour: int) -> PartitionBlock:
    days = EPOCH.toordinal()
    return PartitionBlock(date.fromordinal(days + first_day), date.fromordinal(days + last_day), first_hour, last_hour)


def partition_predicate(blocks: Iterable[PartitionBlock], date_literal: Callable[[date], str]) -> str:
    """Return the SQL predicate on the partition columns that selects exactly these blocks."""
    terms = (
        f"(exchange_date >= {date_literal(block.first_day)} AND exchange_date <= {date_literal(block.last_day)}"
        f" AND exchange_hour >= {block.first_hour} AND exchange_hour <= {block.last_hour})"
        for block in blocks
    )
    return " OR ".join(terms) or "FALSE"

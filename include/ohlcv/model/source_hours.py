"""UTC hours, the partitions of the trades table.

An hour is represented by its number since the Unix epoch, so sets and sequences of hours are sets and sequences of
integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ohlcv.model.intervals import EPOCH, HOUR, MICROSECOND, Range, ceil_time, floor_time
from ohlcv.model.timeframes import Timeframe

HOURS_PER_DAY = 24
# The days whose hours can be computed with and written as ISO text, as day numbers since the epoch: the years 1000 to
# 9998. Another writer may store any date, for example by reading nanoseconds as microseconds.
FIRST_DAY, LAST_DAY = (day.toordinal() - EPOCH.toordinal() for day in (date(1000, 1, 1), date(9998, 12, 31)))


def hour_number(time: datetime) -> int:
    """Return the number of the UTC hour that contains a time."""
    return (time - EPOCH) // HOUR


def partition_hour(day: int | None, hour: int | None) -> int | None:
    """Return the hour of a partition of the trades table (day number, hour of the day), None if it is no hour."""
    if day is None or hour is None or not FIRST_DAY <= day <= LAST_DAY or not 0 <= hour < HOURS_PER_DAY:
        return None
    return day * HOURS_PER_DAY + hour


def hour_start(hour: int) -> datetime:
    """Return the start of an hour."""
    return EPOCH + hour * HOUR


def hour_range(hour: int) -> Range:
    """Return the range of an hour."""
    return Range(hour_start(hour), hour_start(hour + 1))


def hours_overlapping(ranges: Iterable[Range]) -> set[int]:
    """Return the hours that overlap at least one of the ranges."""
    return {hour for span in ranges for hour in range(hour_number(span.start), hour_number(span.end - MICROSECOND) + 1)}


def windows_of_hour(timeframe: Timeframe, hour: int) -> Range:
    """Return the range of all windows that use trades of an hour: for a daily candle, the whole day."""
    span = hour_range(hour)
    return Range(floor_time(span.start, timeframe.length), ceil_time(span.end, timeframe.length))


def consecutive_hours(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Return sequences of consecutive hours as (first, last), both inclusive, in order."""
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
    """Return hours as text, for example 2026-01-31T09..2026-01-31T12,2026-02-01T00."""
    return ",".join(
        _hour_text(first) if first == last else f"{_hour_text(first)}..{_hour_text(last)}"
        for first, last in consecutive_hours(hours)
    )


def parse_hours(text: str) -> set[int]:
    """Return the hours in a text that `format_hours` wrote."""
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
    """Partitions of the same hours on consecutive days. All bounds are inclusive."""

    first_day: date
    last_day: date
    first_hour: int
    last_hour: int


def partition_blocks(hours: Iterable[int]) -> Iterator[PartitionBlock]:
    """Return the partition blocks that contain exactly these hours. All partition predicates are built from blocks."""
    for first, last in consecutive_hours(hours):
        yield from blocks_of_consecutive_hours(first, last)


def blocks_of_consecutive_hours(first: int, last: int) -> Iterator[PartitionBlock]:
    """Return at most three blocks that contain the hours from first to last, both inclusive."""
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

"""Windows and ranges: which candles a run builds. Nothing here reads the clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ohlcv.model.errors import InputError
from ohlcv.model.timeframes import DAY, Timeframe

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Range:
    """A half-open span of time [start, end) in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise ValueError("a range is in UTC")
        if self.start >= self.end:
            raise ValueError("a range must not be empty")

    def __str__(self) -> str:
        return f"[{iso(self.start)}, {iso(self.end)})"


def iso(time: datetime) -> str:
    """Write a UTC time the way every command and log line shows it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_microseconds(time: datetime) -> int:
    """Count microseconds since the epoch, exactly (float timestamps lose the last digits)."""
    return (time - EPOCH) // MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Give the UTC time that many microseconds after the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)


def floor_time(time: datetime, length: timedelta) -> datetime:
    """Give the last boundary at or before a time; boundaries are counted from the UTC epoch."""
    return time.astimezone(UTC) - (time - EPOCH) % length


def ceil_time(time: datetime, length: timedelta) -> datetime:
    """Give the first boundary at or after a time."""
    return time.astimezone(UTC) + (EPOCH - time) % length


def parse_time(text: str) -> tuple[datetime, bool]:
    """Read an ISO time as UTC; the flag says that it named no zone and was taken as UTC."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"'{text}' is not an ISO time such as 2026-01-31T13:00:00Z") from None
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC), True
    try:
        return time.astimezone(UTC), False
    except OverflowError:
        raise InputError(f"'{text}' lies outside the years 1 to 9999 in UTC") from None


def scheduled_range(timeframe: Timeframe, interval_end: datetime) -> Range:
    """Give the range a run builds by its data interval alone: its lookback up to the last whole window."""
    end = floor_time(interval_end, timeframe.length)
    return Range(floor_time(end - timeframe.lookback, timeframe.length), end)


def requested_range(timeframe: Timeframe, start: datetime, end: datetime, known_until: datetime) -> Range:
    """Widen an asked-for range to whole windows and cut it at the last one complete at `known_until`."""
    if start >= end:
        raise InputError(f"start {iso(start)} must be before end {iso(end)}")
    widened_start = floor_time(start, timeframe.length)
    last_complete = floor_time(known_until, timeframe.length)
    if widened_start >= last_complete:
        raise InputError(
            f"no {timeframe} window is complete yet between {iso(start)} and {iso(end)}: "
            f"the last complete one ends {iso(last_complete)}"
        )
    # Not min() of both: there is no boundary after the last hours of the year 9999, which some take for "for ever".
    return Range(widened_start, last_complete if end >= last_complete else ceil_time(end, timeframe.length))


def run_range(
    timeframe: Timeframe,
    *,
    interval_end: datetime | None,
    run_after: datetime,
    start: str | None = None,
    end: str | None = None,
) -> Range:
    """Give the range of an Airflow run of any kind.

    Scheduled, backfilled and cleared runs carry their data interval, and so does one triggered with a date.
    One without a date builds what the schedule would have built when it was triggered. `start` and `end`
    (a run's parameters) override; they are cut at the last window complete when the run was due.
    """
    if not start and not end:
        return scheduled_range(timeframe, interval_end or run_after)
    if not start or not end:
        raise InputError("give both start and end, or neither")
    return requested_range(timeframe, parse_time(start)[0], parse_time(end)[0], known_until=run_after)


def parse_day(text: str) -> date:
    """Read an ISO date."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"'{text}' is not an ISO date such as 2026-01-31") from None


def day_range(day: date) -> Range:
    """Give the span of a UTC day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Range(midnight, midnight + DAY)


def run_days(
    *, interval_end: datetime | None, run_after: datetime, start: str | None = None, end: str | None = None
) -> list[date]:
    """Give the UTC days a reprocessing run of any kind rebuilds: by itself the last whole one.

    `start` and `end` override: every day they touch, up to the one under way when the run was due.
    """
    if not start and not end:
        return [floor_time(interval_end or run_after, DAY).date() - DAY]
    if not start or not end:
        raise InputError("give both start and end, or neither")
    first, last = parse_time(start)[0], parse_time(end)[0]
    if first >= last:
        raise InputError(f"start {iso(first)} must be before end {iso(last)}")
    if first >= run_after:
        raise InputError(f"start {iso(first)} lies in the future: the run was due at {iso(run_after)}")
    midnights = range((first - EPOCH) // DAY, (ceil_time(min(last, run_after), DAY) - EPOCH) // DAY)
    return [(EPOCH + number * DAY).date() for number in midnights]


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Join overlapping and touching ranges into the fewest disjoint ones, in order."""
    merged: list[Range] = []
    for span in sorted(ranges):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Range(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged

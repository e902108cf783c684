"""Time ranges, window boundaries and the range that a run builds. No function reads the clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ohlcv.model.errors import InputError, quoted
from ohlcv.model.timeframes import DAY, Timeframe

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
# A longer range is probably a mistake. Its hours would exhaust the memory.
MAX_RANGE = timedelta(days=36_525)


@dataclass(frozen=True, order=True)
class Range:
    """A half-open time range [start, end) in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise ValueError("a range must be in UTC")
        if self.start >= self.end:
            raise ValueError("a range must not be empty")

    def __str__(self) -> str:
        return f"[{iso(self.start)}, {iso(self.end)})"


def iso(time: datetime) -> str:
    """Return a time as an ISO string in UTC. All commands and log lines use this format."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_duration(duration: timedelta) -> str:
    """Return a duration in days, hours and minutes as text; a shorter one in seconds."""
    seconds = int(duration.total_seconds())
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(filter(None, parts)) or f"{seconds} s"


def to_microseconds(time: datetime) -> int:
    """Return microseconds since the epoch, exactly (float timestamps lose the last digits)."""
    return (time - EPOCH) // MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the UTC time at a number of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=microseconds)


def floor_time(time: datetime, length: timedelta) -> datetime:
    """Return the last boundary at or before a time. Boundaries are multiples of the length since the UTC epoch."""
    return time.astimezone(UTC) - (time - EPOCH) % length


def ceil_time(time: datetime, length: timedelta) -> datetime:
    """Return the first boundary at or after a time."""
    return time.astimezone(UTC) + (EPOCH - time) % length


def parse_time(text: str) -> tuple[datetime, bool]:
    """Return an ISO time in UTC, and whether it had no time zone and UTC was assumed."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{quoted(text)} is not an ISO time such as 2026-01-31T13:00:00Z") from None
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC), True
    try:
        return time.astimezone(UTC), False
    except OverflowError:
        raise InputError(f"{quoted(text)} lies outside the years 1 to 9999 in UTC") from None


def scheduled_range(timeframe: Timeframe, interval_end: datetime) -> Range:
    """Return the range of a scheduled run: the lookback before the last window boundary of its data interval."""
    end = floor_time(interval_end, timeframe.length)
    try:
        return Range(floor_time(end - timeframe.lookback, timeframe.length), end)
    except OverflowError:
        raise InputError(
            f"the range before {iso(interval_end)} begins before the year 1: choose a later date"
        ) from None


def requested_range(timeframe: Timeframe, start: datetime, end: datetime, known_until: datetime) -> Range:
    """Return a requested range widened to whole windows and cut at the last window complete at `known_until`."""
    if start >= end:
        raise InputError(f"start {iso(start)} must be before end {iso(end)}")
    widened_start = floor_time(start, timeframe.length)
    last_complete = floor_time(known_until, timeframe.length)
    if widened_start >= last_complete:
        raise InputError(
            f"no {timeframe} window is complete yet between {iso(start)} and {iso(end)}: "
            f"the last complete one ends {iso(last_complete)}"
        )
    # Not min() of both: rounding up the end of year 9999, which users enter for "no end", would overflow.
    span = Range(widened_start, last_complete if end >= last_complete else ceil_time(end, timeframe.length))
    check_length(span.start, span.end)
    return span


def check_length(start: datetime, end: datetime) -> None:
    """Raise InputError if a range that is read or built at once is longer than a hundred years."""
    if end - start > MAX_RANGE:
        raise InputError(f"start {iso(start)} is more than 100 years before {iso(end)}: give a later start")


def run_range(
    timeframe: Timeframe,
    *,
    interval_end: datetime | None,
    run_after: datetime,
    start: str | None = None,
    end: str | None = None,
) -> Range:
    """Return the range that an Airflow run builds.

    Scheduled, backfilled and cleared runs have a data interval, and so has a manual run with a logical date.
    A manual run without one uses `run_after`, the time it was triggered. The run parameters `start` and `end`
    override the data interval. Every range is cut at the last window that was complete at `run_after`: who triggers a
    run can give a data interval in the future, too.
    """
    if not start and not end:
        own_range = scheduled_range(timeframe, interval_end or run_after)
        return requested_range(timeframe, own_range.start, own_range.end, known_until=run_after)
    if not start or not end:
        raise InputError("give both start and end, or neither")
    return requested_range(timeframe, parse_time(start)[0], parse_time(end)[0], known_until=run_after)


def parse_day(text: str) -> date:
    """Return an ISO date."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InputError(f"{quoted(text)} is not an ISO date such as 2026-01-31") from None


def day_range(day: date) -> Range:
    """Return the range of a UTC day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Range(midnight, midnight + DAY)


def run_days(
    *, interval_end: datetime | None, run_after: datetime, start: str | None = None, end: str | None = None
) -> list[date]:
    """Return the UTC days that a reprocessing run rebuilds, by default the last complete day.

    `start` and `end` override the default. The result contains every day that overlaps them, up to and including the
    incomplete day of `run_after`.
    """
    if not start and not end:
        end_of_day = floor_time(interval_end or run_after, DAY)
        try:
            day = end_of_day - DAY
        except OverflowError:
            raise InputError(f"there is no day before {iso(end_of_day)}: choose a later date") from None
        if day >= run_after:
            raise InputError(
                f"the day {day.date()} lies in the future: the run was due at {iso(run_after)}; choose an earlier date"
            )
        return [day.date()]
    if not start or not end:
        raise InputError("give both start and end, or neither")
    first, last = parse_time(start)[0], parse_time(end)[0]
    if first >= last:
        raise InputError(f"start {iso(first)} must be before end {iso(last)}")
    if first >= run_after:
        raise InputError(f"start {iso(first)} lies in the future: the run was due at {iso(run_after)}")
    check_length(first, min(last, run_after))
    midnights = range((first - EPOCH) // DAY, (ceil_time(min(last, run_after), DAY) - EPOCH) // DAY)
    return [(EPOCH + number * DAY).date() for number in midnights]


def merge_ranges(ranges: Iterable[Range]) -> list[Range]:
    """Return the fewest disjoint ranges, in order, that cover the same time."""
    merged: list[Range] = []
    for span in sorted(ranges):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Range(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged

"""Windows and ranges: which candles a run builds. Nothing here reads the clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


# A source partition is one UTC hour; counting them from the epoch makes sets and runs of hours plain integers.


def hour_number(time: datetime) -> int:
    """Number the UTC hour a time lies in, counted from the epoch."""
    return (time - EPOCH) // HOUR


def hour_range(hour: int) -> Range:
    """Give the span of a numbered hour."""
    return Range(EPOCH + hour * HOUR, EPOCH + (hour + 1) * HOUR)


def hours_touched(ranges: Iterable[Range]) -> set[int]:
    """Number every hour that overlaps one of the ranges."""
    return {hour for span in ranges for hour in range(hour_number(span.start), hour_number(span.end - MICROSECOND) + 1)}


def windows_of_hour(timeframe: Timeframe, hour: int) -> Range:
    """Give the span of all windows that take trades from an hour: for a day candle, its whole day."""
    span = hour_range(hour)
    return Range(floor_time(span.start, timeframe.length), ceil_time(span.end, timeframe.length))


def runs_of_hours(hours: Iterable[int]) -> Iterator[tuple[int, int]]:
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
        for first, last in runs_of_hours(hours)
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

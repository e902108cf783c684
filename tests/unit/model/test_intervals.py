"""Windows, ranges and hours: what holds for every time there is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohlcv.model.errors import InputError
from ohlcv.model.intervals import (
    EPOCH,
    MICROSECOND,
    Range,
    ceil_time,
    floor_time,
    from_microseconds,
    iso,
    merge_ranges,
    parse_time,
    requested_range,
    scheduled_range,
    to_microseconds,
)
from ohlcv.model.source_hours import (
    consecutive_hours,
    format_hours,
    hour_number,
    hour_range,
    hours_overlapping,
    parse_hours,
    windows_of_hour,
)
from ohlcv.model.timeframes import TIMEFRAMES, Timeframe

MINUTE = timedelta(minutes=1)
# Before the epoch too: a remainder of a negative number is where floors go wrong.
FIRST = datetime(1960, 1, 1)  # noqa: DTZ001  # hypothesis takes bounds without a zone
LAST = datetime(2100, 1, 1)  # noqa: DTZ001
times = st.datetimes(min_value=FIRST, max_value=LAST, timezones=st.just(UTC))
zoned_times = st.datetimes(
    min_value=FIRST,
    max_value=LAST,
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(minutes * MINUTE)),
)
timeframes = st.sampled_from(list(TIMEFRAMES.values()))
# A few days, so that ranges overlap and touch.
near_times = st.integers(0, 3 * 86_400_000_000).map(
    lambda microseconds: from_microseconds(1_772_000_000_000_000 + microseconds)
)
coarse_times = st.integers(0, 60).map(lambda hours: from_microseconds(1_771_992_000_000_000) + hours * 30 * MINUTE)
ranges = (
    st.tuples(near_times | coarse_times, near_times | coarse_times)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: Range(min(pair), max(pair)))
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def aligned(time: datetime, length: timedelta) -> bool:
    return (time - EPOCH) % length == timedelta(0)


def marks(spans: Iterable[Range]) -> set[datetime]:
    """Give the bounds of all ranges and their neighbours: a function of the ranges can only change there."""
    return {bound + n * MICROSECOND for span in spans for bound in (span.start, span.end) for n in (-1, 0, 1)}


def covered(time: datetime, spans: Iterable[Range]) -> bool:
    return any(span.start <= time < span.end for span in spans)


@given(time=zoned_times)
def test_microseconds_and_text_are_exact_both_ways(time: datetime) -> None:
    assert from_microseconds(to_microseconds(time)) == time
    assert iso(time).endswith("Z")
    assert parse_time(iso(time)) == (time, False)
    assert parse_time(f"  {time.astimezone(UTC).replace(tzinfo=None).isoformat()} ") == (time, True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-01", "2026-03-01 00:00"),
        ("2026-03-01T13:00:00Z", "2026-03-01 13:00"),
        ("2026-03-01 15:00+02:00", "2026-03-01 13:00"),
        ("2026-03-01T13:00:00.000001", "2026-03-01 13:00:00.000001"),
    ],
)
def test_times_people_write(text: str, meant: str) -> None:
    assert parse_time(text)[0] == at(meant)
    assert parse_time(text)[0].tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "1772366400", "2026-03-01T25:00"])
def test_a_time_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f"^'{text}' is not an ISO time such as 2026-01-31T13:00:00Z$"):
        parse_time(text)


@given(time=zoned_times, timeframe=timeframes)
def test_floor_and_ceil_are_the_nearest_boundaries(time: datetime, timeframe: Timeframe) -> None:
    floor, ceil = floor_time(time, timeframe.length), ceil_time(time, timeframe.length)
    assert floor <= time <= ceil
    assert time - floor < timeframe.length
    assert ceil - time < timeframe.length
    assert aligned(floor, timeframe.length)
    assert aligned(ceil, timeframe.length)
    assert (floor == ceil) == aligned(time, timeframe.length)
    assert floor.utcoffset() == ceil.utcoffset() == timedelta(0)


def test_a_range_is_in_utc_and_not_empty() -> None:
    noon = at("2026-03-01 12:00")
    assert str(Range(noon, noon + MINUTE)) == "[2026-03-01T12:00:00Z, 2026-03-01T12:01:00Z)"
    for start, end in ((noon, noon), (noon, noon - MICROSECOND)):
        with pytest.raises(ValueError, match="must not be empty"):
            Range(start, end)
    for zone in (None, timezone(timedelta(hours=1))):
        with pytest.raises(ValueError, match="in UTC"):
            Range(noon.replace(tzinfo=zone), noon.replace(tzinfo=zone, year=2027))


@given(minute=times, seconds=st.integers(0, 59_999_999), timeframe=timeframes, lookback=st.integers(1, 4000))
def test_a_scheduled_range_is_the_lookback_up_to_the_last_whole_window(
    minute: datetime, seconds: int, timeframe: Timeframe, lookback: int
) -> None:
    """A site may set a lookback that is no multiple of the window: it still reads whole windows."""
    minute = floor_time(minute, MINUTE)
    of = with_lookback(timeframe, max(lookback * MINUTE, timeframe.length))
    span = scheduled_range(of, minute)
    assert aligned(span.start, of.length)
    assert aligned(span.end, of.length)
    assert span.end <= minute < span.end + of.length
    assert span.start <= span.end - of.lookback < span.start + of.length
    # Airflow may start a run a moment late or early: the seconds of its interval decide nothing.
    assert scheduled_range(of, minute + seconds * MICROSECOND) == span


def with_lookback(timeframe: Timeframe, lookback: timedelta) -> Timeframe:
    values: dict[str, Any] = {**vars(timeframe), "lookback": lookback}
    return Timeframe(**values)


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("1m", "2026-03-01 12:25", "2026-03-01 12:35"),
        ("5m", "2026-03-01 12:15", "2026-03-01 12:35"),
        ("30m", "2026-03-01 11:30", "2026-03-01 12:30"),
        ("1h", "2026-03-01 10:00", "2026-03-01 12:00"),
        ("1d", "2026-02-27 00:00", "2026-03-01 00:00"),
    ],
)
def test_what_the_registry_schedules(name: str, start: str, end: str) -> None:
    assert scheduled_range(TIMEFRAMES[name], at("2026-03-01 12:35")) == Range(at(start), at(end))


@given(start=near_times | coarse_times, end=near_times | coarse_times, until=near_times, timeframe=timeframes)
def test_a_requested_range_is_widened_to_whole_windows_and_cut_at_the_last_complete_one(
    start: datetime, end: datetime, until: datetime, timeframe: Timeframe
) -> None:
    last_complete = floor_time(until, timeframe.length)
    if start >= end:
        with pytest.raises(InputError, match="must be before end"):
            requested_range(timeframe, start, end, until)
        return
    if floor_time(start, timeframe.length) >= last_complete:
        with pytest.raises(InputError, match=r"is complete yet between .* the last complete one ends"):
            requested_range(timeframe, start, end, until)
        return
    span = requested_range(timeframe, start, end, until)
    assert aligned(span.start, timeframe.length)
    assert aligned(span.end, timeframe.length)
    # No window of it is open, every complete window asked for is in it, and it is no wider than that.
    assert span.end <= last_complete
    assert span.start <= start < span.start + timeframe.length
    assert span.end == min(last_complete, ceil_time(end, timeframe.length))


@given(spans=st.lists(ranges, max_size=8))
def test_merged_ranges_are_the_fewest_that_cover_the_same(spans: list[Range]) -> None:
    merged = merge_ranges(spans)
    assert all(covered(time, spans) == covered(time, merged) for time in marks([*spans, *merged]))
    # Disjoint with a gap between: no two of them could be one.
    assert all(before.end < after.start for before, after in pairwise(merged))
    assert merge_ranges(reversed(spans)) == merged


@given(spans=st.lists(ranges, max_size=3))
def test_hours_touched_are_those_that_share_a_microsecond(spans: list[Range]) -> None:
    first = hour_number(from_microseconds(1_772_000_000_000_000)) - 3
    brute_force = {
        hour
        for hour in range(first, first + 80)
        if any(span.start < hour_range(hour).end and hour_range(hour).start < span.end for span in spans)
    }
    assert hours_overlapping(spans) == brute_force


@given(time=times, timeframe=timeframes)
def test_windows_of_an_hour_take_all_its_trades_and_no_other_hours_window(time: datetime, timeframe: Timeframe) -> None:
    hour = hour_number(time)
    assert covered(time, [hour_range(hour)])
    span = windows_of_hour(timeframe, hour)
    assert span.start <= hour_range(hour).start
    assert hour_range(hour).end <= span.end
    assert span.end - span.start == max(timeframe.length, timedelta(hours=1))
    assert aligned(span.start, timeframe.length)


@given(hours=st.sets(st.integers(-100, 100) | st.integers(400_000, 500_000)))
def test_hours_survive_being_written_and_read(hours: set[int]) -> None:
    assert parse_hours(format_hours(hours)) == hours
    runs = list(consecutive_hours(hours))
    assert {hour for first, last in runs for hour in range(first, last + 1)} == hours
    # Two runs never touch, so the text is as short as it gets.
    assert all(before[1] + 1 < after[0] for before, after in pairwise(runs))


def test_hours_are_written_compactly() -> None:
    first = hour_number(at("2026-01-31 09:00"))
    assert format_hours([]) == ""
    assert format_hours([first + 15, first, first + 1, first + 2, first + 3]) == (
        "2026-01-31T09..2026-01-31T12,2026-02-01T00"
    )

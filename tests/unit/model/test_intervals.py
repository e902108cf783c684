"""Properties of ranges and window boundaries for arbitrary times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
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
    parse_day,
    parse_time,
    requested_range,
    run_days,
    run_range,
    scheduled_range,
    to_microseconds,
)
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES, Timeframe

MINUTE = timedelta(minutes=1)
# Times before the epoch are included, because rounding down is error-prone for negative numbers.
FIRST = datetime(1960, 1, 1)  # noqa: DTZ001  # hypothesis requires bounds without a time zone
LAST = datetime(2100, 1, 1)  # noqa: DTZ001
times = st.datetimes(min_value=FIRST, max_value=LAST, timezones=st.just(UTC))
zoned_times = st.datetimes(
    min_value=FIRST,
    max_value=LAST,
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(minutes * MINUTE)),
)
timeframes = st.sampled_from(list(DEFAULT_TIMEFRAMES.values()))
# Times within a few days, so that ranges overlap and touch.
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


def is_aligned(time: datetime, length: timedelta) -> bool:
    return (time - EPOCH) % length == timedelta(0)


def times_around_bounds(spans: Iterable[Range]) -> set[datetime]:
    """Return the bounds of all ranges and the microseconds next to them. Coverage can change only there."""
    return {bound + n * MICROSECOND for span in spans for bound in (span.start, span.end) for n in (-1, 0, 1)}


def is_covered(time: datetime, spans: Iterable[Range]) -> bool:
    return any(span.start <= time < span.end for span in spans)


@given(time=zoned_times)
def test_conversion_to_microseconds_and_text_is_lossless(time: datetime) -> None:
    assert from_microseconds(to_microseconds(time)) == time
    assert iso(time).endswith("Z")
    assert parse_time(iso(time)) == (time, False)
    assert parse_time(f"  {time.astimezone(UTC).replace(tzinfo=None).isoformat()} ") == (time, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", "2026-03-01 00:00"),
        ("2026-03-01T13:00:00Z", "2026-03-01 13:00"),
        ("2026-03-01 15:00+02:00", "2026-03-01 13:00"),
        ("2026-03-01T13:00:00.000001", "2026-03-01 13:00:00.000001"),
    ],
)
def test_iso_times_are_parsed_as_utc(text: str, expected: str) -> None:
    assert parse_time(text)[0] == at(expected)
    assert parse_time(text)[0].tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "1772366400", "2026-03-01T25:00"])
def test_an_invalid_time_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(InputError, match=f"^'{text}' is not an ISO time such as 2026-01-31T13:00:00Z$"):
        parse_time(text)


@given(time=zoned_times, timeframe=timeframes)
def test_floor_and_ceil_return_the_nearest_boundaries(time: datetime, timeframe: Timeframe) -> None:
    floor, ceil = floor_time(time, timeframe.length), ceil_time(time, timeframe.length)
    assert floor <= time <= ceil
    assert time - floor < timeframe.length
    assert ceil - time < timeframe.length
    assert is_aligned(floor, timeframe.length)
    assert is_aligned(ceil, timeframe.length)
    assert (floor == ceil) == is_aligned(time, timeframe.length)
    assert floor.utcoffset() == ceil.utcoffset() == timedelta(0)


def test_a_range_must_be_in_utc_and_not_empty() -> None:
    noon = at("2026-03-01 12:00")
    assert str(Range(noon, noon + MINUTE)) == "[2026-03-01T12:00:00Z, 2026-03-01T12:01:00Z)"
    for start, end in ((noon, noon), (noon, noon - MICROSECOND)):
        with pytest.raises(ValueError, match="must not be empty"):
            Range(start, end)
    for zone in (None, timezone(timedelta(hours=1))):
        with pytest.raises(ValueError, match="in UTC"):
            Range(noon.replace(tzinfo=zone), noon.replace(tzinfo=zone, year=2027))


@given(minute=times, seconds=st.integers(0, 59_999_999), timeframe=timeframes, lookback=st.integers(1, 4000))
def test_a_scheduled_range_covers_the_lookback_and_ends_at_the_last_window_boundary(
    minute: datetime, seconds: int, timeframe: Timeframe, lookback: int
) -> None:
    """The lookback setting need not be a multiple of the window length. The range still has whole windows."""
    minute = floor_time(minute, MINUTE)
    tuned = with_lookback(timeframe, max(lookback * MINUTE, timeframe.length))
    span = scheduled_range(tuned, minute)
    assert is_aligned(span.start, tuned.length)
    assert is_aligned(span.end, tuned.length)
    assert span.end <= minute < span.end + tuned.length
    assert span.start <= span.end - tuned.lookback < span.start + tuned.length
    # Seconds in the end of the data interval do not change the range.
    assert scheduled_range(tuned, minute + seconds * MICROSECOND) == span


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
def test_scheduled_ranges_of_the_registry(name: str, start: str, end: str) -> None:
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
    assert is_aligned(span.start, timeframe.length)
    assert is_aligned(span.end, timeframe.length)
    # It contains every requested complete window, no incomplete window, and no further window.
    assert span.end <= last_complete
    assert span.start <= start < span.start + timeframe.length
    assert span.end == min(last_complete, ceil_time(end, timeframe.length))


FUTURE = at("2099-01-01 00:00")
NOON = at("2026-03-01 12:07")


def test_a_run_whose_data_interval_ends_in_the_future_builds_no_incomplete_window() -> None:
    """Who triggers a run can give it any data interval."""
    five_minutes = TIMEFRAMES["5m"]
    span = run_range(five_minutes, interval_end=at("2026-03-01 12:20"), run_after=NOON)
    assert span == Range(at("2026-03-01 12:00"), at("2026-03-01 12:05"))
    with pytest.raises(InputError, match="no 5m window is complete yet between 2098-12-31T23:40:00Z and 2099"):
        run_range(five_minutes, interval_end=FUTURE, run_after=NOON)
    # The current day is rebuilt up to its last complete window.
    assert run_days(interval_end=at("2026-03-02 00:00"), run_after=NOON) == [date(2026, 3, 1)]
    with pytest.raises(InputError, match="the day 2026-03-02 lies in the future"):
        run_days(interval_end=at("2026-03-03 00:00"), run_after=NOON)


def test_a_run_before_the_first_year_is_an_error_of_one_line() -> None:
    first = datetime(1, 1, 1, 0, 5, tzinfo=UTC)
    with pytest.raises(InputError, match="begins before the year 1: choose a later date"):
        run_range(TIMEFRAMES["1m"], interval_end=None, run_after=first)
    with pytest.raises(InputError, match="there is no day before 0001-01-01T00:00:00Z: choose a later date"):
        run_days(interval_end=None, run_after=first)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "x" * 1_000_000])
def test_the_error_of_an_invalid_time_is_one_short_line(text: str) -> None:
    for parse in (parse_time, parse_day):
        with pytest.raises(InputError) as error:
            parse(text)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 150


@given(spans=st.lists(ranges, max_size=8))
def test_merged_ranges_are_the_fewest_that_cover_the_same_time(spans: list[Range]) -> None:
    merged = merge_ranges(spans)
    assert all(is_covered(time, spans) == is_covered(time, merged) for time in times_around_bounds([*spans, *merged]))
    # There is a gap between two ranges, so no two of them could be merged.
    assert all(before.end < after.start for before, after in pairwise(merged))
    assert merge_ranges(reversed(spans)) == merged

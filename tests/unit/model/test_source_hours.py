"""Hours as partitions of the trades table: conversions, and blocks and predicates that select given hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ohlcv.model.intervals import EPOCH, HOUR, Range, from_microseconds
from ohlcv.model.source_hours import (
    HOURS_PER_DAY,
    PartitionBlock,
    blocks_of_consecutive_hours,
    consecutive_hours,
    format_hours,
    hour_number,
    hour_range,
    hours_overlapping,
    parse_hours,
    partition_blocks,
    partition_predicate,
    windows_of_hour,
)
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, Timeframe

FIRST_DAY = date(2026, 2, 27)
FIRST_HOUR = (FIRST_DAY - date(1970, 1, 1)).days * HOURS_PER_DAY
DAYS = 6
# Hours of a few days, single and in sequences, so that blocks within a day and over several days occur.
sequences = st.tuples(st.integers(0, DAYS * HOURS_PER_DAY - 1), st.integers(0, 80)).map(
    lambda pair: set(range(FIRST_HOUR + pair[0], FIRST_HOUR + min(sum(pair), DAYS * HOURS_PER_DAY - 1) + 1))
)
hour_sets = st.lists(sequences, max_size=6).map(lambda parts: set().union(*parts))
near_times = st.integers(0, 3 * 86_400_000_000).map(
    lambda microseconds: from_microseconds(1_772_000_000_000_000 + microseconds)
)
ranges = (
    st.tuples(near_times, near_times)
    .filter(lambda pair: pair[0] != pair[1])
    .map(lambda pair: Range(min(pair), max(pair)))
)
# Hours before the epoch are included, because rounding down is error-prone for negative numbers.
times = st.integers(-300_000 * 3600, 1_000_000 * 3600).map(lambda seconds: EPOCH + seconds * timedelta(seconds=1))
timeframes = st.sampled_from(list(DEFAULT_TIMEFRAMES.values()))


def hours_of(block: PartitionBlock) -> list[int]:
    return [
        day * HOURS_PER_DAY + hour - date(1970, 1, 1).toordinal() * HOURS_PER_DAY
        for day in range(block.first_day.toordinal(), block.last_day.toordinal() + 1)
        for hour in range(block.first_hour, block.last_hour + 1)
    ]


@given(time=times, timeframe=timeframes)
def test_the_windows_of_an_hour_contain_it_and_have_whole_length(time: datetime, timeframe: Timeframe) -> None:
    hour = hour_number(time)
    assert hour_range(hour).start <= time < hour_range(hour).end
    windows = windows_of_hour(timeframe, hour)
    assert windows.start <= hour_range(hour).start
    assert hour_range(hour).end <= windows.end
    assert windows.end - windows.start == max(timeframe.length, HOUR)
    assert (windows.start - EPOCH) % timeframe.length == timedelta(0)


@given(spans=st.lists(ranges, max_size=3))
def test_an_hour_overlaps_a_range_if_they_share_a_microsecond(spans: list[Range]) -> None:
    first = hour_number(from_microseconds(1_772_000_000_000_000)) - 3
    brute_force = {
        hour
        for hour in range(first, first + 80)
        if any(span.start < hour_range(hour).end and hour_range(hour).start < span.end for span in spans)
    }
    assert hours_overlapping(spans) == brute_force


@given(hours=st.sets(st.integers(-100, 100) | st.integers(400_000, 500_000)))
def test_formatting_and_parsing_hours_is_lossless(hours: set[int]) -> None:
    assert parse_hours(format_hours(hours)) == hours
    found = list(consecutive_hours(hours))
    assert {hour for first, last in found for hour in range(first, last + 1)} == hours
    # There is a gap between two sequences, so the text is as short as possible.
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))


def test_consecutive_hours_are_formatted_as_first_and_last() -> None:
    first = hour_number(datetime(2026, 1, 31, 9, tzinfo=UTC))
    assert format_hours([]) == ""
    assert format_hours([first + 15, first, first + 1, first + 2, first + 3]) == (
        "2026-01-31T09..2026-01-31T12,2026-02-01T00"
    )


@given(hours=hour_sets)
def test_partition_blocks_contain_each_hour_exactly_once(hours: set[int]) -> None:
    found = [hour for block in partition_blocks(hours) for hour in hours_of(block)]
    assert sorted(found) == sorted(hours)


@given(first=st.integers(-200, 500_000), length=st.integers(1, 1000))
def test_consecutive_hours_need_at_most_three_blocks(first: int, length: int) -> None:
    blocks = list(blocks_of_consecutive_hours(first, first + length - 1))
    assert len(blocks) <= 3
    assert [hour for block in blocks for hour in hours_of(block)] == list(range(first, first + length))


@pytest.fixture(scope="module")
def partitions() -> duckdb.DuckDBPyConnection:
    """Return a DuckDB table with one row for each hour of the days, and of the days before and after them."""
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE partitions AS SELECT"
        " DATE '1970-01-01' + CAST(hour // 24 AS INTEGER) AS exchange_date,"
        " CAST(hour % 24 AS INTEGER) AS exchange_hour, hour"
        f" FROM range({FIRST_HOUR - HOURS_PER_DAY}, {FIRST_HOUR + (DAYS + 1) * HOURS_PER_DAY}) hours(hour)"
    )
    return connection


@settings(deadline=None)
@given(hours=hour_sets)
@pytest.mark.parametrize("date_literal", ["DATE '{}'", "'{}'"], ids=["Spark", "pyiceberg"])
def test_the_predicate_selects_exactly_the_given_hours(
    partitions: duckdb.DuckDBPyConnection, date_literal: str, hours: set[int]
) -> None:
    predicate = partition_predicate(partition_blocks(hours), date_literal.format)
    found = partitions.execute(f"SELECT hour FROM partitions WHERE {predicate} ORDER BY hour").fetchall()
    assert [hour for (hour,) in found] == sorted(hours)


def test_the_predicate_of_a_block_is_compact() -> None:
    day = FIRST_HOUR + HOURS_PER_DAY
    assert partition_predicate(partition_blocks(range(day, day + 2 * HOURS_PER_DAY)), "DATE '{}'".format) == (
        "(exchange_date >= DATE '2026-02-28' AND exchange_date <= DATE '2026-03-01'"
        " AND exchange_hour >= 0 AND exchange_hour <= 23)"
    )
    assert partition_predicate([], str) == "FALSE"

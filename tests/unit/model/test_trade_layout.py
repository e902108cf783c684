"""Layouts of trades tables: the hours of a file, and the conditions that select hours."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from ohlcv.model.table_contracts import Partition
from ohlcv.model.trade_layout import (
    FIRST_HOUR,
    LAST_HOUR,
    Between,
    HourLayout,
    every_hour,
    hour_column,
    hour_conditions,
    hour_layout,
    hours_within,
)
from ohlcv.model.trade_mapping import DEFAULT_MAPPING, Source, TradeMapping, Unit

HOUR = 493_000  # 2026-03-29 16:00
SOURCES = {"timestamp": Source("ts"), "price": Source("px"), "quantity": Source("qty"), "trade_id": Source("id")}
BY_TIMESTAMP = TradeMapping(SOURCES)
WITH_HOURS = TradeMapping({**SOURCES, "exchange_date": Source("dt"), "exchange_hour": Source("hr")})


def in_unit(unit: Unit | None) -> TradeMapping:
    return TradeMapping({**SOURCES, "timestamp": Source("ts", unit=unit)})


@pytest.mark.parametrize(
    ("mapping", "partitions", "layout"),
    [
        (DEFAULT_MAPPING, [("exchange_date", "identity"), ("exchange_hour", "identity")], HourLayout(0, 1)),
        (WITH_HOURS, [("hr", "identity"), ("pair", "identity"), ("dt", "identity")], HourLayout(2, 0)),
        (WITH_HOURS, [("dt", "identity")], None),
        # The date and the hour of a trade may contradict its timestamp.
        (WITH_HOURS, [("ts", "hour")], None),
        (BY_TIMESTAMP, [("pair", "bucket[8]"), ("ts", "hour")], HourLayout(None, 1)),
        (BY_TIMESTAMP, [("ts", "day")], None),
        (BY_TIMESTAMP, [("loaded", "hour")], None),
        (BY_TIMESTAMP, [], None),
    ],
)
def test_only_a_spec_that_separates_the_hours_of_trades_gives_a_file_one_hour(
    mapping: TradeMapping, partitions: list[tuple[str, str]], layout: HourLayout | None
) -> None:
    assert hour_layout(mapping, [Partition(*each) for each in partitions]) == layout


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9), (None, 10**6)])
def test_bounds_of_timestamps_limit_the_hours_of_a_file(unit: Unit | None, per_second: int) -> None:
    mapping = in_unit(unit)
    start, length = HOUR * 3600 * per_second, 3600 * per_second
    assert hour_column(mapping) == "ts"
    assert hours_within(mapping, start, start) == range(HOUR, HOUR + 1)
    assert hours_within(mapping, start - 1, start + length) == range(HOUR - 1, HOUR + 2)
    # Times before the epoch are rounded down, too.
    assert hours_within(mapping, -1, 0) == range(-1, 1)


def test_bounds_outside_the_calendar_are_no_hours() -> None:
    assert hours_within(in_unit("us"), -(2**63), 2**63 - 1) == range(FIRST_HOUR, LAST_HOUR + 1)
    assert hours_within(in_unit("s"), 10**15, 2**63 - 1) == range(10**15 // 3600, LAST_HOUR + 1)
    assert len(hours_within(in_unit("s"), 10**15, 2**63 - 1)) == 0


def test_bounds_of_dates_limit_the_hours_where_dates_are_mapped() -> None:
    assert hour_column(WITH_HOURS) == "dt"
    assert hours_within(WITH_HOURS, 10, 11) == range(240, 288)


def test_conditions_have_the_type_of_the_column() -> None:
    hours = [HOUR, HOUR + 1, HOUR + 30]
    start = HOUR * 3600
    assert hour_conditions(in_unit("s"), {"ts": "int"}, hours) == [
        (Between("ts", start, start + 7199),),
        (Between("ts", start + 30 * 3600, start + 31 * 3600 - 1),),
    ]
    first, last = datetime(2026, 3, 29, 16, tzinfo=UTC), datetime(2026, 3, 29, 17, 59, 59, 999_999, tzinfo=UTC)
    assert hour_conditions(BY_TIMESTAMP, {"ts": "timestamptz"}, hours)[0] == (Between("ts", first, last),)
    local = Between("ts", first.replace(tzinfo=None), last.replace(tzinfo=None))
    assert hour_conditions(BY_TIMESTAMP, {"ts": "timestamp"}, hours)[0] == (local,)
    assert hour_conditions(WITH_HOURS, {}, hours[:1]) == [
        (Between("dt", date(2026, 3, 29), date(2026, 3, 29)), Between("hr", 16, 16))
    ]


def test_every_trade_of_an_hour_meets_one_condition() -> None:
    assert every_hour(WITH_HOURS, {}) == (
        Between("dt", date(1000, 1, 1), date(9998, 12, 31)),
        Between("hr", 0, 23),
    )
    (condition,) = every_hour(in_unit("ns"), {"ts": "long"})
    # A number of 64 bits holds nanoseconds of the years 1677 to 2262.
    assert condition == Between("ts", -(2**63), 2**63 - 1)

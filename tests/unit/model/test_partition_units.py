"""Partitions by day and by month: their numbers, their first days, and the ranges that cover them."""

from __future__ import annotations

from datetime import date

from ohlcv.model.partition_units import (
    merge_partitions,
    next_partition,
    partition_number,
    partition_of,
    partition_start,
)


def test_months_and_days_are_numbered_from_1970() -> None:
    for day in (date(1970, 1, 1), date(2024, 2, 29), date(2025, 12, 31)):
        assert partition_start("day", partition_number("day", day)) == day
        assert partition_start("month", partition_number("month", day)) == partition_of("month", day)
    assert (partition_number("month", date(1971, 2, 3)), partition_number("day", date(1970, 2, 1))) == (13, 31)
    assert next_partition("month", date(2025, 12, 31)) == date(2026, 1, 1)


def test_merged_partitions_cover_only_planned_partitions() -> None:
    days = [date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 3)]
    assert merge_partitions("day", days) == [
        (date(2026, 1, 30), date(2026, 2, 2)),
        (date(2026, 2, 3), date(2026, 2, 4)),
    ]
    months = [date(2025, 12, 1), date(2026, 1, 1), date(2026, 3, 1)]
    assert merge_partitions("month", months) == [
        (date(2025, 12, 1), date(2026, 2, 1)),
        (date(2026, 3, 1), date(2026, 4, 1)),
    ]

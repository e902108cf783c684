"""Days and months as partitions: their numbers in Iceberg, which count from 1970-01-01, and their first days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Literal

Unit = Literal["day", "month"]


def partition_start(unit: Unit, number: int) -> date:
    """Return the first day of a partition by its number."""
    if unit == "day":
        return date(1970, 1, 1) + timedelta(days=number)
    return date(1970 + number // 12, number % 12 + 1, 1)


def partition_number(unit: Unit, day: date) -> int:
    """Return the number of the partition that contains a day."""
    if unit == "day":
        return (day - date(1970, 1, 1)).days
    return (day.year - 1970) * 12 + day.month - 1


def partition_of(unit: Unit, day: date) -> date:
    """Return the first day of the partition that contains a day."""
    return day.replace(day=1) if unit == "month" else day


def next_partition(unit: Unit, day: date) -> date:
    """Return the first day of the partition after the one that contains a day."""
    if unit == "day":
        return day + timedelta(days=1)
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def merge_partitions(unit: Unit, days: Iterable[date]) -> list[tuple[date, date]]:
    """Return half-open date ranges that cover exactly these partitions; adjacent partitions share a range."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        end = next_partition(unit, day)
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], end)
        else:
            found.append((day, end))
    return found

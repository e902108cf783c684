"""Layout of a trades table: which hours a file may contain, and which stored values belong to an hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date

from ohlcv.model.intervals import HOUR, MICROSECOND, from_microseconds
from ohlcv.model.source_hours import FIRST_DAY, HOURS_PER_DAY, LAST_DAY, blocks_of_consecutive_hours, consecutive_hours
from ohlcv.model.table_contracts import Partition
from ohlcv.model.trade_mapping import (
    EXCHANGE_DATE,
    EXCHANGE_HOUR,
    MICROSECONDS_PER_SECOND,
    TIMESTAMP,
    TIMESTAMP_TYPES,
    UNITS_PER_SECOND,
    TradeMapping,
)

FIRST_HOUR, LAST_HOUR = FIRST_DAY * HOURS_PER_DAY, (LAST_DAY + 1) * HOURS_PER_DAY - 1
SECONDS_PER_HOUR = 3600
MICROSECONDS_PER_HOUR = HOUR // MICROSECOND


@dataclass(frozen=True)
class HourLayout:
    """Partition spec in which every file contains trades of one hour: the positions of its date and hour.

    Without a date, the hour is counted from the epoch.
    """

    date: int | None
    hour: int


def hour_layout(mapping: TradeMapping, partitions: Sequence[Partition]) -> HourLayout | None:
    """Return the layout of a partition spec, None if a file may contain trades of several hours."""
    positions = {partition: position for position, partition in enumerate(partitions)}
    if mapping.has_hours:
        day, hour = (
            positions.get(Partition(_column(mapping, name), "identity")) for name in (EXCHANGE_DATE, EXCHANGE_HOUR)
        )
        return None if day is None or hour is None else HourLayout(day, hour)
    position = positions.get(Partition(_column(mapping, TIMESTAMP), "hour"))
    return None if position is None else HourLayout(None, position)


def _column(mapping: TradeMapping, name: str) -> str:
    column = mapping.sources[name].column
    assert column is not None, "only symbol and exchange can be constants"
    return column


def hour_column(mapping: TradeMapping) -> str:
    """Return the column of the table whose bounds limit the hours of a file."""
    return _column(mapping, EXCHANGE_DATE if mapping.has_hours else TIMESTAMP)


def hours_within(mapping: TradeMapping, lower: int, upper: int) -> range:
    """Return the hours between two values of the hour column, both inclusive. A date is a day number."""
    if mapping.has_hours:
        first, last = lower * HOURS_PER_DAY, upper * HOURS_PER_DAY + HOURS_PER_DAY - 1
    else:
        unit = mapping.sources[TIMESTAMP].unit
        length = (MICROSECONDS_PER_SECOND if unit is None else UNITS_PER_SECOND[unit]) * SECONDS_PER_HOUR
        first, last = lower // length, upper // length
    return range(max(first, FIRST_HOUR), min(last, LAST_HOUR) + 1)


@dataclass(frozen=True)
class Between:
    """Condition that a column of the table lies between two values, both inclusive.

    A time has a zone if the column has one.
    """

    column: str
    first: int | date
    last: int | date


def hour_conditions(mapping: TradeMapping, kinds: Mapping[str, str], hours: Iterable[int]) -> list[tuple[Between, ...]]:
    """Return alternative conditions that together select exactly the trades of those hours.

    `kinds` are the Iceberg types of the table's columns. The values have the type of the column, so that Iceberg
    excludes files by their bounds.
    """
    return [
        each for first, last in consecutive_hours(hours) for each in conditions_between(mapping, kinds, first, last)
    ]


def conditions_between(
    mapping: TradeMapping, kinds: Mapping[str, str], first: int, last: int
) -> list[tuple[Between, ...]]:
    """Return alternative conditions that select the trades of the hours from first to last, both inclusive."""
    if mapping.has_hours:
        day, hour = _column(mapping, EXCHANGE_DATE), _column(mapping, EXCHANGE_HOUR)
        return [
            (Between(day, block.first_day, block.last_day), Between(hour, block.first_hour, block.last_hour))
            for block in blocks_of_consecutive_hours(first, last)
        ]
    column = _column(mapping, TIMESTAMP)
    kind = kinds[column]
    bounds = mapping.time_bounds(kind, first * MICROSECONDS_PER_HOUR, (last + 1) * MICROSECONDS_PER_HOUR)
    if kind not in TIMESTAMP_TYPES:
        return [(Between(column, *bounds),)]
    zone = UTC if kind == "timestamptz" else None
    return [(Between(column, *(from_microseconds(bound).replace(tzinfo=zone) for bound in bounds)),)]


def every_hour(mapping: TradeMapping, kinds: Mapping[str, str]) -> tuple[Between, ...]:
    """Return the conditions that together select every trade of an hour; all others belong to no hour."""
    (conditions,) = conditions_between(mapping, kinds, FIRST_HOUR, LAST_HOUR)
    return conditions

"""Scans of candle tables: row filters and reads that prune by partition and by column bounds of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

import pyarrow as pa
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    In,
    LessThan,
    LessThanOrEqual,
    LiteralPredicate,
    Or,
)
from pyiceberg.table import Table

from ohlcv.iceberg.damage import report_damage
from ohlcv.model.intervals import MICROSECOND
from ohlcv.model.table_contracts import CANDLE_COLUMNS, MEASURE_COLUMNS
from ohlcv.model.timeframes import Timeframe

# (symbol, exchange)
Series = tuple[str, str]


def compare(predicate: type[LiteralPredicate], column: str, value: object) -> BooleanExpression:
    """Return a predicate of pyiceberg on a column."""
    # Called through the base class, because mypy does not accept plain values for the pydantic fields of subclasses.
    return predicate(column, value)


def one_of(column: str, values: Iterable[object]) -> BooleanExpression:
    """Return the filter for a set of values."""
    return In(column, values)  # type: ignore[call-arg,arg-type]  # mypy sees the fields of pydantic


def series_condition(symbol: str | None, exchange: str | None) -> BooleanExpression:
    """Return the filter for a symbol and an exchange; None means any."""
    condition: BooleanExpression = AlwaysTrue()
    if symbol is not None:
        condition = And(condition, compare(EqualTo, "symbol", symbol))
    if exchange is not None:
        condition = And(condition, compare(EqualTo, "exchange", exchange))
    return condition


def has_series(table: Table, condition: BooleanExpression) -> bool:
    """Return whether a table has a row of a series that meets a condition."""
    scan = table.scan(condition, ("symbol",), limit=1)
    with report_damage(table, scan):
        return bool(len(scan.to_arrow()))


def time_condition(start: datetime | None, end: datetime | None) -> BooleanExpression:
    """Return the filter for start <= window_start < end; None means unbounded."""
    # The tables are partitioned by `window_date`; a condition on `window_start` alone would not prune partitions.
    # pyiceberg fails for bounds on the first day of the year 1, which has no candle.
    condition: BooleanExpression = AlwaysTrue()
    if start is not None and (start := start.astimezone(UTC)).date() > date.min:
        condition = And(
            condition,
            compare(GreaterThanOrEqual, "window_date", start.date()),
            compare(GreaterThanOrEqual, "window_start", start),
        )
    if end is not None:
        end = end.astimezone(UTC)
        if end.date() == date.min:
            return AlwaysFalse()
        condition = And(
            condition,
            compare(LessThanOrEqual, "window_date", (end - MICROSECOND).date()),
            compare(LessThan, "window_start", end),
        )
    return condition


def any_series(series: set[Series]) -> BooleanExpression:
    """Return the filter for a set of series."""
    conditions = [series_condition(symbol, exchange) for symbol, exchange in sorted(series)]
    return conditions[0] if len(conditions) == 1 else Or(*conditions)


def partition_condition(timeframe: Timeframe, partitions: Sequence[int]) -> BooleanExpression:
    """Return the filter for the range from the first to the last of the partitions."""
    return And(
        compare(GreaterThanOrEqual, "window_date", timeframe.partition_start(min(partitions))),
        compare(LessThan, "window_date", timeframe.partition_start(max(partitions) + 1)),
    )


def table_schema(table: Table, measures: bool = False) -> pa.Schema:
    """Return the columns of the contract of candles as an Arrow schema; the table may have more columns.

    `measures` adds those of an extended table.
    """
    found = table.schema().as_arrow()
    columns = (*CANDLE_COLUMNS, *(MEASURE_COLUMNS if measures else ()))
    # Field ids of pyiceberg's schema are omitted: with them, the schema would not equal that of a DuckDB result.
    return pa.schema([(column.name, found.field(column.name).type) for column in columns])


class CandleSource(Protocol):
    """Candles of one state of a table."""

    @property
    def schema(self) -> pa.Schema:
        """Return the columns of a candle with the types of the table."""

    def rows(self, condition: BooleanExpression, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the matching candles, all columns of a candle by default."""

    def partitions(self, condition: BooleanExpression) -> list[int]:
        """Return the partitions that may contain matching candles, newest first. Reads few or no data files."""


@dataclass(frozen=True)
class StoredCandles:
    """The candles of a snapshot of a table, by default of the current one."""

    table: Table
    snapshot: int | None = None
    # A state before the first snapshot.
    is_empty: bool = False
    # Whether to read the measures of an extended table, too.
    measures: bool = False

    @property
    def schema(self) -> pa.Schema:
        return table_schema(self.table, self.measures)

    def rows(self, condition: BooleanExpression, columns: Sequence[str] | None = None) -> pa.Table:
        schema = self.schema
        names = columns or schema.names
        scan = self.table.scan(self._condition(condition), tuple(names), snapshot_id=self.snapshot)
        with report_damage(self.table, scan):
            rows = scan.to_arrow()
        return rows.select(names).cast(pa.schema([schema.field(name) for name in names]))

    def partitions(self, condition: BooleanExpression) -> list[int]:
        scan = self.table.scan(self._condition(condition), snapshot_id=self.snapshot)
        with report_damage(self.table, scan):
            found = {task.file.partition[0] for task in scan.plan_files()}
        # Another writer may have stored a candle without its date, which no range contains.
        return sorted(found - {None}, reverse=True)

    def _condition(self, condition: BooleanExpression) -> BooleanExpression:
        return AlwaysFalse() if self.is_empty else condition


def single_series(symbol: str | None, exchange: str | None) -> Series | None:
    """Return the series if both its symbol and its exchange are given."""
    return None if symbol is None or exchange is None else (symbol, exchange)


def count_by_series(rows: pa.Table) -> dict[Series, int]:
    """Return the number of rows of each series."""
    counts = rows.group_by(["symbol", "exchange"]).aggregate([([], "count_all")])
    return {(row["symbol"], row["exchange"]): row["count_all"] for row in counts.to_pylist()}

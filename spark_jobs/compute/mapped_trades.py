"""Columns of the contract from a trades table of another shape (`ohlcv.model.trade_mapping`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ohlcv.model.table_contracts import AMOUNT
from ohlcv.model.trade_layout import MICROSECONDS_PER_HOUR, Between
from ohlcv.model.trade_mapping import (
    AMOUNTS,
    BUY,
    EXCHANGE,
    EXCHANGE_DATE,
    EXCHANGE_HOUR,
    MESSAGE_ID,
    PLATFORM_SEQUENCE,
    SELL,
    SIDE,
    SOURCE_SEQUENCE,
    SYMBOL,
    TIMES,
    TIMESTAMP,
    TRADE_ID,
    UNITS_PER_SECOND,
    Filter,
    Source,
    TradeMapping,
)
from ohlcv.model.trade_validity import INFINITE, NOT_A_NUMBER, OVERFLOW

# Types of the contract's columns in Spark that are neither times nor amounts.
_TYPES = {
    SYMBOL: "string",
    EXCHANGE: "string",
    TRADE_ID: "string",
    MESSAGE_ID: "string",
    SOURCE_SEQUENCE: "bigint",
    PLATFORM_SEQUENCE: "bigint",
}
# The reasons why an amount has no value in the type of the contract, in the order in which they are checked.
FAULTS = tuple(f"{name}_fault" for name in AMOUNTS)
MICROSECONDS_PER_DAY = 24 * MICROSECONDS_PER_HOUR


def quoted(name: str) -> str:
    """Return the name of a column as SQL."""
    return f"`{name.replace('`', '``')}`"


def any_of(alternatives: Iterable[tuple[Between, ...]]) -> Column:
    """Return the predicate of alternative conditions; as one SQL text, because each Column costs calls to the JVM."""
    terms = (f"({' AND '.join(map(_between, conditions))})" for conditions in alternatives)
    return F.expr(" OR ".join(terms) or "FALSE")


def _between(condition: Between) -> str:
    column = quoted(condition.column)
    return f"{column} >= {_literal(condition.first)} AND {column} <= {_literal(condition.last)}"


def is_outside(conditions: Iterable[Between]) -> Column:
    """Return the predicate that a column of the conditions is null or outside its bounds."""
    terms = (
        f"{column} IS NULL OR {column} < {_literal(each.first)} OR {column} > {_literal(each.last)}"
        for each in conditions
        for column in [quoted(each.column)]
    )
    return F.expr(" OR ".join(terms))


def _literal(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, datetime):
        return f"DATE '{value}'"
    return f"TIMESTAMP '{value.isoformat(' ')}'" if value.tzinfo else f"TIMESTAMP_NTZ '{value.isoformat(' ')}'"


def meets_filters(filters: Iterable[Filter]) -> Column:
    """Return the predicate of the rows that are trades."""
    return reduce(and_, map(_meets, filters), F.lit(True))


def _meets(condition: Filter) -> Column:
    column = F.col(quoted(condition.column))
    match condition.operator:
        case "is null":
            return column.isNull()
        case "is not null":
            return column.isNotNull()
    return column.isin(*condition.values)


def mapped_trades(rows: DataFrame, mapping: TradeMapping, kinds: Mapping[str, str]) -> DataFrame:
    """Return the rows that are trades, with the columns of the contract.

    `price_fault` and `quantity_fault` are the reasons why an amount has no value in the type of the contract.
    """
    sources = mapping.sources
    columns = {name: _plain(sources.get(name), kind) for name, kind in _TYPES.items()}
    columns |= {name: _microseconds(sources.get(name)) for name in TIMES}
    columns[SIDE] = _side(sources.get(SIDE))
    for name in AMOUNTS:
        source = sources[name].column or ""
        amount = mapped_amount(quoted(source), kinds[source])
        columns |= {name: amount, f"{name}_fault": _fault(quoted(source), kinds[source], amount)}
    if mapping.has_hours:
        columns[EXCHANGE_DATE] = F.col(quoted(sources[EXCHANGE_DATE].column or ""))
        columns[EXCHANGE_HOUR] = F.col(quoted(sources[EXCHANGE_HOUR].column or "")).try_cast("int")
    trades = rows.where(meets_filters(mapping.filters)) if mapping.filters else rows
    trades = trades.select(*(column.alias(name) for name, column in columns.items()))
    return trades if mapping.has_hours else trades.withColumns(_hour_of_timestamp())


def _hour_of_timestamp() -> dict[str, Column]:
    day = f"CAST({_floor_divide(TIMESTAMP, MICROSECONDS_PER_DAY)} AS INT)"
    hour = f"CAST(pmod({TIMESTAMP}, {MICROSECONDS_PER_DAY}) div {MICROSECONDS_PER_HOUR} AS INT)"
    return {EXCHANGE_DATE: F.expr(f"date_from_unix_date({day})"), EXCHANGE_HOUR: F.expr(hour)}


def _floor_divide(number: str, divisor: int) -> str:
    """Return a division of whole numbers, rounded down, as SQL. No step exceeds 64 bits."""
    return f"({number} div {divisor} - IF({number} % {divisor} < 0, 1, 0))"


def _plain(source: Source | None, kind: str) -> Column:
    if source is None or source.column is None:
        return F.lit(source.constant if source else None).cast(kind)
    return F.col(quoted(source.column)).cast(kind)


def _side(source: Source | None) -> Column:
    if source is None or source.column is None:
        return F.lit(None).cast("string")
    column = F.col(quoted(source.column))
    return F.when(column == F.lit(source.buy), BUY).when(column == F.lit(source.sell), SELL)


def _microseconds(source: Source | None) -> Column:
    if source is None or source.column is None:
        return F.lit(None).cast("bigint")
    column = F.col(quoted(source.column))
    if source.unit is None:
        # A timestamp without a zone is in UTC, the time zone of the session.
        return F.unix_micros(column.cast("timestamp"))
    number = column.cast("bigint")
    match source.unit:
        case "us":
            return number
        case "ns":
            return F.expr(_floor_divide(quoted(source.column), UNITS_PER_SECOND["ns"] // UNITS_PER_SECOND["us"]))
    # Null if it does not fit: such a time is no hour.
    return F.try_multiply(number, F.lit(UNITS_PER_SECOND["us"] // UNITS_PER_SECOND[source.unit]).cast("bigint"))


def mapped_amount(name: str, kind: str) -> Column:
    """Return an amount, rounded half up; null if it has no value in the type of the contract.

    Spark converts a double through the text that Java prints. Before Java 19 that is not always the shortest text, but
    it rounds to the same amount (test_mapped_amounts.py).
    """
    return F.col(name) if kind == AMOUNT else F.col(name).try_cast(AMOUNT)


def _fault(name: str, kind: str, amount: Column) -> Column:
    if kind == AMOUNT:
        return F.lit(None).cast("string")
    number = F.col(name)
    overflow = F.when(number.isNotNull() & amount.isNull(), OVERFLOW)
    if kind != "double":
        return overflow
    return F.when(F.isnan(number), NOT_A_NUMBER).when(F.abs(number) == float("inf"), INFINITE).otherwise(overflow)

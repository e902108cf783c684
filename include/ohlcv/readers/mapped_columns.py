"""Columns of the data contract, computed by DuckDB from a trades table of another shape.

The rules are those of `model.trade_mapping`. The Spark jobs implement them separately.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from ohlcv.model.table_contracts import AMOUNT, TRADE_COLUMNS
from ohlcv.model.trade_layout import MICROSECONDS_PER_HOUR
from ohlcv.model.trade_mapping import (
    AMOUNTS,
    BUY,
    COLUMNS_WITHOUT_SIDE,
    EXCHANGE_DATE,
    EXCHANGE_HOUR,
    MAPPED_COLUMNS,
    MICROSECONDS_PER_SECOND,
    SELL,
    SIDE,
    TIMES,
    TIMESTAMP,
    UNITS_PER_SECOND,
    Filter,
    FilterValue,
    Source,
    TradeMapping,
)
from ohlcv.model.trade_validity import INFINITE, NOT_A_NUMBER, OVERFLOW, validity_condition

# Column of the projection with the reason why a price or quantity has no value; null if both have one.
AMOUNT_FAULT = "amount_fault"
_DUCKDB_TYPES = {"string": "VARCHAR", "long": "BIGINT", "int": "INTEGER", "date": "DATE", AMOUNT: AMOUNT}
_TYPES = {column.name: _DUCKDB_TYPES[column.type] for column in TRADE_COLUMNS if column.name in MAPPED_COLUMNS}


def projection(mapping: TradeMapping, kinds: Mapping[str, str], relation: str, *, with_side: bool = False) -> str:
    """Return the SQL that selects the columns of the contract and `AMOUNT_FAULT` from a relation."""
    expressions = {name: _expression(name, mapping.sources.get(name), kinds) for name in COLUMNS_WITHOUT_SIDE}
    if with_side:
        expressions[SIDE] = _side(mapping)
    columns = [f"{expression} AS {_quoted(name)}" for name, expression in expressions.items()]
    faults = ", ".join(_fault(mapping.sources[name], kinds) for name in AMOUNTS)
    conditions = " AND ".join(map(_condition, mapping.filters)) or "true"
    return (
        f"SELECT {', '.join(columns)}, coalesce({faults}) AS {AMOUNT_FAULT} "
        f"FROM {relation} AS trade_row WHERE {conditions}"
    )


def _expression(name: str, source: Source | None, kinds: Mapping[str, str]) -> str:
    kind = _TYPES[name]
    if source is None:
        return f"CAST(NULL AS {kind})"
    if source.constant is not None:
        return f"CAST({_literal(source.constant)} AS {kind})"
    assert source.column is not None
    column = _column(source.column)
    if name in TIMES:
        return _microseconds(column, source)
    if name in AMOUNTS:
        return _amount(column, kinds[source.column])
    return f"CAST({column} AS {kind})"


def _side(mapping: TradeMapping) -> str:
    source = mapping.sources.get(SIDE)
    if source is None or source.column is None:
        return f"CAST(NULL AS {_TYPES[SIDE]})"
    column = _column(source.column)
    if mapping.is_default:
        # Versions of a trade are ordered by the text that the table has.
        return column
    return f"CASE {column} WHEN {_literal(source.buy)} THEN '{BUY}' WHEN {_literal(source.sell)} THEN '{SELL}' END"


def _microseconds(column: str, source: Source) -> str:
    """Return a time in microseconds, null if it does not fit."""
    if source.unit is None:
        return f"epoch_us({column})"
    per_second = UNITS_PER_SECOND[source.unit]
    if per_second <= MICROSECONDS_PER_SECOND:
        # A 128-bit number holds every product.
        return f"TRY_CAST(CAST({column} AS HUGEINT) * {MICROSECONDS_PER_SECOND // per_second} AS BIGINT)"
    return floor_division(column, per_second // MICROSECONDS_PER_SECOND)


def floor_division(number: str, divisor: int | str) -> str:
    """Return the SQL of a division that rounds down. DuckDB's own truncates toward zero."""
    return f"({number} // {divisor} - CAST({number} % {divisor} < 0 AS BIGINT))"


def _amount(column: str, kind: str) -> str:
    """Return an amount, rounded half up; null if it is not a number, infinite, or does not fit."""
    if kind == "double":
        # DuckDB's text of a double is the shortest one that identifies it. An amount below 10^10 has ten digits before
        # its decimal point. One of at least 10^-9 has at most 26 after it, and a smaller one is rounded to zero. So
        # the text is converted exactly, and only the second conversion rounds. The direct conversion of a double is
        # wrong: it multiplies by 10^8 in floating point.
        column = f"TRY_CAST(CAST({column} AS VARCHAR) AS DECIMAL(38, 28))"
    return f"TRY_CAST({column} AS {AMOUNT})"


def _fault(source: Source, kinds: Mapping[str, str]) -> str:
    assert source.column is not None
    column, kind = _column(source.column), kinds[source.column]
    faults = f"WHEN {column} IS NOT NULL AND {_amount(column, kind)} IS NULL THEN '{OVERFLOW}'"
    if kind == "double":
        faults = f"WHEN isnan({column}) THEN '{NOT_A_NUMBER}' WHEN isinf({column}) THEN '{INFINITE}' {faults}"
    return f"CASE {faults} END"


def _condition(condition: Filter) -> str:
    column = _column(condition.column)
    if not condition.values:
        return f"{column} {condition.operator.upper()}"
    return f"{column} IN ({', '.join(map(_literal, condition.values))})"


def _literal(value: FilterValue) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"DATE '{value}'" if isinstance(value, date) else str(value)


def _column(name: str) -> str:
    return f"trade_row.{_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def hour_of_trade(mapping: TradeMapping) -> str:
    """Return the SQL of the hour of a trade, from the columns of the contract."""
    if mapping.has_hours:
        return f"date_diff('day', DATE '1970-01-01', \"{EXCHANGE_DATE}\") * 24 + \"{EXCHANGE_HOUR}\""
    return _timestamp_hour()


def _timestamp_hour() -> str:
    return floor_division(f'"{TIMESTAMP}"', MICROSECONDS_PER_HOUR)


def valid_condition(mapping: TradeMapping) -> str:
    """Return the SQL condition of a valid trade on the columns of the contract."""
    identity = {"identity": "true"} if mapping.every_row else {}
    return f"{validity_condition(**identity)} AND {_timestamp_hour()} = {hour_of_trade(mapping)}"


def source_microseconds(value: int, source: Source) -> int:
    """Return a stored time in microseconds."""
    return value if source.unit is None else value * MICROSECONDS_PER_SECOND // UNITS_PER_SECOND[source.unit]

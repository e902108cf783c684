"""Mapping of a trades table of another shape to the columns that candles depend on.

The default mapping is the data contract. Spark (spark_jobs.compute.mapped_trades) and DuckDB (readers.mapped_columns)
each compute the columns of the contract from a mapping. Both follow these rules:

* A time is microseconds since the epoch. Nanoseconds are floored. A timestamp without a zone is in UTC.
* An amount is decimal(18, 8). A decimal with more places is rounded half up. A double is converted to its shortest
  decimal text, which is rounded half up. A double that is not a number or infinite, and an amount that does not fit
  after rounding, is null, and a reason of `trade_validity.AMOUNT_FAULTS` to reject the trade.
* A whole number that is an id is its decimal text.
* The side of the taker is BUY or SELL: where the column has the value given for it. Any other value is null.
* A trade that a filter excludes does not exist: it is neither read nor rejected.
* Without date and hour columns, the hour of a trade is that of its timestamp.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

Unit = Literal["s", "ms", "us", "ns"]
UNITS_PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MICROSECONDS_PER_SECOND = UNITS_PER_SECOND["us"]

# The columns of the contract that candles depend on, and no others. Only measures depend on the side.
SYMBOL, EXCHANGE, TIMESTAMP, PRICE, QUANTITY = "symbol", "exchange", "timestamp", "price", "quantity"
TRADE_ID, MESSAGE_ID = "trade_id", "message_id"
EXCHANGE_DATE, EXCHANGE_HOUR = "exchange_date", "exchange_hour"
INGESTION_TIMESTAMP, SOURCE_SEQUENCE, PLATFORM_SEQUENCE = "ingestion_timestamp", "source_sequence", "platform_sequence"
SIDE, BUY, SELL = "side", "BUY", "SELL"
COLUMNS_WITHOUT_SIDE = (
    SYMBOL,
    EXCHANGE,
    TRADE_ID,
    MESSAGE_ID,
    TIMESTAMP,
    PRICE,
    QUANTITY,
    SOURCE_SEQUENCE,
    INGESTION_TIMESTAMP,
    PLATFORM_SEQUENCE,
    EXCHANGE_DATE,
    EXCHANGE_HOUR,
)
MAPPED_COLUMNS = (*COLUMNS_WITHOUT_SIDE, SIDE)
TIMES = (TIMESTAMP, INGESTION_TIMESTAMP)
AMOUNTS = (PRICE, QUANTITY)

# Types in the notation of Iceberg.
TIMESTAMP_TYPES = ("timestamp", "timestamptz")
_WHOLE_NUMBERS = ("int", "long")
_READABLE = {
    SYMBOL: ("string",),
    EXCHANGE: ("string",),
    TRADE_ID: ("string", *_WHOLE_NUMBERS),
    MESSAGE_ID: ("string", *_WHOLE_NUMBERS),
    SOURCE_SEQUENCE: _WHOLE_NUMBERS,
    PLATFORM_SEQUENCE: _WHOLE_NUMBERS,
    EXCHANGE_DATE: ("date",),
    EXCHANGE_HOUR: _WHOLE_NUMBERS,
}
_DECIMAL = re.compile(r"decimal\(\d+, ?\d+\)")
LONG_LIMIT = 2**63
# Smallest and largest value of each whole number.
INTEGER_BOUNDS = {"int": (-(2**31), 2**31 - 1), "long": (-LONG_LIMIT, LONG_LIMIT - 1)}


# A text, a whole number or a boolean.
SideValue = str | int


@dataclass(frozen=True)
class Source:
    """Where a column of the contract comes from: a column of the table, or one value for all trades."""

    column: str | None = None
    # Only for symbol and exchange.
    constant: str | None = None
    # Of a time that is stored as a number. None for an Iceberg timestamp.
    unit: Unit | None = None
    # Only for side: the values of the column, both of one type.
    buy: SideValue = BUY
    sell: SideValue = SELL


FilterValue = str | int | date
# Type of a filter's value -> types of the columns that it is compared with.
_COMPARABLE: dict[type, tuple[str, ...]] = {
    str: ("string",),
    bool: ("boolean",),
    int: _WHOLE_NUMBERS,
    date: ("date",),
}


@dataclass(frozen=True)
class Filter:
    """A condition that every trade of the table meets."""

    column: str
    operator: Literal["=", "in", "is null", "is not null"]
    # One value for =, one or more for in, all of one type; none for the others.
    values: tuple[FilterValue, ...] = ()


@dataclass(frozen=True)
class TradeMapping:
    """The source of each column of the contract, and the filters. A column without a source is null."""

    sources: Mapping[str, Source]
    # Every row is a trade of its own: rows have no ids, and none of them is a duplicate.
    every_row: bool = False
    filters: tuple[Filter, ...] = ()

    @property
    def is_default(self) -> bool:
        """Return whether the trades table is that of the contract."""
        return self == DEFAULT_MAPPING

    @property
    def has_hours(self) -> bool:
        """Return whether the table stores the date and the hour of each trade, which may contradict its timestamp."""
        return EXCHANGE_DATE in self.sources

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Return the columns of the table that are used, each once."""
        return self.columns_read(with_side=True)

    def columns_read(self, *, with_side: bool) -> tuple[str, ...]:
        """Return the columns of the table that are read, each once."""
        sources = (source for name, source in self.sources.items() if with_side or name != SIDE)
        names = [source.column for source in sources if source.column is not None]
        return tuple(dict.fromkeys([*names, *(each.column for each in self.filters)]))

    def fingerprint(self) -> str:
        """Return a text that changes with the mapping, empty for the default."""
        if self.is_default:
            return ""
        content = {
            "sources": {name: _source_content(name, self.sources[name]) for name in sorted(self.sources)},
            "every_row": self.every_row,
            "filters": sorted(
                json.dumps([each.column, each.operator, *sorted(map(_typed_text, each.values))])
                for each in self.filters
            ),
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def time_bounds(self, kind: str, start: int, end: int) -> tuple[int, int]:
        """Return the first and the last timestamp of a range of microseconds [start, end), as the table stores them.

        `kind` is the type of the column. The last one is less than the first if the column holds no such time.
        """
        unit = self.sources[TIMESTAMP].unit
        if unit is None:
            return start, end - 1
        per_second = UNITS_PER_SECOND[unit]
        # The smallest stored number at or after each bound.
        first, after = (-(-bound * per_second // MICROSECONDS_PER_SECOND) for bound in (start, end))
        smallest, largest = INTEGER_BOUNDS[kind]
        return max(first, smallest), min(after - 1, largest)


def _source_content(name: str, source: Source) -> list[str | None]:
    values = map(_typed_text, (source.buy, source.sell)) if name == SIDE else ()
    return [source.column, source.constant, source.unit, *values]


def _typed_text(value: FilterValue) -> str:
    return f"{type(value).__name__} {value}"


DEFAULT_MAPPING = TradeMapping(
    {name: Source(name, unit="us") if name in TIMES else Source(name) for name in MAPPED_COLUMNS}
)


def mapping_problems(mapping: TradeMapping, columns: Mapping[str, str]) -> list[str]:
    """Return every reason why a table with these columns (name -> Iceberg type) cannot be read by a mapping."""
    problems = []
    for name in mapping.source_columns:
        alike = [other for other in columns if other.lower() == name.lower() and other != name]
        if name not in columns:
            problems.append(f"column {name} is missing" + (f" (there is {alike[0]})" if alike else ""))
        elif alike:
            # Spark SQL does not distinguish such names and rejects every query.
            problems.append(f"columns {name} and {alike[0]} differ only in case")
    for name, source in mapping.sources.items():
        kind = columns.get(source.column or "")
        if kind is not None and (problem := _source_problem(name, source, kind)):
            problems.append(problem)
    for each in mapping.filters:
        if each.column in columns and (problem := _filter_problem(each, columns[each.column])):
            problems.append(problem)
    return problems


def _source_problem(name: str, source: Source, kind: str) -> str | None:
    if name in TIMES:
        if source.unit is None and kind in _WHOLE_NUMBERS:
            return f"{name}: column {source.column} is {kind}: give its unit (s, ms, us or ns)"
        if source.unit is not None and kind in TIMESTAMP_TYPES:
            return f"{name}: column {source.column} is {kind}: remove its unit"
        readable: tuple[str, ...] = (*_WHOLE_NUMBERS, *TIMESTAMP_TYPES)
    elif name in AMOUNTS:
        readable = ("decimal", "double")
        if _DECIMAL.fullmatch(kind):
            return None
    elif name == SIDE:
        return _side_problem(source, kind)
    else:
        readable = _READABLE[name]
    return None if kind in readable else f"{name}: column {source.column} is {kind}, not {' or '.join(readable)}"


def _side_problem(source: Source, kind: str) -> str | None:
    readable = [each for value in (str, bool, int) for each in _COMPARABLE[value]]
    if kind not in readable:
        return f"{SIDE}: column {source.column} is {kind}, not {' or '.join(readable)}"
    if kind in _COMPARABLE[type(source.buy)]:
        return None
    value = f"{source.buy} is a {_value_name(source.buy)}"
    return f"{SIDE}: column {source.column} is {kind}, and {value}: give the values of buy and sell"


def _filter_problem(condition: Filter, kind: str) -> str | None:
    if not condition.values or kind in _COMPARABLE[type(condition.values[0])]:
        return None
    if not any(kind in kinds for kinds in _COMPARABLE.values()):
        return f"filter: column {condition.column} is {kind}: only 'is: null' and 'is: not null' apply to it"
    value = condition.values[0]
    return f"filter: column {condition.column} is {kind}, and {value} is a {_value_name(value)}: correct the value"


def _value_name(value: FilterValue) -> str:
    names: dict[type, str] = {str: "text", bool: "boolean", int: "number", date: "date"}
    return names[type(value)]

"""SQL of DuckDB for the measures of candles: their sums over trades, and the stored ones.

Volumes are whole numbers of 10^-8, quote volumes of 10^-16, and times are microseconds.
"""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from ohlcv.iceberg.table_definitions import ICEBERG_TYPES
from ohlcv.model.table_contracts import MEASURE_COLUMNS, MEASURES
from ohlcv.quality.trade_versions import SIDE_NUMBERS

# Columns of the table `partials`. `sides` is the number of trades with a side.
PARTIAL_FIELDS = """,
    buy_volume HUGEINT, high_buy_notional HUGEINT, low_buy_notional HUGEINT, sides BIGINT, first_trade_at BIGINT,
    last_trade_at BIGINT
"""
_BUY, _SELL = SIDE_NUMBERS["BUY"], SIDE_NUMBERS["SELL"]
# A notional is summed in two parts, as for the vwap.
PARTIALS = f""",
    coalesce(sum(CAST(quantity AS HUGEINT)) FILTER (side = {_BUY}), 0),
    coalesce(sum(CAST(price // 1000000000 AS HUGEINT) * quantity) FILTER (side = {_BUY}), 0),
    coalesce(sum(CAST(price % 1000000000 AS HUGEINT) * quantity) FILTER (side = {_BUY}), 0),
    count(*) FILTER (side IN ({_BUY}, {_SELL})), min("timestamp"), max("timestamp")
"""
COMBINED = """,
    sum(buy_volume) AS buy_volume, sum(high_buy_notional) AS high_buy_notional,
    sum(low_buy_notional) AS low_buy_notional, sum(sides) AS sides, min(first_trade_at) AS first_trade_at,
    max(last_trade_at) AS last_trade_at
"""
INTERMEDIATE = ", buy_volume, high_buy_notional, low_buy_notional, sides"
# A notional of too many digits is null, and its candle is withheld.
EXPECTED = """,
    notional AS quote_volume,
    CASE WHEN notional IS NOT NULL AND sides = trade_count THEN buy_volume END AS taker_buy_volume,
    CASE WHEN notional IS NOT NULL AND sides = trade_count
        THEN high_buy_notional * 1000000000 + low_buy_notional END AS taker_buy_quote_volume
"""


def _unscaled(name: str) -> str:
    # Exact for all 38 digits: the text of a decimal without its point.
    return f"CAST(replace(CAST({name} AS VARCHAR), '.', '') AS HUGEINT) AS {name}"


STORED = ", " + ", ".join(
    f"epoch_us({column.name}) AS {column.name}" if column.type == "timestamptz" else _unscaled(column.name)
    for column in MEASURE_COLUMNS
)
_SCHEMA = schema_to_pyarrow(
    Schema(
        *(
            NestedField(number, column.name, ICEBERG_TYPES[column.type], required=False)
            for number, column in enumerate(MEASURE_COLUMNS, start=1)
        )
    ),
    include_field_ids=False,
)


def stores_measures(candles: Table) -> bool:
    """Return whether a candle table is extended."""
    return has_measures(candles.schema().column_names)


def has_measures(columns: list[str]) -> bool:
    """Return whether these are columns of an extended candle table."""
    return not set(MEASURES).isdisjoint(columns)


def with_measures(rows: pa.Table) -> pa.Table:
    """Return candles with measures: null if the snapshot that they were read from is older than the extension."""
    for field in _SCHEMA:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows

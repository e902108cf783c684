"""SQL of DuckDB for the trades of some hours and for the latest version of each, with the rules of the data contract.

It shares no code with the Spark jobs, only the column names of the data contract. It needs the macros of
`rule_database`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ohlcv.model.trade_mapping import TradeMapping
from ohlcv.readers.mapped_columns import hour_of_trade, projection
from ohlcv.readers.trades import TradesTable

# Columns of a table of trades. `hour_number` is the hour of their partition. Amounts are whole numbers of 10^-8.
TRADE_FIELDS = """
    symbol VARCHAR, exchange VARCHAR, trade_id VARCHAR, message_id VARCHAR, "timestamp" BIGINT, price BIGINT,
    quantity BIGINT, source_sequence BIGINT, ingestion_timestamp BIGINT, platform_sequence BIGINT, hour_number BIGINT,
    valid BOOLEAN
"""
# Only where measures are computed: a number that orders sides as their texts. All texts but BUY and SELL are no side.
# It takes a byte; with the text, the order of versions would cost a quarter more.
SIDE_FIELD = ", side TINYINT"
SIDE_NUMBERS = {"BUY": 1, "SELL": 3}
_SIDE = """,
    CAST(CASE WHEN side = 'BUY' THEN 1 WHEN side = 'SELL' THEN 3 WHEN side < 'BUY' THEN 0 WHEN side < 'SELL' THEN 2
        WHEN side > 'SELL' THEN 4 END AS TINYINT) AS side"""
_TRADES = """
SELECT symbol, exchange, trade_id, message_id, "timestamp", CAST(CAST(price AS DECIMAL(28, 8)) * 100000000 AS BIGINT),
    CAST(CAST(quantity AS DECIMAL(28, 8)) * 100000000 AS BIGINT), source_sequence, ingestion_timestamp,
    platform_sequence, {hour} AS hour_number,
    coalesce(symbol IS NOT NULL AND exchange IS NOT NULL AND {identity} AND price > 0 AND quantity > 0
        AND floor_divide("timestamp", 3600000000) = {hour}, false){side}
FROM {source}
"""
_STORED_HOUR = "date_diff('day', DATE '1970-01-01', exchange_date) * 24 + exchange_hour"
_HOUR_OF_TIMESTAMP = 'floor_divide("timestamp", 3600000000)'

# All versions of a trade are in one hour.
VERSIONS = """
    PARTITION BY exchange, symbol, hour_number, trade_id, CASE WHEN trade_id IS NULL THEN message_id END
    ORDER BY ingestion_timestamp DESC NULLS LAST, platform_sequence DESC NULLS LAST, message_id DESC NULLS LAST,
        "timestamp" DESC, source_sequence DESC NULLS LAST, price DESC, quantity DESC
"""
# The side comes last, and no other column depends on it: where no measure is computed, it is not read.
VERSIONS_WITH_SIDE = f"{VERSIONS.rstrip()}, side DESC NULLS LAST\n"


def trades_query(trades: TradesTable, hours: Iterable[int], relation: str, *, with_side: bool = False) -> str:
    """Return the SQL that selects `TRADE_FIELDS` of the trades of some hours, and the side if needed.

    The relation has rows of the table. Those of a mapped trades table may have other hours, too.
    """
    mapping = trades.mapping
    identity = "true" if mapping.every_row else "coalesce(trade_id, message_id) IS NOT NULL"
    if not mapping.is_default:
        numbers = ", ".join(map(str, hours))
        mapped = projection(mapping, trades.kinds, relation, with_side=with_side)
        relation = f"({mapped}) WHERE {hour_of_trade(mapping)} IN ({numbers})"
    hour = _STORED_HOUR if mapping.has_hours else _HOUR_OF_TIMESTAMP
    return _TRADES.format(hour=hour, identity=identity, side=_SIDE if with_side else "", source=relation)


def latest_version(mapping: TradeMapping, *, with_side: bool = False) -> str:
    """Return the SQL clause that selects the latest version of each trade.

    Where every row is a trade, none has an id, and none replaces another one.
    """
    versions = VERSIONS_WITH_SIDE if with_side else VERSIONS
    return "" if mapping.every_row else f"QUALIFY row_number() OVER ({versions}) = 1"

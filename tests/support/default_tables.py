"""Contracts of the tables with their default names."""

from collections.abc import Iterator

from ohlcv.model import table_contracts
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.table_names import TableNames
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, Timeframe

NAMES = TableNames()
(NAMESPACE,) = NAMES.trades[:-1]
TRADES = table_contracts.trades_contract(NAMES)
TRADES_TABLE = TRADES.name
CANDLES_VIEW = NAMES.candles_view
LATEST_VIEW = NAMES.latest_view


def candles_contract(timeframe: Timeframe) -> TableContract:
    """Return the contract of the candle table of a timeframe."""
    return table_contracts.candles_contract(NAMES, timeframe)


def contracts() -> Iterator[TableContract]:
    """Return the contracts of all tables, the trades table first."""
    return table_contracts.contracts(NAMES, DEFAULT_TIMEFRAMES.values())

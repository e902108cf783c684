"""Settings of the names of namespace and tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from ohlcv.model.errors import InputError
from ohlcv.model.table_contracts import contracts
from ohlcv.model.table_names import (
    DEFAULT_CANDLES,
    DEFAULT_NAMESPACE,
    DEFAULT_TRADES,
    TIMEFRAME,
    Identifier,
    TableNames,
    dotted,
)
from ohlcv.model.timeframes import TIMEFRAMES

NAMESPACE = "OHLCV_NAMESPACE"
TRADES_TABLE = "OHLCV_TRADES_TABLE"
CANDLE_TABLES = "OHLCV_CANDLE_TABLES"
TABLE_NAMES = (NAMESPACE, TRADES_TABLE, CANDLE_TABLES)

# PostgreSQL and SQLite catalogs store up to 255 characters, and a folder has up to 255 bytes in its name.
MAX_LENGTH = 200
# Quotes, slashes and spaces are refused: a name is part of SQL statements and of a folder. Clients cut locations at
# ? and #, and decode %. Braces belong to the placeholder.
_LEVEL = re.compile(r"""[^\s"'`/\\?#%{}\x00-\x1f\x7f-\x9f]+""")


def table_names(values: Mapping[str, str]) -> TableNames:
    """Return the names of the tables. Raise InputError for a name that not every client understands."""
    namespace = _levels(NAMESPACE, values.get(NAMESPACE) or dotted(DEFAULT_NAMESPACE))
    trades = _identifier(TRADES_TABLE, values.get(TRADES_TABLE) or DEFAULT_TRADES, namespace)
    candles = values.get(CANDLE_TABLES) or DEFAULT_CANDLES
    if candles.rpartition(".")[2].count(TIMEFRAME) != 1 or candles.count(TIMEFRAME) != 1:
        raise InputError(
            f"{CANDLE_TABLES} is '{candles[:50]}': give one name for all timeframes with {TIMEFRAME} once in it, "
            f"such as {DEFAULT_CANDLES}"
        )
    # Checked without the placeholder, whose braces no other name may contain.
    checked = _identifier(CANDLE_TABLES, candles.replace(TIMEFRAME, "timeframe"), namespace)
    names = TableNames(trades, (*checked[:-1], candles.rpartition(".")[2]))
    _check_distinct(names)
    return names


def check_plain_names(names: TableNames, catalog: str) -> None:
    """Raise InputError if a name is not one that Glue and Hive accept."""
    for identifier in (names.trades, names.candle_table("1m")):
        if len(identifier) != 2 or not all(re.fullmatch("[a-z0-9_]+", level) for level in identifier):
            raise InputError(
                f"{dotted(identifier)} is no name for the {catalog}: give a namespace of one level, and names of "
                f"lower-case letters, digits and _ ({', '.join(TABLE_NAMES)})"
            )


def _identifier(name: str, text: str, namespace: Identifier) -> Identifier:
    """Return the identifier of a table, whose text may have a namespace of its own."""
    levels = _levels(name, text)
    return levels if len(levels) > 1 else (*namespace, *levels)


def _levels(name: str, text: str) -> Identifier:
    levels = tuple(text.split("."))
    if not all(_LEVEL.fullmatch(level) for level in levels):
        raise InputError(
            f"{name} is '{text[:50]}': give names separated by dots, without spaces, quotes, slashes and ? # % {{ }}"
        )
    if len(text.encode()) > MAX_LENGTH:
        raise InputError(f"{name} has more than {MAX_LENGTH} bytes: give a shorter name")
    return levels


def _check_distinct(names: TableNames) -> None:
    # Of all known timeframes, so that enabling one more later gives no name twice.
    # Some catalogs (Hive, Glue) and Spark SQL do not distinguish upper and lower case.
    tables = (contract.identifier for contract in contracts(names, TIMEFRAMES.values()))
    found = Counter(dotted(each).lower() for each in (*tables, *names.views))
    if repeated := [name for name, count in found.items() if count > 1]:
        raise InputError(
            f"{TRADES_TABLE} and {CANDLE_TABLES} give the name {repeated[0]} twice: choose different names for trades, "
            "the tables named like candle tables, and their views"
        )

"""Extension of candle tables by the columns of the measures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import extend, load_table_to_write, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.errors import InputError


class ExtendedTables(NamedTuple):
    """Full names of the tables that `extend_tables` extended, and of those that had the measures before."""

    extended: list[str]
    existing: list[str]


def extend_tables(settings: Settings, timeframes: Iterable[str]) -> ExtendedTables:
    """Extend the tables of these timeframes, each under its write lock. Raise InputError if there is nothing to do.

    All tables are checked before the first one is changed.
    """
    catalog = open_catalog(settings)
    contracts = [settings.candles_contract(settings.timeframe(name)) for name in timeframes]
    result = ExtendedTables([], [])
    missing = []
    for contract in contracts:
        table = load_table_to_write(settings, contract, catalog)
        if contract.is_extended(table.schema().column_names):
            result.existing.append(str(contract))
        else:
            missing.append(contract)
    if not missing:
        verb = "already has" if len(contracts) == 1 else "already have"
        raise InputError(f"{', '.join(result.existing)} {verb} measures: nothing to extend")
    for contract in missing:
        # A writer reads the columns at its start, so none may run.
        with write_lock(settings, contract) as assert_lock_held:
            assert_lock_held()
            extend(settings, contract)
        result.extended.append(str(contract))
    return result

"""Rows of the ledger, of reconciliation and of the coverage, added to the real tables without a recording."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyiceberg.typedef import Record

from ohlcv.config.maintained_tables import MaintainedTable, maintained_table
from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files, rows_of
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.partition_units import partition_number


def add_ledger_rows(settings: Settings, name: str, timeframe: str, *times: str, **values: Any) -> None:
    """Add a row for each time to a table with timeframes, numbered from 1, one file per month, in one commit."""
    maintained = maintained_table(settings, name)
    catalog = open_catalog(settings)
    table = load_table(catalog, maintained.contract)
    months: dict[int, list[dict[str, Any]]] = {}
    for number, time in enumerate(times, 1):
        row = _row(maintained, timeframe, number, time) | values
        months.setdefault(partition_number("month", row[maintained.time_column].date()), []).append(row)
    added = [(Record(timeframe, month), rows_of(table, rows)) for month, rows in months.items()]
    commit_files(catalog, maintained.contract, table, added, [], lambda: None)


def add_coverage_rows(settings: Settings, *hours: str, **values: Any) -> None:
    """Add a row with 60 accepted trades for each hour to the coverage, one file per day, in one commit.

    The arguments are other values. `properties` are properties of the table.
    """
    properties = values.pop("properties", None)
    contract, catalog = settings.coverage_contract, open_catalog(settings)
    table = load_table(catalog, contract)
    days: dict[int, list[dict[str, Any]]] = {}
    for text in hours:
        hour = datetime.fromisoformat(text).replace(tzinfo=UTC)
        row = {"exchange": "kraken", "symbol": "BTC-USD", "hour": hour, "accepted": 60, "deliveries": 60} | values
        days.setdefault(partition_number("day", hour.date()), []).append(row)
    added = [(Record(day), rows_of(table, rows)) for day, rows in days.items()]
    commit_files(catalog, contract, table, added, [], lambda: None, properties)


def _row(maintained: MaintainedTable, timeframe: str, number: int, time: str) -> dict[str, Any]:
    number_column = "number" if maintained.name == "publications" else "publication"
    at = datetime.fromisoformat(time).replace(tzinfo=UTC)
    return {"timeframe": timeframe, number_column: number, maintained.time_column: at}

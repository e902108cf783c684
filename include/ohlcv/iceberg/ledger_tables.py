"""Reads of the ledger's tables."""

from __future__ import annotations

from datetime import UTC, date
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import load_table
from ohlcv.model.ledger_records import Publication
from ohlcv.model.table_contracts import PUBLICATION_COLUMNS
from ohlcv.model.timeframes import Timeframe


def read_publications(settings: Settings, catalog: Catalog, timeframe: Timeframe) -> list[Publication]:
    """Return all recorded publications of a candle table in the order of their numbers, also those before a gap."""
    return publications_in(load_table(catalog, settings.publications_contract), timeframe)


def publications_in(table: Table, timeframe: Timeframe) -> list[Publication]:
    """Return all publications of a candle table in the loaded table of publications, in the order of their numbers."""
    names = tuple(column.name for column in PUBLICATION_COLUMNS)
    scan = table.scan(f"timeframe = '{timeframe}'", selected_fields=names)
    with report_damage(table, scan):
        rows = scan.to_arrow().to_pylist()
    return sorted(map(_publication, rows), key=lambda each: each.number)


def _publication(row: dict[str, Any]) -> Publication:
    times = {name: None if row[name] is None else row[name].astimezone(UTC) for name in ("visible_at", "written_at")}
    days = tuple(date.fromisoformat(day) for day in row["deleted_partitions"] or ())
    return Publication(**{**row, **times, "deleted_partitions": days})

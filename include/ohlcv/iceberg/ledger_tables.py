"""Reads of the ledger's tables."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import load_table
from ohlcv.model.ledger_records import Publication
from ohlcv.model.table_contracts import PUBLICATION_COLUMNS
from ohlcv.model.timeframes import Timeframe

# Health checks read only the publications of this time, because they run often.
RECENT = timedelta(days=2)


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


def read_recorded_until(settings: Settings, catalog: Catalog, now: datetime) -> dict[str, datetime]:
    """Return when the newest recorded publication of each timeframe became visible, without ledgers not begun."""
    table = load_table(catalog, settings.publications_contract)
    scan = table.scan(f"visible_at >= '{(now - RECENT).isoformat()}'", selected_fields=("timeframe", "visible_at"))
    with report_damage(table, scan):
        newest = scan.to_arrow().group_by("timeframe").aggregate([("visible_at", "max")]).to_pylist()
    found = {row["timeframe"]: row["visible_at_max"].astimezone(UTC) for row in newest}
    for timeframe in settings.timeframes.values():
        if timeframe.name not in found and (recorded := publications_in(table, timeframe)):
            found[timeframe.name] = max(publication.visible_at for publication in recorded)
    return found


def _publication(row: dict[str, Any]) -> Publication:
    times = {name: None if row[name] is None else row[name].astimezone(UTC) for name in ("visible_at", "written_at")}
    days = tuple(date.fromisoformat(day) for day in row["deleted_partitions"] or ())
    return Publication(**{**row, **times, "deleted_partitions": days})

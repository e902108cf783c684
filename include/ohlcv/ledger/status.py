"""State of the ledger of a candle table, from metadata and the table of publications."""

from __future__ import annotations

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import plan
from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.snapshot_log import find_unavailable_reason, time_of, unrecorded_entries
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ledger.reports import LedgerStatus
from ohlcv.model.ledger_records import Ledger
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.scans import compare


def ledger_status(settings: Settings, timeframe: Timeframe, catalog: Catalog | None = None) -> LedgerStatus:
    """Return the state of the ledger of a candle table."""
    catalog = catalog or open_catalog(settings)
    rows, size = _size(load_table(catalog, settings.revisions_contract), timeframe)
    publications = read_publications(settings, catalog, timeframe)
    candles = load_table(catalog, settings.candles_contract(timeframe))
    ledger = Ledger.of(timeframe.name, publications)
    entries = unrecorded_entries(candles, ledger) if ledger.checkpoint else []
    needed = [ledger.checkpoint.snapshot if ledger.checkpoint else None]
    needed += [entry.snapshot.snapshot_id if entry.snapshot else None for entry in entries]
    kept = [found.timestamp_ms for each in needed if each and (found := candles.snapshot_by_id(each))]
    return LedgerStatus(
        timeframe.name,
        ledger.begins_at,
        ledger.checkpoint,
        len(entries),
        entries[0].visible_at if entries else None,
        tuple(each.visible_at for each in publications if each.trigger == "gap"),
        find_unavailable_reason(settings, candles),
        time_of(min(kept)) if kept else None,
        rows,
        size,
    )


def _size(revisions: Table, timeframe: Timeframe) -> tuple[int, int]:
    """Return rows and bytes of the revisions of a timeframe."""
    files = [task.file for task in plan(revisions, compare(EqualTo, "timeframe", timeframe.name))]
    return sum(each.record_count for each in files), sum(each.file_size_in_bytes for each in files)

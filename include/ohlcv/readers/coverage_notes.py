"""Reads of the notes on the coverage."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import load_table
from ohlcv.model.coverage_columns import NOTE_COLUMNS
from ohlcv.model.coverage_records import Note

_TIMES = tuple(column.name for column in NOTE_COLUMNS if column.type == "timestamptz")


def read_notes(settings: Settings, catalog: Catalog) -> list[Note]:
    """Return all notes in the order in which they were recorded, also the withdrawn ones."""
    return notes_in(load_table(catalog, settings.coverage_notes_contract))


def notes_in(table: Table) -> list[Note]:
    """Return all notes of a loaded table in the order in which they were recorded."""
    scan = table.scan(selected_fields=tuple(column.name for column in NOTE_COLUMNS))
    with report_damage(table, scan):
        rows = scan.to_arrow().to_pylist()
    return sorted(map(_note, rows), key=lambda note: (note.recorded_at, note.note))


def _note(row: dict[str, Any]) -> Note:
    times = {name: None if row[name] is None else row[name].astimezone(UTC) for name in _TIMES}
    return Note(**{**row, **times})

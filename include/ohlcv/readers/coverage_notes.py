"""Reads of the notes on the coverage."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from pyiceberg.catalog import Catalog

from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import load_table
from ohlcv.model.coverage_columns import NOTE_COLUMNS
from ohlcv.model.coverage_records import Note

_TIMES = tuple(column.name for column in NOTE_COLUMNS if column.type == "timestamptz")


def read_notes(settings: Settings, catalog: Catalog, with_withdrawn: bool = False) -> list[Note]:
    """Return the notes in the order in which they were recorded."""
    table = load_table(catalog, settings.coverage_notes_contract)
    scan = table.scan(selected_fields=tuple(column.name for column in NOTE_COLUMNS))
    with report_damage(table, scan):
        rows = scan.to_arrow().to_pylist()
    notes = (note for note in map(_note, rows) if with_withdrawn or note.withdrawn_at is None)
    return sorted(notes, key=lambda note: (note.recorded_at, note.note))


def _note(row: dict[str, Any]) -> Note:
    times = {name: None if row[name] is None else row[name].astimezone(UTC) for name in _TIMES}
    return Note(**{**row, **times})

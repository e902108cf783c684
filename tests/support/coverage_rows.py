"""Rows and notes of the coverage, written to the real tables of an embedded catalog."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files, rows_of
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.coverage_columns import COVERAGE_COLUMNS
from ohlcv.model.coverage_records import DELAY_COUNTS, Note
from ohlcv.model.intervals import EPOCH, HOUR, iso
from ohlcv.model.source_hours import format_hours, hour_number
from ohlcv.model.table_contracts import TableContract

Row = dict[str, Any]
START = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_HOUR = hour_number(START)
SNAPSHOT = 7
ALL_MINUTES = 2**60 - 1


def hour_row(
    hour: int, numbers: Iterable[int] | None = None, symbol: str = "BTC", exchange: str = "X", **values: Any
) -> Row:
    """Return the row of the hour with this number after START. Numbers are the source sequences of its trades."""
    start = START + hour * HOUR
    known = set(numbers or ())
    accepted = len(known) if numbers is not None else 1
    row: Row = dict.fromkeys((column.name for column in COVERAGE_COLUMNS), 0)
    row |= {
        "exchange": exchange,
        "symbol": symbol,
        "hour": start,
        "trades_snapshot": SNAPSHOT,
        "accepted": accepted,
        "first_trade": start,
        "last_trade": start + timedelta(minutes=59),
        "lowest_sequence": min(known, default=None),
        "highest_sequence": max(known, default=None),
        "sequences": len(known),
        "minutes": ALL_MINUTES,
        "delays": [accepted, *[0] * (DELAY_COUNTS - 1)],
        "source_expired": False,
    }
    row |= values
    rejected = sum(count for name, count in row.items() if name.startswith("rejected_"))
    return row | {"deliveries": row["accepted"] + row["duplicates"] + row["superseded"] + rejected}


def rejected_row(hour: int, count: int = 1, symbol: str = "BTC", exchange: str = "X") -> Row:
    """Return the row of an hour all of whose trades are rejected."""
    nothing = {"accepted": 0, "minutes": 0, "first_trade": None, "last_trade": None, "delays": [0] * DELAY_COUNTS}
    return hour_row(hour, (), symbol, exchange, **nothing, rejected_bad_price=count)


def note(kind: str, start: int, end: int | None = None, exchange: str = "X", symbol: str | None = None) -> Note:
    """Return a note from and to hours after START."""
    return Note(
        note=f"{kind}-{start}",
        kind=kind,  # type: ignore[arg-type]
        exchange=exchange,
        symbol=symbol,
        start_time=START + start * HOUR,
        end_time=None if end is None else START + end * HOUR,
        author="Ann",
        reason="announced",
        recorded_at=START,
    )


def write_coverage(settings: Settings, rows: Iterable[Row], until: int, pending: Iterable[int] = ()) -> None:
    """Add rows, and record the hours before `until` as counted; hours are numbers after START."""
    properties = {
        summary_keys.COVERAGE_TRADES: str(SNAPSHOT),
        summary_keys.COVERAGE_UNTIL: iso(START + until * HOUR),
        summary_keys.COVERAGE_PENDING: format_hours(FIRST_HOUR + hour for hour in pending),
    }
    by_day: dict[int, list[Row]] = {}
    for row in rows:
        by_day.setdefault((row["hour"] - EPOCH).days, []).append(row)
    _commit(settings, settings.coverage_contract, by_day, properties)


def write_notes(settings: Settings, *notes: Note) -> None:
    """Add notes."""
    by_month: dict[int, list[Row]] = {}
    for each in notes:
        at = each.recorded_at
        by_month.setdefault((at.year - 1970) * 12 + at.month - 1, []).append(vars(each))
    _commit(settings, settings.coverage_notes_contract, by_month, {})


def _commit(
    settings: Settings, contract: TableContract, partitions: dict[int, list[Row]], properties: dict[str, str]
) -> None:
    catalog = open_catalog(settings)
    table = load_table(catalog, contract)
    added = [(Record(number), rows_of(table, rows)) for number, rows in partitions.items()]
    commit_files(catalog, contract, table, added, [], lambda: None, properties)

"""Checks of the coverage: whether it is recorded in time, and whether every exchange has data while others have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, GreaterThan, GreaterThanOrEqual, LessThan
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import existing_tables, load_table, open_catalog
from ohlcv.model.coverage_records import NO_DATA_REPORTED, Note
from ohlcv.model.intervals import HOUR, format_duration, iso
from ohlcv.model.source_hours import hour_number, hour_range
from ohlcv.model.table_contracts import missing_table_problem
from ohlcv.monitoring.measurements import Finding, Measurement, State
from ohlcv.readers.coverage import pending_hours, recorded_until
from ohlcv.readers.coverage_notes import read_notes
from ohlcv.readers.coverage_states import covers_hour, explains
from ohlcv.readers.scans import compare

# The DAG records hourly. An older recording has missed two runs.
LIMIT = timedelta(hours=3)
REMEDY = "unpause the DAG ohlcv_coverage, or run 'ohlcv coverage record'"
NOT_RECORDED = f"nothing is recorded yet: {REMEDY}"
DATA_TARGET = "trades in the newest counted hour if another exchange has some"


def measure_coverage(settings: Settings, now: datetime) -> list[Measurement]:
    """Measure the age of the coverage, and for each exchange how long it has no data."""
    catalog = open_catalog(settings)
    target = f"counted until at most {format_duration(LIMIT)} ago"
    known = existing_tables(catalog, settings.names)
    for contract in (settings.coverage_contract, settings.coverage_notes_contract):
        if contract.identifier not in known:
            return [Measurement("trades", "coverage", missing_table_problem(contract), target, "unknown")]
    table = load_table(catalog, settings.coverage_contract)
    until = recorded_until(table)
    if until is None:
        return [Measurement("trades", "coverage", NOT_RECORDED, target, "unknown")]
    age = now - until
    state: State = "alert" if age > LIMIT else "ok"
    found = f"counted until {iso(until)}, {format_duration(age)} ago{_pending_text(table)}"
    measured = Measurement("trades", "coverage", found, target, state, age.total_seconds())
    return [measured, *_measure_exchanges(settings, catalog, table, until, is_current=state == "ok")]


def _measure_exchanges(
    settings: Settings, catalog: Catalog, table: Table, until: datetime, *, is_current: bool
) -> Iterator[Measurement]:
    pending = pending_hours(table)
    newest = hour_number(until) - 1
    while newest in pending:
        newest -= 1
    last_hours = _last_hours(table, newest)
    have_data = [exchange for exchange, hour in last_hours.items() if hour == newest]
    notes = read_notes(settings, catalog) if is_current and 0 < len(have_data) < len(last_hours) else []
    for exchange, hour in sorted(last_hours.items()):
        seconds = (newest - hour) * HOUR.total_seconds()
        found, state = _state(exchange, hour, newest, notes, is_known=is_current and bool(have_data))
        yield Measurement(exchange, "data", found, DATA_TARGET, state, seconds)


def _state(exchange: str, hour: int, newest: int, notes: Iterable[Note], *, is_known: bool) -> tuple[str, State]:
    begin = iso(hour_range(newest).start)
    if hour == newest:
        # Without a current coverage nobody knows whether it still has some.
        return f"trades in the hour from {begin}", "ok" if is_known else "unknown"
    found = f"no trade in the hour from {begin}; the last ones are in that from {iso(hour_range(hour).start)}"
    if not is_known:
        return found, "unknown"
    explaining = [note for note in notes if _is_explained(note, exchange, newest)]
    if not explaining:
        return f"{found}; other exchanges have trades", "alert"
    return f"{found}; note {explaining[-1].note}: {explaining[-1].kind}", "quiet"


def _is_explained(note: Note, exchange: str, hour: int) -> bool:
    """Return whether a note explains that an exchange has no data in an hour. One of a symbol does not."""
    is_of_exchange = note.symbol is None and note.exchange == exchange
    return is_of_exchange and explains(note) and covers_hour(note, hour)


def _last_hours(table: Table, newest: int) -> Mapping[str, int]:
    """Return the last hour with accepted trades of each exchange, of those with some in the last 31 days."""
    end = hour_range(newest).end
    times = And(compare(GreaterThanOrEqual, "hour", end - NO_DATA_REPORTED), compare(LessThan, "hour", end))
    condition = And(times, compare(GreaterThan, "accepted", 0))
    scan = table.scan(condition, selected_fields=("exchange", "hour"))
    with report_damage(table, scan):
        found = scan.to_arrow().group_by("exchange").aggregate([("hour", "max")]).to_pylist()
    return {row["exchange"]: hour_number(row["hour_max"]) for row in found}


def check_coverage(settings: Settings, now: datetime) -> Iterator[Finding]:
    """Yield whether the coverage is recorded, with what to do if it is not."""
    with described_catalog_errors(settings):
        table = load_table(open_catalog(settings), settings.coverage_contract)
    until = recorded_until(table)
    if until is None:
        yield "unused", NOT_RECORDED
    elif now - until > LIMIT:
        yield "warning", f"the trades since {iso(until)} are not counted: {REMEDY}"
    else:
        yield "ok", f"the trades are counted until {iso(until)}{_pending_text(table)}"


def _pending_text(table: Table) -> str:
    count = len(pending_hours(table))
    return f"; {count:,} earlier hours are counted by the next runs" if count else ""

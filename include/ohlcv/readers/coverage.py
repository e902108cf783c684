"""Coverage of the trades: what is known of each series in each hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model import summary_keys
from ohlcv.model.coverage_columns import COVERAGE_COLUMNS, REJECTED_COLUMNS
from ohlcv.model.coverage_records import Note
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import EPOCH, HOUR, ceil_time, floor_time, iso, parse_time
from ohlcv.model.source_hours import FIRST_DAY, HOURS_PER_DAY, LAST_DAY, hour_number, parse_hours
from ohlcv.model.timeframes import DAY
from ohlcv.readers.candles import check_request
from ohlcv.readers.coverage_history import KEY, SeriesKey, StoredCoverage
from ohlcv.readers.coverage_notes import read_notes
from ohlcv.readers.coverage_states import (
    CountedHours,
    CoverageRow,
    SeriesCoverage,
    derive_states,
    overlaps,
)
from ohlcv.readers.scans import has_series, series_condition

# Days of hours around a range that are read, rounded up.
_MARGIN = 365
# The longest range of a request by a person or a page.
MAX_RANGE = timedelta(days=31)
FACTS = tuple(column.name for column in COVERAGE_COLUMNS if column.name not in KEY)
# What the states need, and what is counted.
COUNTS = ("accepted", "duplicates", "superseded", *REJECTED_COLUMNS, "source_expired")


class NotRecordedError(OhlcvError):
    """No coverage was recorded yet."""


@dataclass(frozen=True)
class Coverage:
    """The coverage of a range of whole hours."""

    start: datetime
    end: datetime
    # All hours before this time are counted, except the pending ones. None: nothing was recorded yet.
    counted_until: datetime | None
    # Numbers of the pending hours of the range.
    pending: tuple[int, ...]
    # The state of the trades that is counted.
    trades_snapshot: int | None
    # The notes that cover a part of the range.
    notes: tuple[Note, ...]
    stored: StoredCoverage

    @property
    def counted(self) -> CountedHours:
        return self.stored.counted

    @property
    def hours(self) -> range:
        """Return the numbers of the hours of the range."""
        return range(hour_number(self.start), hour_number(self.end))

    def series(self, after: SeriesKey | None = None, search: str = "") -> Iterator[SeriesCoverage]:
        """Yield the series that have a row or are expected, sorted by exchange and symbol.

        Only those after a series, and whose exchange or symbol contains a text.
        """
        for history, facts in self.stored.each(after, search):
            if rows := derive_states(history, self.hours, facts):
                yield SeriesCoverage(history.exchange, history.symbol, rows)

    def rows(self) -> Iterator[tuple[str, str, CoverageRow]]:
        """Yield exchange, symbol and row of each hour of each series."""
        for each in self.series():
            for row in each.rows:
                yield each.exchange, each.symbol, row


def read_coverage(
    settings: Settings,
    start: datetime | None = None,
    end: datetime | None = None,
    exchange: str | None = None,
    symbol: str | None = None,
    facts: Sequence[str] = FACTS,
    catalog: Catalog | None = None,
    max_range: timedelta | None = None,
) -> Coverage:
    """Return the coverage of the hours that overlap a range, by default of the last 24 counted hours.

    `facts` are the columns of the stored rows that are read, at least COUNTS. Raise InputError if the range is longer
    than `max_range`.
    """
    check_request(start, end)
    _check_years(start, end)
    catalog = catalog or open_catalog(settings)
    table = load_table(catalog, settings.coverage_contract)
    until = recorded_until(table)
    start, end = whole_hours(start, end, until)
    if max_range is not None and end - start > max_range:
        raise InputError(f"{iso(start)} to {iso(end)} is longer than {max_range.days} days: give a shorter range")
    hours = range(hour_number(start), hour_number(end))
    counted = counted_hours(table)
    notes = [
        note
        for note in read_notes(settings, catalog)
        if exchange in (None, note.exchange) and (symbol is None or note.symbol in (None, symbol))
    ]
    snapshot = table.properties.get(summary_keys.COVERAGE_TRADES)
    return Coverage(
        start=start,
        end=end,
        counted_until=until,
        pending=tuple(sorted(counted.pending.intersection(hours))),
        trades_snapshot=None if snapshot is None else int(snapshot),
        notes=tuple(note for note in notes if overlaps(note, start, end)),
        stored=StoredCoverage(table, hours, exchange, symbol, facts, counted, notes),
    )


def check_known(settings: Settings, exchange: str | None, symbol: str | None, catalog: Catalog | None = None) -> None:
    """Raise InputError if no hour of the coverage has an exchange, or a symbol on it. None means any."""
    catalog = catalog or open_catalog(settings)
    table = load_table(catalog, settings.coverage_contract)
    listed = {(note.exchange, note.symbol) for note in read_notes(settings, catalog) if note.kind == "expected"}
    names: list[tuple[str | None, str]] = []
    if exchange is not None:
        names.append((None, f"exchange '{exchange}'"))
    if symbol is not None:
        names.append((symbol, f"symbol '{symbol}'" + (f" on '{exchange}'" if exchange else "")))
    for name, text in names:
        if any(exchange in (None, each) and name in (None, other) for each, other in listed):
            continue
        if not has_series(table, series_condition(name, exchange)):
            raise InputError(f"the coverage has no trade of {text}: correct the name, or see 'ohlcv coverage'")


def counted_hours(table: Table) -> CountedHours:
    """Return which hours are counted: none before the first recording."""
    until = recorded_until(table)
    return CountedHours(FIRST_DAY * HOURS_PER_DAY if until is None else hour_number(until), pending_hours(table))


def pending_hours(table: Table) -> frozenset[int]:
    """Return the hours that the next recordings count."""
    return frozenset(parse_hours(table.properties.get(summary_keys.COVERAGE_PENDING, "")))


def recorded_until(table: Table) -> datetime | None:
    """Return the time before which hours are counted, None if nothing is recorded."""
    text = table.properties.get(summary_keys.COVERAGE_UNTIL)
    return None if text is None else parse_time(text)[0]


def whole_hours(start: datetime | None, end: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return the range of the hours that overlap a range, by default a day that ends at `until`."""
    if end is None:
        if until is not None and (start is None or start < until):
            end = until
        elif start is not None:
            end = start + DAY
        else:
            raise NotRecordedError("no coverage is recorded yet: run 'ohlcv coverage record'")
    start = end - DAY if start is None else start
    return floor_time(start, HOUR), ceil_time(end, HOUR)


def _check_years(*times: datetime | None) -> None:
    """Raise InputError for a time so far away that hours before or after it cannot be computed with."""
    for time in times:
        if time is not None and not FIRST_DAY + _MARGIN <= (time - EPOCH).days <= LAST_DAY - _MARGIN:
            raise InputError(f"{iso(time)} is outside the years 1001 to 9997: give another time")

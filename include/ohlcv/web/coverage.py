"""Document of the coverage: pages of series with a value per hour."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.model.coverage_records import Note
from ohlcv.model.errors import MissingTableError
from ohlcv.model.intervals import iso
from ohlcv.model.source_hours import hour_start
from ohlcv.readers.coverage import COUNTS, MAX_RANGE, Coverage, NotRecordedError, read_coverage
from ohlcv.readers.coverage_history import SeriesKey
from ohlcv.readers.coverage_states import SeriesCoverage
from ohlcv.web.cursor import make_coverage_cursor, read_coverage_cursor
from ohlcv.web.parameters import DEFAULT_COVERAGE, CoverageParameters
from ohlcv.web.problems import unavailable

RETRY_SECONDS = 60
# Hours of all series in one answer, so that it takes about two seconds.
MAX_HOURS = 75_000
NOTE_FIELDS = ("note", "kind", "exchange", "symbol", "start_time", "end_time", "author", "reason", "recorded_at")


def coverage_page(settings: Settings, given: CoverageParameters) -> bytes:
    """Return a page of the coverage as JSON."""
    # Equal for all pages of a request.
    selection = given.model_dump(exclude={"cursor", "limit"}, exclude_none=True)
    start, end, after = given.start, given.end, None
    if given.cursor is not None:
        # The default range has moved if another recording was made since.
        hours, after = read_coverage_cursor(given.cursor, selection)
        start, end = hour_start(hours.start), hour_start(hours.stop)
    with described_catalog_errors(settings):
        try:
            found = read_coverage(settings, start, end, given.exchange, given.symbol, COUNTS, max_range=MAX_RANGE)
        except (MissingTableError, NotRecordedError) as error:
            raise unavailable(str(error), RETRY_SECONDS) from None
        limit = min(given.limit or DEFAULT_COVERAGE, max(1, MAX_HOURS // len(found.hours)))
        series = list(islice(found.series(after, given.search), limit + 1))
    document = _document(found, series[:limit])
    document["next_cursor"] = None
    if len(series) > limit:
        last: SeriesKey = series[limit - 1].exchange, series[limit - 1].symbol
        document["next_cursor"] = make_coverage_cursor(found.hours, last, selection)
    return json.dumps(document, separators=(",", ":")).encode()


def _document(found: Coverage, series: list[SeriesCoverage]) -> dict[str, Any]:
    return {
        "start": iso(found.start),
        "end": iso(found.end),
        "counted_until": None if found.counted_until is None else iso(found.counted_until),
        "trades_snapshot": None if found.trades_snapshot is None else str(found.trades_snapshot),
        "pending_hours": len(found.pending),
        "hours": [iso(hour_start(hour)) for hour in found.hours],
        "series": [_series(each, found.hours) for each in series],
        "notes": [note_document(note) for note in found.notes],
    }


def note_document(note: Note) -> dict[str, str | None]:
    """Return the fields of a note that is not withdrawn."""
    values = {name: getattr(note, name) for name in NOTE_FIELDS}
    return {name: iso(value) if name.endswith(("_time", "_at")) and value else value for name, value in values.items()}


def _series(series: SeriesCoverage, hours: range) -> dict[str, Any]:
    size = len(hours)
    states: list[str | None] = [None] * size
    details: list[str | None] = [None] * size
    notes: list[list[str] | None] = [None] * size
    counts: dict[str, list[int | None]] = {
        name: [None] * size for name in ("trades", "missing", "rejected", "duplicates")
    }
    for row in series.rows:
        place = row.hour - hours.start
        states[place] = row.state
        details[place] = row.detail or None
        notes[place] = list(row.notes) or None
        counts["trades"][place] = row.accepted
        counts["missing"][place] = row.missing
        counts["rejected"][place] = row.rejected
        counts["duplicates"][place] = row.duplicates
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "states": states,
        **counts,
        "details": details,
        "notes": notes,
    }

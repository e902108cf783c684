"""Evidence of a difference: what the coverage of the trades knows of the hours of its window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from pyiceberg.catalog import Catalog

from ohlcv.config.settings import Settings
from ohlcv.model.coverage_columns import REJECTED_COLUMNS
from ohlcv.model.coverage_records import DELAY_BOUNDS, Note
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, from_microseconds
from ohlcv.model.source_hours import hour_number
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.trade_validity import ROW_REJECTIONS
from ohlcv.readers.coverage import read_coverage
from ohlcv.readers.coverage_states import CoverageRow, explains, overlaps
from ohlcv.reconciliation.comparison import ComparedWindow

# Trades that arrive later than this may have missed the candle.
LATE_SECONDS = 60
_LATE = DELAY_BOUNDS.index(LATE_SECONDS) + 1
_UNKNOWN = "no coverage of the trades is recorded"


def add_evidence(
    settings: Settings,
    catalog: Catalog,
    timeframe: Timeframe,
    series: tuple[str, str],
    windows: Sequence[ComparedWindow],
) -> str | None:
    """Add evidence to windows in the order of their starts. Return why there is none, None if there is."""
    if not windows:
        return None
    start = from_microseconds(windows[0].start)
    end = from_microseconds(windows[-1].start) + timeframe.length
    try:
        rows, notes = _read(settings, catalog, start, end, series)
    except OhlcvError as error:
        return f"no evidence: {error}"
    for window in windows:
        first = from_microseconds(window.start)
        last = first + timeframe.length
        hours = range(hour_number(first), max(hour_number(first) + 1, hour_number(last)))
        known = [rows[hour] for hour in hours if hour in rows]
        covering = [note for note in notes if explains(note) and overlaps(note, first, last)]
        # The facts of a shorter window are those of its hour.
        place = " in its hour" if timeframe.length < HOUR else ""
        window.evidence = tuple(_texts(known, covering, place)) or (_UNKNOWN,)
    return None


def _read(
    settings: Settings, catalog: Catalog, start: datetime, end: datetime, series: tuple[str, str]
) -> tuple[dict[int, CoverageRow], Sequence[Note]]:
    symbol, exchange = series
    coverage = read_coverage(settings, start, end, exchange, symbol, catalog=catalog)
    return {row.hour: row for _, _, row in coverage.rows()}, coverage.notes


def _texts(rows: Sequence[CoverageRow], notes: Iterable[Note], place: str) -> Iterable[str]:
    """Yield the evidence of hours. The place says what the counts are of."""
    states = Counter(row.state for row in rows)
    for state, count in sorted(states.items()):
        yield f"{state}: {count} h" if len(rows) > 1 else f"{state}{place}"
    if missing := sum(row.missing or 0 for row in rows):
        yield f"{missing:,} source sequences missing{place}"
    facts = [row.facts for row in rows if row.facts is not None]
    for reason, name in zip(ROW_REJECTIONS, REJECTED_COLUMNS, strict=True):
        if rejected := sum(each[name] or 0 for each in facts):
            yield f"{rejected:,} trades rejected{place}: {reason}"
    if late := sum(sum((each["delays"] or [])[_LATE : len(DELAY_BOUNDS) + 1]) for each in facts):
        yield f"{late:,} trades arrived more than 1 min late{place}"
    for note in notes:
        yield f"note {note.note} ({note.kind}, {note.author}): {note.reason}"

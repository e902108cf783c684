"""Reasons of windows without trades: a note, no data of the exchange, or no trades."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

from ohlcv.config.settings import Settings
from ohlcv.iceberg.damage import report_damage
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.coverage_records import Note
from ohlcv.model.errors import MissingTableError
from ohlcv.model.intervals import HOUR, MICROSECOND, from_microseconds
from ohlcv.model.source_hours import hour_start
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.coverage import counted_hours
from ohlcv.readers.coverage_notes import read_notes
from ohlcv.readers.coverage_states import CountedHours, explains, is_of_series, overlaps
from ohlcv.readers.scans import compare, one_of

FILL_REASON = pa.field("fill_reason", pa.string())
_HOUR = HOUR // MICROSECOND
_MINUTE = timedelta(minutes=1) // MICROSECOND


def with_fill_reasons(
    settings: Settings, timeframe: Timeframe, candles: pa.Table, catalog: Catalog | None = None
) -> pa.Table:
    """Return filled candles with the column `fill_reason`: null for stored ones and in hours that are not counted."""
    filled = candles.filter(pc.field("filled")).select(("exchange", "symbol", "window_start"))
    reasons: list[str | None] = [None] * len(candles)
    if len(filled):
        starts = filled["window_start"].cast(pa.int64()).to_pylist()
        names = filled["exchange"].to_pylist(), filled["symbol"].to_pylist()
        try:
            known = _KnownHours(settings, catalog or open_catalog(settings), set(names[0]), min(starts), max(starts))
        except MissingTableError:
            return candles.append_column(FILL_REASON, pa.nulls(len(candles), FILL_REASON.type))
        places = pc.indices_nonzero(candles["filled"]).to_pylist()
        for place, exchange, symbol, start in zip(places, *names, starts, strict=True):
            reasons[place] = known.reason(exchange, symbol, start, timeframe.microseconds)
    return candles.append_column(FILL_REASON, pa.array(reasons, FILL_REASON.type))


class _KnownHours:
    """What the coverage and its notes tell of the hours of some windows."""

    def __init__(self, settings: Settings, catalog: Catalog, exchanges: set[str], first: int, last: int) -> None:
        table = load_table(catalog, settings.coverage_contract)
        self._notes: list[Note] = [note for note in read_notes(settings, catalog) if explains(note)]
        self._counted: CountedHours = counted_hours(table)
        # (exchange, hour) -> minutes in which a series of the exchange has a trade.
        self._minutes: dict[tuple[str, int], int] = {}
        begin, end = hour_start(first // _HOUR), hour_start(last // _HOUR + 24)
        hours = And(compare(GreaterThanOrEqual, "hour", begin), compare(LessThan, "hour", end))
        scan = table.scan(And(hours, one_of("exchange", exchanges)), selected_fields=("exchange", "hour", "minutes"))
        with report_damage(table, scan):
            rows = scan.to_arrow()
        times = rows["hour"].cast(pa.int64()).to_pylist()
        for exchange, time, minutes in zip(
            rows["exchange"].to_pylist(), times, rows["minutes"].to_pylist(), strict=True
        ):
            key = exchange, time // _HOUR
            self._minutes[key] = self._minutes.get(key, 0) | (minutes or 0)

    def reason(self, exchange: str, symbol: str, start: int, length: int) -> str | None:
        """Return why a window has no trade, None if its hours are not counted."""
        first, last = start // _HOUR, (start + length - 1) // _HOUR
        if self._counted.lack(first, last):
            return None
        begin, end = from_microseconds(start), from_microseconds(start + length)
        if any(is_of_series(note, exchange, symbol) and overlaps(note, begin, end) for note in self._notes):
            return "note"
        wanted = -1  # all minutes
        if length < _HOUR:
            wanted = ((1 << length // _MINUTE) - 1) << (start % _HOUR // _MINUTE)
        has_data = any(self._minutes.get((exchange, hour), 0) & wanted for hour in range(first, last + 1))
        return "no trades" if has_data else "no data"

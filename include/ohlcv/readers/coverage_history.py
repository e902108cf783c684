"""Stored rows of the coverage by series, and what of them decides the states in a range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa

from ohlcv.model.coverage_records import Note
from ohlcv.model.intervals import HOUR
from ohlcv.readers.candles import integer_times
from ohlcv.readers.coverage_states import CountedHours, ExchangeHours, HourNumbers, SeriesHistory, is_of_series
from ohlcv.readers.mapped_columns import floor_division

KEY = ("exchange", "symbol", "hour")
# The columns of which the states are made.
NUMBERS = ("accepted", "lowest_sequence", "highest_sequence", "sequences")
# (exchange, symbol), the order of all answers.
SeriesKey = tuple[str, str]
_MICROSECONDS = HOUR // timedelta(microseconds=1)


class SortedRows:
    """Rows of the coverage sorted by series and hour. Hours are numbers since the epoch."""

    def __init__(self, rows: pa.Table) -> None:
        others = "".join(f", {name}" for name in rows.column_names if name not in KEY)
        with duckdb.connect() as connection:
            connection.register("rows", rows.cast(integer_times(rows.schema)))
            self._rows = connection.sql(
                f"SELECT exchange, symbol, {floor_division('hour', _MICROSECONDS)} AS hour{others} FROM rows "
                "ORDER BY exchange, symbol, hour"
            ).to_arrow_table()
            connection.register("sorted", self._rows)
            counts = connection.sql("SELECT exchange, symbol, count(*) FROM sorted GROUP BY ALL ORDER BY ALL")
            self._places: dict[SeriesKey, tuple[int, int]] = {}
            place = 0
            for exchange, symbol, count in counts.fetchall():
                self._places[exchange, symbol] = (place, count)
                place += count

    @property
    def series(self) -> list[SeriesKey]:
        return [*self._places]

    def of_series(self, series: SeriesKey) -> list[dict[str, Any]]:
        """Return the rows of a series."""
        found: list[dict[str, Any]] = self._rows.slice(*self._places.get(series, (0, 0))).to_pylist()
        return found

    def of_series_as_columns(self, series: SeriesKey, names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
        """Return columns of the rows of a series, which is faster than whole rows."""
        rows = self._rows.slice(*self._places.get(series, (0, 0)))
        return zip(*(rows[name].to_pylist() for name in names), strict=True)

    def exchange_hours(self) -> dict[str, ExchangeHours]:
        """Return the hours of each exchange in which a series has an accepted trade."""
        with duckdb.connect() as connection:
            connection.register("rows", self._rows)
            found = connection.sql(
                "SELECT exchange, list(DISTINCT hour ORDER BY hour) FROM rows "
                "WHERE accepted > 0 AND exchange <> '' AND symbol <> '' GROUP BY exchange"
            ).fetchall()
        return {exchange: ExchangeHours(hours) for exchange, hours in found}


@dataclass(frozen=True)
class Histories:
    """The histories of the series of a request."""

    # Of all series of the exchanges, also of those that are not asked for.
    rows: SortedRows
    # None: all.
    symbol: str | None
    counted: CountedHours
    notes: Sequence[Note]

    def each(self, after: SeriesKey | None, search: str) -> Iterator[SeriesHistory]:
        """Yield the history of each series that has rows or is expected by a note, sorted.

        Only those after a series, and whose exchange or symbol contains a text.
        """
        text = search.casefold()
        by_note = {(note.exchange, note.symbol) for note in self.notes if note.kind == "expected" and note.symbol}
        exchange_hours = self.rows.exchange_hours()
        for exchange, symbol in sorted({*self.rows.series, *by_note}):
            is_selected = self.symbol in (None, symbol) and (after is None or (exchange, symbol) > after)
            if is_selected and (text in exchange.casefold() or text in symbol.casefold()):
                rows = self.rows.of_series_as_columns((exchange, symbol), ("hour", *NUMBERS))
                yield SeriesHistory(
                    exchange,
                    symbol,
                    [HourNumbers(*row) for row in rows],
                    exchange_hours.get(exchange, ExchangeHours(())),
                    self.counted,
                    [note for note in self.notes if is_of_series(note, exchange, symbol)],
                )

"""Stored rows of the coverage by series, and what of them decides the states in a range.

The rows of all series in the hours around a range would need gigabytes. So the hours before it are read file by file
and only summarized, and the rows are read for some series at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThan
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table

from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.iceberg.file_commits import plan
from ohlcv.model.coverage_records import Note
from ohlcv.model.intervals import HOUR
from ohlcv.model.source_hours import hour_start
from ohlcv.readers.coverage_states import (
    CONTEXT_HOURS,
    NUMBER_HOURS,
    CountedHours,
    ExchangeHours,
    HourNumbers,
    SeriesHistory,
    is_of_series,
)
from ohlcv.readers.scans import compare, one_of, series_condition

KEY = ("exchange", "symbol", "hour")
# The columns of which the states are made.
NUMBERS = ("accepted", "lowest_sequence", "highest_sequence", "sequences")
# (exchange, symbol), the order of all answers.
SeriesKey = tuple[str, str]
# By the number of the hour.
HourFacts = Mapping[int, Mapping[str, Any]]
_MICROSECONDS = HOUR // timedelta(microseconds=1)
# Rows that are read at a time.
_PART_ROWS = 200_000


@dataclass(frozen=True)
class Context:
    """What the hours around a range tell of all series of the exchanges."""

    series: set[SeriesKey]
    exchange_hours: Mapping[str, ExchangeHours]
    # Hour of the last accepted trade of a series before those whose rows are read.
    last_trades: Mapping[SeriesKey, int]


@dataclass(frozen=True)
class StoredCoverage:
    """The stored rows of a request."""

    table: Table
    hours: range
    # None: all.
    exchange: str | None
    symbol: str | None
    # Columns of the rows besides KEY.
    facts: Sequence[str]
    counted: CountedHours
    notes: Sequence[Note]

    @property
    def _read_hours(self) -> range:
        """Return the hours whose rows are compared with those of the request."""
        return range(self.hours.start - NUMBER_HOURS, self.hours.stop + NUMBER_HOURS)

    def each(self, after: SeriesKey | None, search: str) -> Iterator[tuple[SeriesHistory, HourFacts]]:
        """Yield the history and the rows of each series that has rows or is expected by a note, sorted.

        Only those after a series, and whose exchange or symbol contains a text.
        """
        context = self._read_context()
        text = search.casefold()
        by_note = {(note.exchange, note.symbol) for note in self.notes if note.kind == "expected" and note.symbol}
        series = [
            (exchange, symbol)
            for exchange, symbol in sorted(context.series | by_note)
            if self.symbol in (None, symbol)
            and (after is None or (exchange, symbol) > after)
            and (text in exchange.casefold() or text in symbol.casefold())
        ]
        size = max(1, _PART_ROWS // len(self._read_hours))
        for first in range(0, len(series), size):
            yield from self._read_part(series[first : first + size], context)

    def _read_context(self) -> Context:
        hours = range(self.hours.start - CONTEXT_HOURS, self._read_hours.stop)
        condition = And(in_hours(hours), series_condition(None, self.exchange))
        schema = self.table.schema().select(*KEY, "accepted")
        reader = ArrowScan(self.table.metadata, self.table.io, schema, condition)
        series: set[SeriesKey] = set()
        exchange_hours: set[tuple[str, int]] = set()
        last_trades: dict[SeriesKey, int] = {}
        for task in plan(self.table, condition):
            with report_damaged_file(self.table, task):
                rows = _with_hour_numbers(reader.to_table([task]))
            series.update(_tuples(rows.group_by(["exchange", "symbol"]).aggregate([])))
            traded = rows.filter(pc.field("accepted") > 0)
            with_series = traded.filter((pc.field("exchange") != "") & (pc.field("symbol") != ""))
            exchange_hours.update(_tuples(with_series.group_by(["exchange", "hour"]).aggregate([])))
            earlier = traded.filter(pc.field("hour") < self._read_hours.start)
            newest = earlier.group_by(["exchange", "symbol"]).aggregate([("hour", "max")])
            for exchange, symbol, hour in _tuples(newest):
                last_trades[exchange, symbol] = max(hour, last_trades.get((exchange, symbol), hour))
        by_exchange = groupby(sorted(exchange_hours), key=lambda each: each[0])
        found = {exchange: ExchangeHours([hour for _, hour in pairs]) for exchange, pairs in by_exchange}
        return Context(series, found, last_trades)

    def _read_part(self, series: Sequence[SeriesKey], context: Context) -> Iterator[tuple[SeriesHistory, HourFacts]]:
        rows = self._read_rows(series)
        in_range = (pc.field("hour") >= self.hours.start) & (pc.field("hour") < self.hours.stop)
        numbers = dict(_by_series(rows, ("hour", *NUMBERS)))
        facts = dict(_by_series(rows.filter(in_range), ("hour", *self.facts)))
        for exchange, symbol in series:
            own_numbers, own_facts = (each.get((exchange, symbol), rows.slice(0, 0)) for each in (numbers, facts))
            columns = own_numbers.select(("hour", *NUMBERS)).to_pydict().values()
            history = SeriesHistory(
                exchange,
                symbol,
                [HourNumbers(*row) for row in zip(*columns, strict=True)],
                context.last_trades.get((exchange, symbol)),
                context.exchange_hours.get(exchange, ExchangeHours(())),
                self.counted,
                [note for note in self.notes if is_of_series(note, exchange, symbol)],
            )
            yield history, {row["hour"]: row for row in own_facts.to_pylist()}

    def _read_rows(self, series: Sequence[SeriesKey]) -> pa.Table:
        """Return the rows of at least some series, sorted by series and hour."""
        exchanges, symbols = ({each[position] for each in series} for position in (0, 1))
        condition = And(in_hours(self._read_hours), one_of("exchange", exchanges), one_of("symbol", symbols))
        columns = tuple(dict.fromkeys((*KEY, *NUMBERS, *self.facts)))
        scan = self.table.scan(condition, selected_fields=columns)
        with report_damage(self.table, scan):
            rows = scan.to_arrow()
        return _with_hour_numbers(rows).sort_by([(name, "ascending") for name in KEY]).combine_chunks()


def in_hours(hours: range) -> BooleanExpression:
    """Return the filter for the rows of some hours."""
    first, end = hour_start(hours.start), hour_start(hours.stop)
    return And(compare(GreaterThanOrEqual, "hour", first), compare(LessThan, "hour", end))


def _with_hour_numbers(rows: pa.Table) -> pa.Table:
    # Stored hours are whole, so the division has no remainder.
    numbers = pc.divide(rows["hour"].cast(pa.int64()), _MICROSECONDS)
    return rows.set_column(rows.column_names.index("hour"), "hour", numbers)


def _tuples(rows: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def _by_series(rows: pa.Table, columns: Sequence[str]) -> Iterator[tuple[SeriesKey, pa.Table]]:
    """Yield columns of the rows of each series. The rows are sorted by series."""
    chosen, first = rows.select(columns), 0
    for (exchange, symbol), group in groupby(_tuples(rows.select(("exchange", "symbol")))):
        size = sum(1 for _ in group)
        yield (exchange, symbol), chosen.slice(first, size)
        first += size

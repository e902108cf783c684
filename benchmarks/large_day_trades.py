"""Generated trades of one day of many series, and the candles that follow from them, computed with numpy.

Trades per series follow a power law, trades per minute a daily curve with bursts. Some trades arrive late, some are
delivered twice, a quarter of those with a corrected price, and some rows are invalid. The candles are computed from the
numbers of which the trades are made, so they share no code with the jobs or their audit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.intervals import to_microseconds
from ohlcv.model.timeframes import Timeframe

Integers = npt.NDArray[np.int64]
SEED = 11
EXCHANGES = ("binance", "bybit", "coinbase", "kraken", "okx")
TICK = timedelta(minutes=5)
TICKS = 288
MINUTES = 5
MINUTE, HOUR = 60_000_000, 3_600_000_000
# The most active series has about six percent of all trades, the least active one a trade in some minutes.
EXPONENT, OFFSET = 1.05, 4
# Shares of the trades: one tick late, delivered twice, of these with another price, and invalid.
LATE, REPEATED, CORRECTED, INVALID = 0.002, 0.01, 0.25, 0.0001
# First tick of an outage of one exchange -> number of ticks after which its trades are delivered.
OUTAGES = {30: 24, 100: 60, 160: 12, 220: 36, 270: 90}


@dataclass(frozen=True)
class Cells:
    """Totals of the trades of each series and window with trades, ordered by series and window."""

    series: Integers
    window: Integers
    first: Integers
    high: Integers
    low: Integers
    last: Integers
    lots: Integers
    # Sum of price times lots.
    product: Integers
    count: Integers

    def merged(self, factor: int) -> Cells:
        """Return the totals of windows that are `factor` times as long."""
        window = self.window // factor
        key = self.series * (int(window.max()) + 1) + window
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        ends = np.append(begins[1:], len(key)) - 1
        return Cells(
            self.series[begins],
            window[begins],
            self.first[begins],
            np.maximum.reduceat(self.high, begins),
            np.minimum.reduceat(self.low, begins),
            self.last[ends],
            np.add.reduceat(self.lots, begins),
            np.add.reduceat(self.product, begins),
            np.add.reduceat(self.count, begins),
        )


class LargeDay:
    """The trades of a day by ticks of five minutes, and the totals of what has been generated."""

    def __init__(self, begin: datetime, trades: int, series: int) -> None:
        self.begin_us = to_microseconds(begin)
        self.series = series
        self._random = np.random.default_rng(SEED)
        weights = 1 / (np.arange(series) + OFFSET) ** EXPONENT
        self._weights = weights / weights.sum()
        # Units of 10^-8 per tick of the price and per lot.
        self._price_unit = 10 ** self._random.integers(2, 7, series)
        self._lot = 10 ** self._random.integers(2, 6, series)
        self._price = self._random.integers(20_000, 900_000, series)
        self._next_id = np.ones(series, np.int64)
        minutes = np.arange(TICKS * MINUTES)
        curve = 1 + 0.5 * np.sin((minutes - 480) * 2 * np.pi / 1440) + self._random.pareto(3, len(minutes))
        self._trades = self._random.multinomial(trades, curve / curve.sum())
        self._cells: list[Cells] = []
        self._waiting: dict[int, list[pa.Table]] = defaultdict(list)
        self.rows = 0

    def ticks(self) -> Iterator[pa.Table]:
        """Yield the rows that arrive in each tick of the day."""
        for number in range(TICKS):
            yield self._deliver(number)

    def late_rows(self) -> Iterator[pa.Table]:
        """Yield the rows that arrive after the ticks so far."""
        for number in sorted(self._waiting):
            yield self._counted(self._waiting.pop(number))

    def candles(self, timeframe: Timeframe, schema: pa.Schema) -> pa.Table:
        """Return the candles of the ticks so far, without the times at which they are written, ordered by key."""
        cells = self._day().merged(timeframe.microseconds // MINUTE)
        start = self.begin_us + cells.window * timeframe.microseconds
        price, lot = self._price_unit[cells.series], self._lot[cells.series]
        whole, rest = np.divmod(cells.product, cells.lots)
        amounts = {
            "open_price": cells.first * price,
            "high_price": cells.high * price,
            "low_price": cells.low * price,
            "close_price": cells.last * price,
            "volume": cells.lots * lot,
            # Rounded half up.
            "vwap": whole * price + (2 * rest * price + cells.lots) // (2 * cells.lots),
        }
        columns: dict[str, pa.Array] = {
            "symbol": _symbols(cells.series),
            "exchange": _exchanges(cells.series),
            "window_start": pa.array(start).cast(schema.field("window_start").type),
            "window_end": pa.array(start + timeframe.microseconds).cast(schema.field("window_end").type),
            "window_date": pa.array((start // (24 * HOUR)).astype(np.int32)).cast(pa.date32()),
            "trade_count": pa.array(cells.count),
            **{name: _decimals(values) for name, values in amounts.items()},
        }
        return pa.table({name: columns[name] for name in schema.names if name in columns})

    def _day(self) -> Cells:
        parts = [np.concatenate([getattr(cells, name) for cells in self._cells]) for name in Cells.__dataclass_fields__]
        order = np.lexsort((parts[1], parts[0]))
        return Cells(*(part[order] for part in parts))

    def _deliver(self, number: int) -> pa.Table:
        rows = self._generate(number)
        self._add_cells(rows)
        count = len(rows["time"])
        tables = self._waiting.pop(number, [])
        repeated = self._random.random(count) < REPEATED
        corrected = repeated & (self._random.random(count) < CORRECTED)
        # The first delivery of a corrected trade has another price than the last one, with which it is counted.
        first = {**rows, "price": rows["price"] + corrected}
        late = self._random.random(count) < LATE
        outage = np.zeros(count, bool)
        if number in OUTAGES:
            outage = rows["series"] % len(EXCHANGES) == number % len(EXCHANGES)
            self._waiting[number + OUTAGES[number]].append(self._table(first, outage, number + OUTAGES[number], "a"))
        tables.append(self._table(first, ~late & ~outage, number, "a"))
        self._waiting[number + 1].append(self._table(first, late & ~outage, number + 1, "a"))
        again = number + 1 + OUTAGES.get(number, 0)
        self._waiting[again].append(self._table(rows, repeated, again, "b"))
        invalid = {**rows, "price": -rows["price"], "id": rows["id"] + 10**12}
        tables.append(self._table(invalid, self._random.random(count) < INVALID, number, "c"))
        return self._counted(tables)

    def _counted(self, tables: list[pa.Table]) -> pa.Table:
        found = pa.concat_tables(tables)
        self.rows += len(found)
        return found

    def _generate(self, number: int) -> dict[str, Integers]:
        """Return the trades of a tick in the order of series and time."""
        parts = []
        for minute in range(number * MINUTES, (number + 1) * MINUTES):
            counts = self._random.multinomial(self._trades[minute], self._weights)
            series = np.repeat(np.arange(self.series), counts)
            times = self.begin_us + minute * MINUTE + self._random.integers(0, MINUTE, len(series))
            parts.append((series, times))
        series, times = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = np.lexsort((times, series))
        series, times = series[order], times[order]
        counts = np.bincount(series, minlength=self.series)
        begins = np.cumsum(counts) - counts
        position = np.arange(len(series)) - begins[series]
        steps = self._random.integers(-3, 4, len(series))
        walk = np.cumsum(steps)
        # Each series continues its own walk.
        walk -= (walk[begins[counts > 0]] - steps[begins[counts > 0]]).repeat(counts[counts > 0])
        price = np.clip(self._price[series] + walk, 1_000, 999_000)
        rows = {
            "series": series,
            "time": times,
            "id": self._next_id[series] + position,
            "price": price,
            "lots": self._random.integers(1, 200, len(series)) * self._random.integers(1, 200, len(series)),
        }
        self._next_id += counts
        ends = (begins + counts - 1)[counts > 0]
        self._price[counts > 0] = price[ends]
        return rows

    def _add_cells(self, rows: dict[str, Integers]) -> None:
        window = (rows["time"] - self.begin_us) // MINUTE
        one = np.ones(len(window), np.int64)
        price, lots = rows["price"], rows["lots"]
        single = Cells(rows["series"], window, price, price, price, price, lots, price * lots, one)
        self._cells.append(single.merged(1))

    def _table(self, rows: dict[str, Integers], chosen: npt.NDArray[np.bool_], tick: int, mark: str) -> pa.Table:
        """Return the chosen trades as rows of the trades table that arrive in a tick."""
        series, time, identifier, price, lots = (
            rows[name][chosen] for name in ("series", "time", "id", "price", "lots")
        )
        count = len(series)
        numbers = pa.array(identifier).cast(pa.string())
        arrival = np.maximum(time, self.begin_us + tick * MINUTES * MINUTE) + 200_000 + (mark == "b") * 1_000_000
        hours = time // HOUR
        null = {name: pa.nulls(count, TRADE_SCHEMA.field(name).type) for name in ("trade_conditions", "vendor_data")}
        columns: dict[str, pa.Array] = {
            **null,
            "message_id": pc.binary_join_element_wise(_symbols(series), _exchanges(series), numbers, mark, "-"),
            "trade_id": numbers,
            "symbol": _symbols(series),
            "exchange": _exchanges(series),
            "asset_class": pa.repeat("crypto", count),
            "timestamp": pa.array(time),
            "price": _decimals(price * self._price_unit[series]),
            "quantity": _decimals(lots * self._lot[series]),
            "currency": pa.repeat("USD", count),
            "side": pa.array(["BUY", "SELL"]).take(pa.array(identifier % 2)),
            "source_sequence": pa.array(identifier),
            "ingestion_timestamp": pa.array(arrival),
            "platform_sequence": pa.array(identifier),
            "exchange_date": pa.array((hours // 24).astype(np.int32)).cast(pa.date32()),
            "exchange_hour": pa.array((hours % 24).astype(np.int32)),
        }
        return pa.table(columns, schema=TRADE_SCHEMA)


def _symbols(series: Integers) -> pa.Array:
    names = pa.array([f"S{number:05}-USD" for number in range(int(series.max(initial=0)) + 1)])
    return names.take(pa.array(series))


def _exchanges(series: Integers) -> pa.Array:
    return pa.array(EXCHANGES).take(pa.array(series % len(EXCHANGES)))


def _decimals(units: Integers) -> pa.Array:
    """Return decimals whose unscaled values are the given integers."""
    halves = np.stack([units, units >> 63], axis=1)
    return pa.Array.from_buffers(pa.decimal128(18, 8), len(units), [None, pa.py_buffer(halves)])

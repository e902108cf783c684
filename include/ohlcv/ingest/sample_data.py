"""Generator of sample trades with properties of real data: equal timestamps, late rows, corrections, invalid rows.

The same arguments produce the same trades. Amounts are integers in units of 10^-8; no floating point is used for them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table_to_write
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.ingest.loader import LoadReport, ProgressCallback, append_trades
from ohlcv.ingest.row_validation import FIRST_TIME, LAST_TIME
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import iso, to_microseconds
from ohlcv.model.table_contracts import AMOUNT_SCALE

STANDARD_TRADES = 636_263
STANDARD_HOURS = 13
STANDARD_SEED = 7
STANDARD_END = datetime(2026, 1, 31, 13, tzinfo=UTC)

Integers = npt.NDArray[np.int64]
UNIT = 10**AMOUNT_SCALE
HOUR = 3_600_000_000


@dataclass(frozen=True)
class _Series:
    symbol: str
    price: int  # the initial price, in units of 10^-8
    tick: int
    step: int  # maximum price change between two trades, in ticks
    lot: int
    weight: int  # relative number of trades


_SYMBOLS = (
    _Series("BTC-USD", 95_000 * UNIT, UNIT // 100, 250, UNIT // 10**5, 4),
    _Series("ETH-USD", 3_300 * UNIT, UNIT // 100, 15, UNIT // 10**4, 3),
    _Series("SOL-USD", 180 * UNIT, UNIT // 100, 2, UNIT // 1000, 2),
    _Series("XRP-USD", 2 * UNIT + UNIT // 4, UNIT // 10**4, 2, UNIT // 100, 1),
)
_EXCHANGES = ("binance", "coinbase")
# Faults of the invalid rows; the rows take them in turn.
ROW_FAULTS = (
    "null symbol",
    "null price",
    "zero price",
    "negative price",
    "null quantity",
    "zero quantity",
    "negative quantity",
    "outside its partition",
)


def sample_trades(
    trades: int = STANDARD_TRADES,
    hours: int = STANDARD_HOURS,
    end: datetime = STANDARD_END,
    seed: int = STANDARD_SEED,
    *,
    ties: bool = True,
    out_of_order: bool = True,
    late: float = 0.0,
    duplicates: float = 0,
    bad_rows: int = 0,
) -> pa.Table:
    """Return trades of 8 series over the hours before `end`, plus duplicates and invalid rows.

    `late` is the share of trades that are ingested hours after their timestamp. `duplicates` is the number of repeated
    deliveries (a share of the trades if below 1); one in four of them is a correction with a different price.
    """
    _check_arguments(trades, hours, end, late, duplicates, bad_rows)
    random = np.random.default_rng(seed)
    rows = _valid_rows(random, trades, to_microseconds(end) - hours * HOUR, to_microseconds(end), ties)
    rows["ingestion"] = rows["timestamp"] + random.integers(5_000, 2_000_000, trades)
    if late:
        chosen = random.random(trades) < late
        rows["ingestion"] += np.where(chosen, random.integers(HOUR, 30 * HOUR, trades), 0)
    rows["partition"] = rows["timestamp"] // HOUR
    rows["bad"] = np.full(trades, -1)
    repeats = round(duplicates * trades) if duplicates < 1 else int(duplicates)
    parts = [rows, _repeated_deliveries(random, rows, repeats), _invalid_rows(random, rows, bad_rows)]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in rows}
    if out_of_order:
        # Files of real trades are only roughly sorted: every row moves by up to five seconds.
        jitter = random.integers(0, 5_000_000, len(rows["timestamp"]))
        order = np.argsort(rows["timestamp"] + jitter, kind="stable")
    else:
        order = np.argsort(rows["timestamp"], kind="stable")
    # A message id is the row number before the reordering, with a prefix derived from the arguments.
    arguments = f"{trades} {hours} {iso(end)} {seed} {ties} {out_of_order} {late} {duplicates} {bad_rows}"
    prefix = hashlib.sha256(arguments.encode()).hexdigest()[:20]
    return _to_table({name: values[order] for name, values in rows.items()}, order, prefix)


def load_sample(
    settings: Settings,
    trades: int = STANDARD_TRADES,
    hours: int = STANDARD_HOURS,
    end: datetime = STANDARD_END,
    seed: int = STANDARD_SEED,
    *,
    duplicates: float = 0,
    bad_rows: int = 0,
    progress: ProgressCallback | None = None,
) -> LoadReport:
    """Load sample trades in one commit; a second call with the same arguments adds nothing."""
    _check_arguments(trades, hours, end, 0, duplicates, bad_rows)
    load_table_to_write(settings, settings.trades_contract)  # reports a table that is only read
    if progress:
        progress(f"generating {trades:,} trades")
    table = sample_trades(trades, hours, end, seed, duplicates=duplicates, bad_rows=bad_rows)
    return append_trades(settings, table, progress=progress)


def _check_arguments(trades: int, hours: int, end: datetime, late: float, duplicates: float, bad_rows: int) -> None:
    if end.utcoffset() != timedelta(0):
        raise ValueError("the end of a sample must be in UTC")
    series = len(_SYMBOLS) * len(_EXCHANGES)
    if trades < series:
        raise InputError(f"a sample has {series} series: give {series} trades or more")
    if hours < 1:
        raise InputError("a sample covers at least one hour: give 1 hour or more")
    end_us = to_microseconds(end)
    if end_us - hours * HOUR < FIRST_TIME or end_us > LAST_TIME:
        raise InputError(f"{hours:,} hours up to {iso(end)} are not in the years 2009 to 2099: give another end")
    if trades > hours * 100_000_000:
        raise InputError(f"{trades:,} trades do not fit into {hours} hours: give more hours")
    if not 0 <= late <= 1 or duplicates < 0 or bad_rows < 0:
        raise InputError("counts and shares of a sample must not be negative, and shares must not exceed 1")


class Feed:
    """Endless generator of sample trades: each batch starts where the previous one ended."""

    def __init__(self, begin: datetime, seed: int = STANDARD_SEED) -> None:
        self.end = begin
        self._random = np.random.default_rng([seed, to_microseconds(begin)])
        self._tick_prices = [symbol.price // symbol.tick for symbol in _SYMBOLS for _ in _EXCHANGES]
        # Ids start at the begin time in milliseconds. A feed has fewer trades than milliseconds, so a feed that begins
        # later never repeats an id.
        self._next_ids = [to_microseconds(begin) // 1000] * len(self._tick_prices)

    def batch(self, end: datetime, trades: int) -> pa.Table:
        """Return a number of trades of all series between the end of the previous batch and `end`."""
        series = len(self._tick_prices)
        start_us, end_us = to_microseconds(self.end), to_microseconds(end)
        if not series <= trades < (end_us - start_us) // 1000:
            raise InputError(f"a batch has {series} trades or more, and fewer than one per millisecond")
        rows = _valid_rows(self._random, trades, start_us, end_us, True, self._tick_prices, self._next_ids)
        prefix = hashlib.sha256(f"{self._next_ids} {end_us}".encode()).hexdigest()[:20]
        for number in range(series):
            in_series = rows["series"] == number
            self._tick_prices[number] = int(rows["price"][in_series][-1]) // _SYMBOLS[number // len(_EXCHANGES)].tick
            self._next_ids[number] += int(in_series.sum())
        rows["ingestion"] = rows["timestamp"] + self._random.integers(5_000, 900_000, trades)
        rows["partition"] = rows["timestamp"] // HOUR
        rows["bad"] = np.full(trades, -1)
        order = np.argsort(rows["timestamp"], kind="stable")
        self.end = end
        return _to_table({name: values[order] for name, values in rows.items()}, order, prefix)


def _valid_rows(
    random: np.random.Generator,
    trades: int,
    start: int,
    end: int,
    ties: bool,
    tick_prices: list[int] | None = None,
    first_ids: list[int] | None = None,
) -> dict[str, Integers]:
    weights = [symbol.weight for symbol in _SYMBOLS for _ in _EXCHANGES]
    remaining = trades - len(weights)
    counts = [1 + remaining * weight // sum(weights) for weight in weights]
    counts[0] += trades - sum(counts)
    parts: list[dict[str, Integers]] = []
    for number, count in enumerate(counts):
        symbol = _SYMBOLS[number // len(_EXCHANGES)]
        begin = tick_prices[number] if tick_prices else symbol.price // symbol.tick
        first = first_ids[number] if first_ids else 1
        walk = begin + np.cumsum(random.integers(-symbol.step, symbol.step + 1, count))
        # The product of two random numbers gives many small trades and few large ones.
        lots = random.integers(1, 200, count) * random.integers(1, 200, count)
        parts.append(
            {
                "series": np.full(count, number),
                # Ids start at 1, so that their numbers of digits differ and text order is not numeric order.
                "trade": np.arange(first, first + count),
                "timestamp": _times(random, count, start, end, ties),
                "price": np.maximum(np.abs(walk), 1) * symbol.tick,
                "quantity": lots * symbol.lot,
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _times(random: np.random.Generator, count: int, start: int, end: int, ties: bool) -> Integers:
    """Return sorted random times; with ties, two of five trades share their time with another trade."""
    pairs = count // 5 if ties else 0
    distinct = count - pairs
    times: Integers = np.empty(0, np.int64)
    while len(times) < distinct:
        drawn = random.integers(start, end, distinct - len(times))
        # One in a thousand is the first microsecond of a minute: the boundary of half-open windows.
        drawn = np.where(random.random(len(drawn)) < 0.001, np.maximum(drawn - drawn % 60_000_000, start), drawn)
        times = np.sort(np.concatenate([times, drawn]))
        # Same result as np.unique, which is ten times slower since numpy 2.3.
        times = times[np.diff(times, prepend=-1) > 0]
    repeats = np.ones(distinct, np.int64)
    repeats[random.choice(distinct, pairs, replace=False)] = 2
    return np.repeat(times, repeats)


def _repeated_deliveries(random: np.random.Generator, rows: dict[str, Integers], count: int) -> dict[str, Integers]:
    chosen = random.integers(0, len(rows["timestamp"]), count)
    repeated = {name: values[chosen] for name, values in rows.items()}
    repeated["ingestion"] = repeated["ingestion"] + random.integers(1_000_000, HOUR, count)
    corrected = np.arange(count) % 4 == 3
    ticks = np.array([symbol.tick for symbol in _SYMBOLS for _ in _EXCHANGES])
    repeated["price"] = repeated["price"] + np.where(corrected, ticks[repeated["series"]], 0)
    return repeated


def _invalid_rows(random: np.random.Generator, rows: dict[str, Integers], count: int) -> dict[str, Integers]:
    chosen = random.integers(0, len(rows["timestamp"]), count)
    invalid = {name: values[chosen] for name, values in rows.items()}
    # New trade ids: an invalid row must not be a version of a valid trade.
    invalid["trade"] = int(rows["trade"].max()) + 1 + np.arange(count)
    kind = invalid["bad"] = np.arange(count) % len(ROW_FAULTS)
    for name in ("price", "quantity"):
        invalid[name] = np.where(kind == ROW_FAULTS.index(f"zero {name}"), 0, invalid[name])
        invalid[name] = np.where(kind == ROW_FAULTS.index(f"negative {name}"), -invalid[name], invalid[name])
    invalid["timestamp"] = invalid["timestamp"] - np.where(kind == ROW_FAULTS.index("outside its partition"), HOUR, 0)
    return invalid


def _to_table(rows: dict[str, Integers], numbers: Integers, prefix: str) -> pa.Table:
    count = len(numbers)
    symbols = pa.array([symbol.symbol for symbol in _SYMBOLS for _ in _EXCHANGES])
    exchanges = pa.array([exchange for _ in _SYMBOLS for exchange in _EXCHANGES])
    series = pa.array(rows["series"])
    bad = rows["bad"]
    # One exchange has sequence numbers, the other only trade ids.
    has_sequence = rows["series"] % 2 == _EXCHANGES.index("coinbase")
    has_details = numbers % 100 == 0
    offsets = pa.array(np.concatenate(([0], np.cumsum(has_details))).astype(np.int32))
    details_count = int(has_details.sum())
    columns = {
        "message_id": pc.binary_join_element_wise(
            prefix, pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 12, "0"), ""
        ),
        "trade_id": pa.array(rows["trade"]).cast(pa.string()),
        "symbol": _with_nulls(symbols.take(series), bad == ROW_FAULTS.index("null symbol")),
        "exchange": exchanges.take(series),
        "asset_class": pa.repeat("crypto", count),
        "timestamp": pa.array(rows["timestamp"]),
        "price": _decimals(rows["price"], bad == ROW_FAULTS.index("null price")),
        "quantity": _decimals(rows["quantity"], bad == ROW_FAULTS.index("null quantity")),
        "currency": pa.repeat("USD", count),
        "side": pa.array(["BUY", "SELL"]).take(pa.array(rows["quantity"] // 7 % 2)),
        "trade_conditions": pa.ListArray.from_arrays(
            offsets, pa.repeat("regular", details_count), mask=pa.array(~has_details)
        ),
        "source_sequence": pa.array(rows["trade"] + 1_000_000, mask=~has_sequence),
        "ingestion_timestamp": pa.array(rows["ingestion"]),
        "platform_sequence": pa.array(numbers),
        "vendor_data": pa.MapArray.from_arrays(
            offsets,
            pa.repeat("source", details_count),
            pa.repeat("sample", details_count),
            mask=pa.array(~has_details),
        ),
        "exchange_date": pa.array((rows["partition"] // 24).astype(np.int32)).cast(pa.date32()),
        "exchange_hour": pa.array((rows["partition"] % 24).astype(np.int32)),
    }
    return pa.table(columns, schema=TRADE_SCHEMA)


def _with_nulls(values: pa.Array, nulls: npt.NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(nulls), pa.scalar(None, values.type), values)


def _decimals(units: Integers, nulls: npt.NDArray[np.bool_]) -> pa.Array:
    """Return decimals built from the 16 bytes of each integer: low half first, then the sign extension."""
    halves = np.stack([units, units >> 63], axis=1)
    decimals = pa.Array.from_buffers(TRADE_SCHEMA.field("price").type, len(units), [None, pa.py_buffer(halves)])
    return _with_nulls(decimals, nulls)

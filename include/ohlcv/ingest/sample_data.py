"""Seeded sample trades: the shapes of real data (ties, late rows, corrections, bad rows), the same for the same call.

Amounts are integers times ten to the minus eighth throughout; no float comes near them.
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
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.ingest.loader import LoadReport, Progress, append_trades
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
    price: int  # the first one, in hundred-millionths
    tick: int
    step: int  # ticks a price may move by at once
    lot: int
    weight: int  # its share of the trades


_SYMBOLS = (
    _Series("BTC-USD", 95_000 * UNIT, UNIT // 100, 250, UNIT // 10**5, 4),
    _Series("ETH-USD", 3_300 * UNIT, UNIT // 100, 15, UNIT // 10**4, 3),
    _Series("SOL-USD", 180 * UNIT, UNIT // 100, 2, UNIT // 1000, 2),
    _Series("XRP-USD", 2 * UNIT + UNIT // 4, UNIT // 10**4, 2, UNIT // 100, 1),
)
_EXCHANGES = ("binance", "coinbase")
# What a bad row has wrong, in turn.
BAD_KINDS = (
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
    """Make trades of 8 series over the hours before `end`; duplicates and bad rows come on top.

    `late` is the share of trades that were ingested hours after they happened. `duplicates` below 1 is a share of
    the trades, else a count: deliveries made again, one in four of them a correction with another price.
    """
    _check(trades, hours, end, late, duplicates, bad_rows)
    random = np.random.default_rng(seed)
    rows = _good_rows(random, trades, to_microseconds(end) - hours * HOUR, to_microseconds(end), ties)
    rows["ingestion"] = rows["timestamp"] + random.integers(5_000, 2_000_000, trades)
    if late:
        chosen = random.random(trades) < late
        rows["ingestion"] += np.where(chosen, random.integers(HOUR, 30 * HOUR, trades), 0)
    rows["partition"] = rows["timestamp"] // HOUR
    rows["bad"] = np.full(trades, -1)
    again = round(duplicates * trades) if duplicates < 1 else int(duplicates)
    parts = [rows, _delivered_again(random, rows, again), _spoiled(random, rows, bad_rows)]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in rows}
    if out_of_order:
        # A file holds its trades about in time, not in order: every row is moved by up to five seconds.
        jitter = random.integers(0, 5_000_000, len(rows["timestamp"]))
        order = np.argsort(rows["timestamp"] + jitter, kind="stable")
    else:
        order = np.argsort(rows["timestamp"], kind="stable")
    # Ids go by the row's number before the shuffle, under a prefix that tells one call from another.
    spelt = f"{trades} {hours} {iso(end)} {seed} {ties} {out_of_order} {late} {duplicates} {bad_rows}"
    prefix = hashlib.sha256(spelt.encode()).hexdigest()[:20]
    return _as_table({name: values[order] for name, values in rows.items()}, order, prefix)


def load_sample(
    settings: Settings,
    trades: int = STANDARD_TRADES,
    hours: int = STANDARD_HOURS,
    end: datetime = STANDARD_END,
    seed: int = STANDARD_SEED,
    *,
    duplicates: float = 0,
    bad_rows: int = 0,
    progress: Progress | None = None,
) -> LoadReport:
    """Load sample trades in one commit; the same call again adds nothing."""
    if progress:
        progress(f"making {trades:,} trades")
    table = sample_trades(trades, hours, end, seed, duplicates=duplicates, bad_rows=bad_rows)
    return append_trades(settings, table, progress=progress)


def _check(trades: int, hours: int, end: datetime, late: float, duplicates: float, bad_rows: int) -> None:
    if end.utcoffset() != timedelta(0):
        raise ValueError("the end of a sample is in UTC")
    series = len(_SYMBOLS) * len(_EXCHANGES)
    if trades < series:
        raise InputError(f"a sample has {series} series: ask for {series} trades or more")
    if hours < 1:
        raise InputError("a sample covers one hour or more")
    if trades > hours * 100_000_000:
        raise InputError(f"{trades:,} trades do not fit {hours} hours: ask for more hours")
    if not 0 <= late <= 1 or duplicates < 0 or bad_rows < 0:
        raise InputError("shares and counts of a sample cannot be negative, nor a share above 1")


class Feed:
    """Trades without end: each batch goes on where the last one stopped."""

    def __init__(self, begin: datetime, seed: int = STANDARD_SEED) -> None:
        self.end = begin
        self._random = np.random.default_rng([seed, to_microseconds(begin)])
        self._tick_prices = [symbol.price // symbol.tick for symbol in _SYMBOLS for _ in _EXCHANGES]
        # Ids count on from the milliseconds of the beginning: as long as there are fewer trades than milliseconds,
        # one that begins later never repeats an id.
        self._next_ids = [to_microseconds(begin) // 1000] * len(self._tick_prices)

    def batch(self, end: datetime, trades: int) -> pa.Table:
        """Make that many trades of all series between the last end and this one."""
        series = len(self._tick_prices)
        start_us, end_us = to_microseconds(self.end), to_microseconds(end)
        if not series <= trades < (end_us - start_us) // 1000:
            raise InputError(f"a batch holds {series} trades or more, and fewer than one in a millisecond")
        rows = _good_rows(self._random, trades, start_us, end_us, True, self._tick_prices, self._next_ids)
        prefix = hashlib.sha256(f"{self._next_ids} {end_us}".encode()).hexdigest()[:20]
        for number in range(series):
            own = rows["series"] == number
            self._tick_prices[number] = int(rows["price"][own][-1]) // _SYMBOLS[number // len(_EXCHANGES)].tick
            self._next_ids[number] += int(own.sum())
        rows["ingestion"] = rows["timestamp"] + self._random.integers(5_000, 900_000, trades)
        rows["partition"] = rows["timestamp"] // HOUR
        rows["bad"] = np.full(trades, -1)
        order = np.argsort(rows["timestamp"], kind="stable")
        self.end = end
        return _as_table({name: values[order] for name, values in rows.items()}, order, prefix)


def _good_rows(
    random: np.random.Generator,
    trades: int,
    start: int,
    end: int,
    ties: bool,
    tick_prices: list[int] | None = None,
    first_ids: list[int] | None = None,
) -> dict[str, Integers]:
    weights = [symbol.weight for symbol in _SYMBOLS for _ in _EXCHANGES]
    spare = trades - len(weights)
    counts = [1 + spare * weight // sum(weights) for weight in weights]
    counts[0] += trades - sum(counts)
    parts: list[dict[str, Integers]] = []
    for number, count in enumerate(counts):
        symbol = _SYMBOLS[number // len(_EXCHANGES)]
        begin = tick_prices[number] if tick_prices else symbol.price // symbol.tick
        first = first_ids[number] if first_ids else 1
        walk = begin + np.cumsum(random.integers(-symbol.step, symbol.step + 1, count))
        # Two draws multiplied: many small trades, few large ones.
        lots = random.integers(1, 200, count) * random.integers(1, 200, count)
        parts.append(
            {
                "series": np.full(count, number),
                # From 1 on, so that ids grow from one digit to many and text order differs from theirs.
                "trade": np.arange(first, first + count),
                "timestamp": _times(random, count, start, end, ties),
                "price": np.maximum(np.abs(walk), 1) * symbol.tick,
                "quantity": lots * symbol.lot,
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _times(random: np.random.Generator, count: int, start: int, end: int, ties: bool) -> Integers:
    """Draw sorted times; with ties, two trades in five share theirs with another."""
    pairs = count // 5 if ties else 0
    wanted = count - pairs
    times: Integers = np.empty(0, np.int64)
    while len(times) < wanted:
        drawn = random.integers(start, end, wanted - len(times))
        # One in a thousand is the first instant of a minute: the edge where half-open windows show.
        drawn = np.where(random.random(len(drawn)) < 0.001, np.maximum(drawn - drawn % 60_000_000, start), drawn)
        times = np.sort(np.concatenate([times, drawn]))
        # As np.unique does it, which since numpy 2.3 takes ten times as long.
        times = times[np.diff(times, prepend=-1) > 0]
    repeats = np.ones(wanted, np.int64)
    repeats[random.choice(wanted, pairs, replace=False)] = 2
    return np.repeat(times, repeats)


def _delivered_again(random: np.random.Generator, rows: dict[str, Integers], count: int) -> dict[str, Integers]:
    chosen = random.integers(0, len(rows["timestamp"]), count)
    again = {name: values[chosen] for name, values in rows.items()}
    again["ingestion"] = again["ingestion"] + random.integers(1_000_000, HOUR, count)
    corrected = np.arange(count) % 4 == 3
    ticks = np.array([symbol.tick for symbol in _SYMBOLS for _ in _EXCHANGES])
    again["price"] = again["price"] + np.where(corrected, ticks[again["series"]], 0)
    return again


def _spoiled(random: np.random.Generator, rows: dict[str, Integers], count: int) -> dict[str, Integers]:
    chosen = random.integers(0, len(rows["timestamp"]), count)
    spoiled = {name: values[chosen] for name, values in rows.items()}
    # Trades of their own: a bad version of a good trade would take it away.
    spoiled["trade"] = int(rows["trade"].max()) + 1 + np.arange(count)
    kind = spoiled["bad"] = np.arange(count) % len(BAD_KINDS)
    for name in ("price", "quantity"):
        spoiled[name] = np.where(kind == BAD_KINDS.index(f"zero {name}"), 0, spoiled[name])
        spoiled[name] = np.where(kind == BAD_KINDS.index(f"negative {name}"), -spoiled[name], spoiled[name])
    spoiled["timestamp"] = spoiled["timestamp"] - np.where(kind == BAD_KINDS.index("outside its partition"), HOUR, 0)
    return spoiled


def _as_table(rows: dict[str, Integers], numbers: Integers, prefix: str) -> pa.Table:
    count = len(numbers)
    symbols = pa.array([symbol.symbol for symbol in _SYMBOLS for _ in _EXCHANGES])
    exchanges = pa.array([exchange for _ in _SYMBOLS for exchange in _EXCHANGES])
    series = pa.array(rows["series"])
    bad = rows["bad"]
    # One venue gives a sequence of its own, the other only trade ids.
    sequenced = rows["series"] % 2 == _EXCHANGES.index("coinbase")
    described = numbers % 100 == 0
    offsets = pa.array(np.concatenate(([0], np.cumsum(described))).astype(np.int32))
    described_count = int(described.sum())
    columns = {
        "message_id": pc.binary_join_element_wise(
            prefix, pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 12, "0"), ""
        ),
        "trade_id": pa.array(rows["trade"]).cast(pa.string()),
        "symbol": _with_nulls(symbols.take(series), bad == BAD_KINDS.index("null symbol")),
        "exchange": exchanges.take(series),
        "asset_class": pa.repeat("crypto", count),
        "timestamp": pa.array(rows["timestamp"]),
        "price": _decimals(rows["price"], bad == BAD_KINDS.index("null price")),
        "quantity": _decimals(rows["quantity"], bad == BAD_KINDS.index("null quantity")),
        "currency": pa.repeat("USD", count),
        "side": pa.array(["BUY", "SELL"]).take(pa.array(rows["quantity"] // 7 % 2)),
        "trade_conditions": pa.ListArray.from_arrays(
            offsets, pa.repeat("regular", described_count), mask=pa.array(~described)
        ),
        "source_sequence": pa.array(rows["trade"] + 1_000_000, mask=~sequenced),
        "ingestion_timestamp": pa.array(rows["ingestion"]),
        "platform_sequence": pa.array(numbers),
        "vendor_data": pa.MapArray.from_arrays(
            offsets,
            pa.repeat("source", described_count),
            pa.repeat("sample", described_count),
            mask=pa.array(~described),
        ),
        "exchange_date": pa.array((rows["partition"] // 24).astype(np.int32)).cast(pa.date32()),
        "exchange_hour": pa.array((rows["partition"] % 24).astype(np.int32)),
    }
    return pa.table(columns, schema=TRADE_SCHEMA)


def _with_nulls(values: pa.Array, nulls: npt.NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(nulls), pa.scalar(None, values.type), values)


def _decimals(units: Integers, nulls: npt.NDArray[np.bool_]) -> pa.Array:
    """Make decimals of integers by writing their 16 bytes: the value and its sign, low half first."""
    halves = np.stack([units, units >> 63], axis=1)
    decimals = pa.Array.from_buffers(TRADE_SCHEMA.field("price").type, len(units), [None, pa.py_buffer(halves)])
    return _with_nulls(decimals, nulls)

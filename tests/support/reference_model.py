"""Reference model of candles: the rules in plain Python, slow but easy to verify by reading.

Tests compare the Spark job and the DuckDB recomputation with it, so it shares no code with them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

HOUR_MICROSECONDS = 3_600_000_000
EPOCH_DATE = date(1970, 1, 1)
# Steps per one of decimal(18, 8) and decimal(38, 8), and the smallest integer that each of them cannot hold.
UNITS_PER_ONE = 10**8
NARROW_LIMIT = 10**10
WIDE_LIMIT = 10**30
# Steps per one of the product of two amounts.
PRODUCT_UNITS_PER_ONE = UNITS_PER_ONE**2

# Symbol, exchange, start of the window in microseconds.
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Trade:
    """A row of the trades table, reduced to the columns that candles depend on."""

    message_id: str | None
    trade_id: str | None
    symbol: str | None
    exchange: str | None
    timestamp: int | None
    price: Decimal | None
    quantity: Decimal | None
    source_sequence: int | None
    ingestion_timestamp: int | None
    platform_sequence: int | None
    exchange_date: date
    exchange_hour: int
    side: str | None = None
    # Not a column: why the price or the quantity of a table with other types is no amount.
    amount_fault: str | None = None


TRADE_COLUMNS = tuple(name for name in Trade.__dataclass_fields__ if name != "amount_fault")


@dataclass(frozen=True)
class Candle:
    """Expected values of a candle."""

    symbol: str
    exchange: str
    window_start_us: int
    window_end_us: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trade_count: int
    vwap: Decimal


@dataclass(frozen=True)
class Measures:
    """Expected measures of a candle. Times are microseconds since the epoch."""

    quote_volume: Decimal
    # None: at least one trade of the window has no side.
    taker_buy_volume: Decimal | None
    taker_buy_quote_volume: Decimal | None
    first_trade_at: int
    last_trade_at: int


@dataclass(frozen=True)
class ReferenceResult:
    """Expected result of a build of some ranges."""

    candles: dict[Key, Candle]
    # Candles whose volume does not fit the column, with that volume.
    withheld: dict[Key, Decimal]
    rejected: Counter[str]
    trades_read: int


class _ValidTrade(NamedTuple):
    """A trade that is not rejected, with its comparison keys."""

    symbol: str
    exchange: str
    timestamp: int
    price: Fraction
    quantity: Fraction
    side: str | None
    identity: tuple[Any, ...]
    version: tuple[Any, ...]
    order: tuple[Any, ...]


def reference_candles(
    trades: Iterable[Trade],
    window_us: int,
    ranges: list[tuple[int, int]],
    amount_limit: int | None = NARROW_LIMIT,
    *,
    every_row: bool = False,
) -> ReferenceResult:
    """Return the candles of all windows in the ranges; no limit means a volume column widened to decimal(38, 8).

    `every_row`: trades have no ids, and none of them replaces another one.
    """
    found = _find_windows(trades, window_us, ranges, every_row=every_row)
    limit = WIDE_LIMIT if amount_limit is None else amount_limit
    computed = {key: _candle(key, window_us, members) for key, members in found.windows.items()}
    return ReferenceResult(
        candles={key: candle for key, candle in computed.items() if candle.volume < limit},
        withheld={key: candle.volume for key, candle in computed.items() if candle.volume >= limit},
        rejected=found.rejected,
        trades_read=found.trades_read,
    )


def reference_measures(
    trades: Iterable[Trade], window_us: int, ranges: list[tuple[int, int]], *, every_row: bool = False
) -> dict[Key, Measures]:
    """Return the measures of all windows in the ranges, also of those whose candle is withheld."""
    found = _find_windows(trades, window_us, ranges, every_row=every_row)
    return {key: _measures(members) for key, members in found.windows.items()}


class _Windows(NamedTuple):
    """The latest valid version of each trade, by window."""

    windows: dict[Key, list[_ValidTrade]]
    rejected: Counter[str]
    trades_read: int


def _find_windows(
    trades: Iterable[Trade], window_us: int, ranges: list[tuple[int, int]], *, every_row: bool
) -> _Windows:
    if any(start >= end or start % window_us or end % window_us for start, end in ranges):
        raise ValueError("a range must consist of one or more whole windows")
    hours = {
        hour for start, end in ranges for hour in range(start // HOUR_MICROSECONDS, (end - 1) // HOUR_MICROSECONDS + 1)
    }
    read = [trade for trade in trades if partition_hour(trade) in hours]

    rejected: Counter[str] = Counter()
    latest: dict[tuple[Any, ...], _ValidTrade] = {}
    for number, trade in enumerate(read):
        result = _validate(trade, number if every_row else None)
        if isinstance(result, str):
            rejected[result] += 1
        elif result.identity not in latest or latest[result.identity].version < result.version:
            latest[result.identity] = result

    windows: defaultdict[Key, list[_ValidTrade]] = defaultdict(list)
    for valid in latest.values():
        window_start = valid.timestamp // window_us * window_us
        if any(start <= window_start and window_start + window_us <= end for start, end in ranges):
            windows[valid.symbol, valid.exchange, window_start].append(valid)
    return _Windows(windows, rejected, len(read))


def partition_hour(trade: Trade) -> int:
    """Return the number of a row's partition hour, counted from the epoch."""
    return (trade.exchange_date - EPOCH_DATE).days * 24 + trade.exchange_hour


def rejection_reason(trade: Trade, *, every_row: bool = False) -> str | None:
    """Return the first reason to reject a trade, None for a valid one. `every_row`: it needs no id."""
    has_identity = every_row or trade.trade_id is not None or trade.message_id is not None
    if trade.symbol is None or trade.exchange is None or trade.timestamp is None or not has_identity:
        return "null_key"
    if trade.amount_fault is not None:
        return trade.amount_fault
    if trade.price is None or trade.price <= 0:
        return "bad_price"
    if trade.quantity is None or trade.quantity <= 0:
        return "bad_quantity"
    return "wrong_partition" if trade.timestamp // HOUR_MICROSECONDS != partition_hour(trade) else None


def version_order(trade: Trade) -> tuple[Any, ...]:
    """Return what orders the versions of a trade: the largest is the latest."""
    values = (
        trade.ingestion_timestamp,
        trade.platform_sequence,
        trade.message_id,
        trade.timestamp,
        trade.source_sequence,
        trade.price,
        trade.quantity,
        trade.side,
    )
    return tuple(map(_null_first, values))


def _validate(trade: Trade, number: int | None) -> _ValidTrade | str:
    """Return the valid trade with its keys, or the first reason to reject it. A number replaces its id."""
    if reason := rejection_reason(trade, every_row=number is not None):
        return reason
    order_id = trade.message_id if trade.trade_id is None else trade.trade_id
    if number is not None:
        order_id = ""
    assert trade.symbol is not None
    assert trade.exchange is not None
    assert trade.timestamp is not None
    assert trade.price is not None
    assert trade.quantity is not None
    assert order_id is not None
    # The flag in the identity distinguishes a trade_id from a message_id with the same text.
    return _ValidTrade(
        symbol=trade.symbol,
        exchange=trade.exchange,
        timestamp=trade.timestamp,
        price=Fraction(trade.price),
        quantity=Fraction(trade.quantity),
        side=trade.side,
        identity=(partition_hour(trade), trade.exchange, trade.symbol, trade.trade_id is None, order_id, number),
        version=version_order(trade),
        order=(trade.timestamp, _null_first(trade.source_sequence), _id_order(order_id), trade.price),
    )


def _candle(key: Key, window_us: int, members: list[_ValidTrade]) -> Candle:
    symbol, exchange, window_start = key
    ordered = sorted(members, key=lambda member: member.order)
    prices = [member.price for member in ordered]
    volume = sum((member.quantity for member in ordered), Fraction(0))
    notional = sum((member.price * member.quantity for member in ordered), Fraction(0))
    return Candle(
        symbol=symbol,
        exchange=exchange,
        window_start_us=window_start,
        window_end_us=window_start + window_us,
        open=_exact(prices[0]),
        high=_exact(max(prices)),
        low=_exact(min(prices)),
        close=_exact(prices[-1]),
        volume=_exact(volume),
        trade_count=len(ordered),
        vwap=_rounded_half_up(notional / volume),
    )


def _measures(members: list[_ValidTrade]) -> Measures:
    bought = [member for member in members if member.side == "BUY"]
    all_have_sides = all(member.side in ("BUY", "SELL") for member in members)
    times = [member.timestamp for member in members]
    return Measures(
        quote_volume=_notional(members),
        taker_buy_volume=_exact(sum((member.quantity for member in bought), Fraction(0))) if all_have_sides else None,
        taker_buy_quote_volume=_notional(bought) if all_have_sides else None,
        first_trade_at=min(times),
        last_trade_at=max(times),
    )


def _notional(members: list[_ValidTrade]) -> Decimal:
    """Return the sum of price * quantity, with 16 decimal places."""
    units = sum((member.price * member.quantity for member in members), Fraction(0)) * PRODUCT_UNITS_PER_ONE
    assert units.denominator == 1
    return Decimal(f"{units.numerator}E-16")


def _null_first(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def _id_order(order_id: str) -> tuple[int, int, str]:
    """Return a key that sorts numbers before other ids; Python compares text by code point, as the rule requires."""
    if order_id.isascii() and order_id.isdigit():
        return 0, int(order_id), order_id
    return 1, 0, order_id


def _rounded_half_up(value: Fraction) -> Decimal:
    return _from_units(floor(value * UNITS_PER_ONE + Fraction(1, 2)))


def _exact(value: Fraction) -> Decimal:
    units = value * UNITS_PER_ONE
    if units.denominator != 1:
        raise ValueError(f"{value} has more than 8 decimal places: the table cannot hold such a trade")
    return _from_units(units.numerator)


def _from_units(units: int) -> Decimal:
    # From text, because Decimal arithmetic rounds to the 28 digits of the default context.
    return Decimal(f"{units}E-8")

"""Candles computed in plain Python from random trades, stored as ours and published in each format."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from ohlcv.model.intervals import to_microseconds
from ohlcv.model.timeframes import Timeframe
from support.candle_rows import Row, at, candle

START = at("2026-03-01T00:00:00")
FETCHED = at("2026-03-10T00:00:00")
NOW = at("2026-03-11T00:00:00")
UNIT = Decimal("1e-8")


@dataclass(frozen=True)
class Published:
    """A candle as an exchange computes it, with exact sums."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trade_count: int
    # None: derived from the sums.
    own_vwap: Decimal | None = None

    @property
    def vwap(self) -> Decimal:
        if self.own_vwap is not None:
            return self.own_vwap
        return (self.quote_volume / self.volume).quantize(UNIT, ROUND_HALF_UP) if self.volume else Decimal(0)

    def row(self, timeframe: Timeframe, symbol: str = "BTC", exchange: str = "X") -> Row:
        """Return the candle as a row of our table."""
        values = {f"{name}_price": getattr(self, name) for name in ("open", "high", "low", "close")}
        return candle(timeframe, self.start, symbol=symbol, exchange=exchange) | {
            **values,
            "volume": self.volume,
            "trade_count": self.trade_count,
            "vwap": self.vwap,
        }


def random_candles(seed: int, count: int, timeframe: Timeframe, start: datetime = START) -> list[Published]:
    """Return candles of consecutive windows with one to five random trades each."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        # Prices have two decimal places and quantities three, so that all sums are short.
        trades = [
            (Decimal(draw.randint(9_000, 11_000)) / 100, Decimal(draw.randint(1, 9_999)) / 1_000)
            for _ in range(draw.randint(1, 5))
        ]
        prices = [price for price, _ in trades]
        found.append(
            Published(
                start=start + number * timeframe.length,
                open=prices[0],
                high=max(prices),
                low=min(prices),
                close=prices[-1],
                volume=sum((quantity for _, quantity in trades), Decimal(0)),
                quote_volume=sum((price * quantity for price, quantity in trades), Decimal(0)),
                trade_count=len(trades),
            )
        )
    return found


def empty(before: Published, timeframe: Timeframe) -> Published:
    """Return the candle without trades of the window after a candle."""
    prices = dict.fromkeys(("open", "high", "low", "close"), before.close)
    sums = {"volume": Decimal(0), "quote_volume": Decimal(0), "trade_count": 0}
    return replace(before, start=before.start + timeframe.length, **prices, **sums)  # type: ignore[arg-type]


def kline(each: Published, timeframe: Timeframe, unit: int = 1_000) -> list[str | int]:
    """Return a kline whose unit has this many microseconds."""
    start = to_microseconds(each.start) // unit
    end = start + timeframe.microseconds // unit - 1
    prices = [f"{value:.8f}" for value in (each.open, each.high, each.low, each.close, each.volume)]
    return [start, *prices, end, f"{each.quote_volume:.8f}", each.trade_count, "0", "0", "0"]


def lines(rows: Iterable[Sequence[object]]) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
GENERIC_HEADER = "window_start,open,high,low,close,volume,trade_count,vwap\n"


def content(format_name: str, candles: Sequence[Published], timeframe: Timeframe) -> str:
    """Return the content of a file in one of the layouts."""
    if format_name.startswith("binance"):
        rows = [kline(each, timeframe, 1 if "micro" in format_name else 1_000) for each in candles]
        if "json" in format_name:
            return json.dumps(rows)
        return (KLINE_HEADER if "header" in format_name else "") + lines(rows)
    seconds = [(to_microseconds(each.start) // 1_000_000, each) for each in candles]
    if format_name == "kraken csv":
        return lines((time, e.open, e.high, e.low, e.close, e.volume, e.trade_count) for time, e in seconds)
    if format_name == "kraken json":
        rows = [
            [time, *(f"{value:f}" for value in (e.open, e.high, e.low, e.close, e.vwap, e.volume)), e.trade_count]
            for time, e in seconds
        ]
        return json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": seconds[-1][0]}})
    return GENERIC_HEADER + lines(
        (e.start.isoformat(), e.open, e.high, e.low, e.close, e.volume, e.trade_count, e.vwap) for e in candles
    )


# Name of the layout -> option --format.
LAYOUTS = {
    "binance milliseconds": "binance-klines",
    "binance microseconds": "binance-klines",
    "binance header": "binance-klines",
    "binance json": "binance-klines",
    "kraken csv": "kraken-ohlc",
    "kraken json": "kraken-ohlc",
    "generic": "generic",
}


def write_file(
    folder: Path, layout: str, candles: Sequence[Published], timeframe: Timeframe, name: str = "candles"
) -> Path:
    """Write a file in one of the layouts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(content(layout, candles, timeframe))
    return path


def at_minute(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)

"""Conventions of exchanges: known differences between their candles and those that their trades give.

A convention explains a field of a candle only if the published value is exactly the one that the convention gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from ohlcv.model.table_contracts import AMOUNT_SCALE

# Our vwap is rounded to its scale, so the exact one is at most this far away.
HALF_UNIT = Decimal(5).scaleb(-AMOUNT_SCALE - 1)


@dataclass(frozen=True)
class Candles:
    """A pair of candles of a window; the fields have the names of published ones."""

    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]
    # Close of the published candle before, None for the first one.
    previous_close: Decimal | None
    # Most decimal places of the published amounts.
    places: Mapping[str, int]


@dataclass(frozen=True)
class Convention:
    """A convention and the fields of a candle that it may explain."""

    name: str
    fields: tuple[str, ...]
    explains: Callable[[Candles, str], bool]


def _opens_at_previous_close(candles: Candles, field: str) -> bool:
    close = candles.previous_close
    if close is None or candles.theirs["open"] != close:
        return False
    # Some exchanges extend the range of the prices to the open.
    expected = {
        "open": close,
        "high": max(candles.ours["high"], close),
        "low": min(candles.ours["low"], close),
    }
    return bool(candles.theirs[field] == expected[field])


def _has_truncated_vwap(candles: Candles, field: str) -> bool:
    ours, unit = candles.ours[field], Decimal(1).scaleb(-candles.places[field])
    truncated = (each.quantize(unit, ROUND_DOWN) for each in (ours, ours - HALF_UNIT))
    return candles.theirs[field] in truncated


def _has_quote_volume(candles: Candles, field: str) -> bool:
    ours = candles.ours
    rounding = Decimal(5).scaleb(-candles.places[field] - 1)
    difference = abs(candles.theirs[field] - ours[field] * ours["vwap"])
    return bool(difference <= ours[field] * HALF_UNIT + rounding)


def _has_rounded_quote_volume(candles: Candles, field: str) -> bool:
    # The quote volume of each trade is rounded, so the error of the sum grows with their number.
    theirs = candles.theirs
    if theirs["volume"] != candles.ours["volume"]:
        return False
    error = Decimal(1).scaleb(-candles.places["quote_volume"]) * candles.ours["trade_count"]
    return bool(abs(theirs[field] - candles.ours[field]) <= error / theirs["volume"] + 2 * HALF_UNIT)


OPEN_IS_PREVIOUS_CLOSE = Convention("open is the previous close", ("open", "high", "low"), _opens_at_previous_close)
VWAP_TRUNCATED = Convention("vwap is truncated", ("vwap",), _has_truncated_vwap)
VOLUME_IN_QUOTE = Convention("volume is in the quote currency", ("volume",), _has_quote_volume)
QUOTE_VOLUME_ROUNDED = Convention("quote volume is rounded", ("vwap",), _has_rounded_quote_volume)

# Venue in lower case -> its conventions. Of other venues none is known.
CONVENTIONS: Mapping[str, tuple[Convention, ...]] = {
    "binance": (QUOTE_VOLUME_ROUNDED,),
    "bitmex": (OPEN_IS_PREVIOUS_CLOSE, VOLUME_IN_QUOTE),
    "kraken": (VWAP_TRUNCATED,),
}


def conventions_of(venue: str) -> tuple[Convention, ...]:
    """Return the conventions of a venue."""
    return CONVENTIONS.get(venue.lower(), ())

"""Tolerances of the comparison with published candles: a limit per field, absolute, in ticks or in per cent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from ohlcv.model.errors import InputError

# The fields that are compared, by the column of a candle.
FIELDS = {
    "open": "open_price",
    "high": "high_price",
    "low": "low_price",
    "close": "close_price",
    "volume": "volume",
    "trade_count": "trade_count",
    "vwap": "vwap",
}
PRICES = ("open", "high", "low", "close", "vwap")
# The name under which the tick is given in a list of tolerances.
TICK = "tick"
_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,18})?"
_VALUE = re.compile(rf"(?P<number>{_NUMBER})(?P<unit>ticks?|%)?", re.ASCII)
_HINT = "give FIELD=VALUE as in close=0.01, close=2ticks or volume=0.1%"


@dataclass(frozen=True)
class Tolerance:
    """The largest permitted difference of a field."""

    value: Decimal
    unit: Literal["", "ticks", "%"]

    def __str__(self) -> str:
        return f"{self.value:f}{self.unit}"


@dataclass(frozen=True)
class Tolerances:
    """Tolerances by field. Fields without one must be equal."""

    by_field: Mapping[str, Tolerance] = field(default_factory=dict)
    tick: Decimal | None = None

    def limit(self, name: str, theirs: Decimal) -> Decimal:
        """Return the largest permitted difference from a published value."""
        tolerance = self.by_field.get(name)
        if tolerance is None:
            return Decimal(0)
        if tolerance.unit == "%":
            return tolerance.value * abs(theirs) / 100
        return tolerance.value * (self.tick or 0) if tolerance.unit == "ticks" else tolerance.value

    def text(self, name: str) -> str:
        """Return the tolerance of a field as it was given."""
        return str(self.by_field.get(name, "0"))


def parse_tolerances(name: str, texts: Iterable[str], tick: str | None = None) -> Tolerances:
    """Return the tolerances of texts such as close=2ticks. Raise InputError, which names their source."""
    found: dict[str, Tolerance] = {}
    for text in texts:
        key, _, value = text.strip().partition("=")
        if key == TICK and tick is None:
            tick = value
        elif key not in FIELDS:
            raise InputError(f"{name}: '{text[:50]}' has no field of a candle: choose one of {', '.join(FIELDS)}")
        elif key in found:
            raise InputError(f"{name}: {key} has two tolerances: give one")
        else:
            found[key] = _parse_tolerance(name, key, value)
    if tick is not None and (not re.fullmatch(_NUMBER, tick, re.ASCII) or not Decimal(tick)):
        raise InputError(f"{name}: the tick is '{tick[:50]}': give a number above 0 such as 0.01")
    if tick is None and any(each.unit == "ticks" for each in found.values()):
        raise InputError(f"{name}: a tolerance in ticks needs the tick: give its size, such as 0.01")
    return Tolerances(found, None if tick is None else Decimal(tick))


def _parse_tolerance(name: str, key: str, text: str) -> Tolerance:
    match = _VALUE.fullmatch(text)
    if match is None:
        raise InputError(f"{name}: the tolerance of {key} is '{text[:50]}': {_HINT}")
    unit: Literal["", "ticks", "%"] = "%" if match["unit"] == "%" else "ticks" if match["unit"] else ""
    if unit == "ticks" and key not in PRICES:
        raise InputError(f"{name}: {key} is no price, so it has no ticks: {_HINT}")
    return Tolerance(Decimal(match["number"]), unit)

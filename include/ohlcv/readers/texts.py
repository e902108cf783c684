"""Values of candles and revisions as texts without loss, for CSV and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ohlcv.model.intervals import iso

# JSON numbers of other programs lose the last digits of such a number.
_LONG_NUMBERS = ("snapshot", "trades_snapshot", "minutes")


def json_value(value: Any) -> Any:
    """Return a value as a JSON type: decimals as text with all decimal places, times in UTC."""
    if isinstance(value, Decimal):
        return format(value, "f")  # str() would return 1E-8 for the smallest values
    if isinstance(value, datetime):
        return iso(value)
    return value.isoformat() if isinstance(value, date) else value


def json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a JSON object."""
    found = {name: json_value(value) for name, value in row.items()}
    return found | {name: str(found[name]) for name in _LONG_NUMBERS if found.get(name) is not None}


def csv_value(value: Any) -> Any:
    """Return a value as a field of CSV; the members of a list are separated by semicolons."""
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(map(str, value)) if isinstance(value, list) else json_value(value)

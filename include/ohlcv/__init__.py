"""Exact, complete, audited OHLCV candles from crypto trades.

Example:
    import ohlcv

    candles = ohlcv.candles("1h", symbol="BTC-USD", exchange="coinbase", start="2026-03-01", end="2026-03-02")

docs/reading.md has more examples. Attributes are loaded on first use: Spark jobs and Airflow import this package too,
and pyarrow, pyiceberg and DuckDB take seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["InputError", "OhlcvError", "candles", "revisions", "series", "timeframes", "trade_coverage"]

if TYPE_CHECKING:
    from ohlcv.model.errors import InputError, OhlcvError
    from ohlcv.readers.python_api import candles, revisions, series, timeframes, trade_coverage
else:

    def __getattr__(name: str) -> object:
        """Return an attribute of `__all__` from its module."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "ohlcv.model.errors" if name.endswith("Error") else "ohlcv.readers.python_api"
        return getattr(import_module(module), name)

    def __dir__() -> list[str]:
        """Return the names of the module, with those that are not loaded yet."""
        return sorted({*globals(), *__all__})

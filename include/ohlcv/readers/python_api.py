"""Candles for Python programs and notebooks, available as `ohlcv.candles`, `ohlcv.series` and `ohlcv.timeframes`."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from ohlcv.config.settings import Settings, load_settings
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import parse_time
from ohlcv.model.timeframes import TIMEFRAMES, get_timeframe

# pyarrow, pyiceberg and DuckDB take seconds to import. Functions import them when needed.
if TYPE_CHECKING:
    import pyarrow as pa

    from ohlcv.readers.candles import Fill


def candles(
    timeframe: str,
    symbol: str | None = None,
    exchange: str | None = None,
    *,
    start: datetime | date | str | None = None,
    end: datetime | date | str | None = None,
    newest: int | None = None,
    fill: Fill | None = None,
    settings: Settings | None = None,
) -> pa.Table:
    """Return the candles with start <= window_start < end, sorted by symbol, exchange and window_start.

    `start` and `end` are a datetime with a time zone, a date (its midnight in UTC), or an ISO time as on the command
    line (UTC if it has no time zone). `newest` limits the result to the newest windows of each series. Without `start`,
    `newest` finds only series with a candle in the newest 31 partitions (days, or months for 1d).

    `fill="previous"` adds windows without trades at the previous close, with volume 0 and no vwap, and the column
    `filled`. The columns are those of docs/data-contract.md, with exact decimals and times in UTC. A result without
    candles has the same columns and no rows.

    The environment variables `OHLCV_…` name catalog and warehouse unless `settings` are given. An invalid request
    raises ohlcv.InputError; any other problem that the caller can fix raises its base class ohlcv.OhlcvError.

    >>> import ohlcv
    >>> ohlcv.candles("1h", "BTC-USD", "coinbase", start="2026-03-01", end="2026-03-02", fill="previous").to_pandas()
    """
    from ohlcv.readers.candles import read_candles

    return read_candles(
        settings or load_settings(),
        get_timeframe(timeframe),
        symbol,
        exchange,
        start=_utc_time("start", start),
        end=_utc_time("end", end),
        newest=newest,
        fill=fill,
    )


def series(timeframe: str, *, settings: Settings | None = None) -> list[tuple[str, str]]:
    """Return each (symbol, exchange) with a candle in the newest 31 partitions (days, or months for 1d), sorted.

    >>> import ohlcv
    >>> ohlcv.series("1h")
    [('BTC-USD', 'coinbase'), ('ETH-USD', 'coinbase')]
    """
    from ohlcv.readers.latest import recent_series

    return recent_series(settings or load_settings(), get_timeframe(timeframe))


def timeframes() -> list[str]:
    """Return the names of all timeframes, the shortest first.

    >>> import ohlcv
    >>> ohlcv.timeframes()
    ['1m', '5m', '30m', '1h', '1d']
    """
    return sorted(TIMEFRAMES, key=lambda name: TIMEFRAMES[name].length)


def _utc_time(name: str, value: datetime | date | str | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, (str, date)):
        raise InputError(f"{name} must be a datetime, a date or an ISO time, not {type(value).__name__}")
    # As text, so that subclasses such as pandas.Timestamp become a plain datetime.
    time, without_zone = parse_time(value if isinstance(value, str) else value.isoformat())
    if without_zone and isinstance(value, datetime):
        raise InputError(f"{name} {value} has no time zone: use a datetime with tzinfo, such as datetime.UTC")
    return time

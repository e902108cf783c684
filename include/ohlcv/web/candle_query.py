"""Selection of stored candles by range, series, key and time of change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from ohlcv.readers.candles import Fill
from ohlcv.web.table_index import TableIndex

# (window_start, symbol, exchange) of a candle: its place in the order of the pages.
PageKey = tuple[datetime, str, str]


@dataclass(frozen=True)
class CandleQuery:
    """A selection of candles. None means unbounded or any. Times have a time zone."""

    symbol: str | None = None
    exchange: str | None = None
    # start <= window_start < end
    start: datetime | None = None
    end: datetime | None = None
    # Number of newest windows before `end`. Needs symbol and exchange.
    newest: int | None = None
    # updated_at >= updated_since
    updated_since: datetime | None = None
    # "previous" needs symbol, exchange, start and end.
    fill: Fill | None = None
    # Candles per page. None: all.
    limit: int | None = None
    # Only candles after this key.
    after: PageKey | None = None


@dataclass(frozen=True, eq=False)
class CandlePage:
    """Candles in the order window_start, symbol, exchange, and the key of the last one if more follow."""

    table: pa.Table
    next_key: PageKey | None
    index: TableIndex

"""Access of the routes to stored and provisional candles. Every function may be called from several threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.table_contracts import candles_contract
from ohlcv.readers.candles import read_candles
from ohlcv.web.candle_query import CandlePage, CandleQuery
from ohlcv.web.provisional import Provisional
from ohlcv.web.table_index import TableIndex, build_index

_ORDER = [("window_start", "ascending"), ("symbol", "ascending"), ("exchange", "ascending")]


@dataclass(frozen=True)
class SeriesRange:
    """A series with its first and newest window start."""

    symbol: str
    exchange: str
    first_window: datetime
    newest_window: datetime


class CandleData:
    """Stored candles of all timeframes, their series, and provisional candles."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self) -> None:
        """Start the thread that keeps the indexes up to date."""

    def close(self) -> None:
        """End the thread."""

    def index(self, timeframe: str) -> TableIndex | None:
        """Return the index of a candle table; None if the table does not exist.

        Raise OhlcvError if the catalog or the table could not be read yet.
        """
        contract = candles_contract(self._settings.timeframe(timeframe))
        try:
            return build_index(load_table(open_catalog(self._settings), contract), contract)
        except OhlcvError as error:
            if "there is no table" in str(error):
                return None
            raise

    def stale_seconds(self, timeframe: str) -> float | None:  # noqa: ARG002
        """Return the age of the index if the catalog has not confirmed it; None if it is up to date."""
        return None

    def series(self, timeframe: str) -> list[SeriesRange]:
        """Return the series of a timeframe, sorted by symbol and exchange. Empty if there is no table."""
        if self.index(timeframe) is None:
            return []
        candles = read_candles(self._settings, self._settings.timeframe(timeframe))
        groups = candles.group_by(["symbol", "exchange"]).aggregate([("window_start", "min"), ("window_start", "max")])
        return sorted(
            (SeriesRange(*row) for row in zip(*groups.to_pydict().values(), strict=True)),
            key=lambda each: (each.symbol, each.exchange),
        )

    def candles(self, timeframe: str, query: CandleQuery) -> CandlePage:
        """Return one page of candles. Raise OhlcvError if there is no such table."""
        index = self.index(timeframe)
        if index is None:
            raise OhlcvError(f"there are no {timeframe} candles yet: run 'ohlcv tables create'")
        table = read_candles(
            self._settings,
            self._settings.timeframe(timeframe),
            query.symbol,
            query.exchange,
            start=query.start,
            end=query.end,
            newest=query.newest,
            fill=query.fill,
        )
        if query.updated_since is not None:
            table = table.filter(pc.field("updated_at") >= query.updated_since)
        table = table.sort_by(_ORDER)
        if query.after is not None:
            keys = zip(*(table[name].to_pylist() for name, _ in _ORDER), strict=True)
            table = table.filter(pa.array([key > query.after for key in keys], pa.bool_()))
        if query.limit is None or len(table) <= query.limit:
            return CandlePage(table, None, index)
        page = table.slice(0, query.limit)
        last = page.slice(query.limit - 1).to_pylist()[0]
        return CandlePage(page, (last["window_start"], last["symbol"], last["exchange"]), index)

    def batches(self, timeframe: str, query: CandleQuery) -> Iterator[pa.RecordBatch]:
        """Return all candles of a query in batches, in the order of the pages."""
        yield from self.candles(timeframe, query).table.to_batches()

    def count(self, timeframe: str, query: CandleQuery) -> int:
        """Return an upper bound of the number of candles of a query, from metadata and cache."""
        return len(self.candles(timeframe, query).table)

    def provisional(self, timeframe: str, symbol: str, exchange: str) -> Provisional:  # noqa: ARG002
        """Return the candles of a series that are newer than its newest stored one."""
        index = self.index(timeframe)
        if index is None:
            raise OhlcvError(f"there are no {timeframe} candles yet: run 'ohlcv tables create'")
        return Provisional(None, datetime.now(UTC), index.schema.empty_table())

"""Access of the routes to stored and provisional candles. Every function may be called from several threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa

from ohlcv.config.settings import Settings
from ohlcv.model.errors import MissingTableError
from ohlcv.model.measures import missing_measures
from ohlcv.model.timeframes import get_timeframe
from ohlcv.web.candle_query import CandlePage, CandleQuery, CandleReader
from ohlcv.web.file_cache import FileCache
from ohlcv.web.index_refresher import REFRESH_SECONDS, IndexRefresher
from ohlcv.web.provisional import HOURLY, Provisional, ProvisionalCandles
from ohlcv.web.series_ranges import SeriesRange, SeriesRanges
from ohlcv.web.table_index import TableIndex

_log = logging.getLogger(__name__)

# Seconds that the first requests wait for the first refresh.
_WAIT_SECONDS = 8.0


class CandleData:
    """Stored candles of all enabled timeframes, their series, and provisional candles."""

    def __init__(
        self, settings: Settings, *, interval: float = REFRESH_SECONDS, cache: FileCache | None = None
    ) -> None:
        self._names = settings.names
        self.cache = cache or FileCache()
        self._refresher = IndexRefresher(
            settings, interval=interval, wait=_WAIT_SECONDS, after_refresh=self._scan_series
        )
        enabled = settings.timeframes
        self._readers = {name: CandleReader(self.cache, timeframe) for name, timeframe in enabled.items()}
        self._series = {name: SeriesRanges() for name in enabled}
        # Longer candles are combined from hours, also if these have no table.
        hourly = {HOURLY.name: CandleReader(self.cache, HOURLY)}
        self._provisional = ProvisionalCandles(
            hourly | self._readers,
            lambda timeframe: self.index(timeframe.name) if timeframe.name in enabled else None,
            lambda: self._refresher.index(self._names.trades),
        )

    def start(self) -> None:
        """Start the thread that keeps the indexes up to date."""
        self._refresher.start()

    def close(self) -> None:
        """End the thread."""
        self._refresher.close()

    def refresh(self) -> None:
        """Read the catalog now, and scan the series of new files."""
        self._refresher.refresh()
        self._scan_series(None)

    def index(self, timeframe: str) -> TableIndex | None:
        """Return the index of a candle table; None if the table does not exist.

        Raise OhlcvError if the catalog or the table could not be read yet.
        """
        return self._refresher.index(self._names.candle_table(timeframe))

    def stale_seconds(self, timeframe: str) -> float | None:
        """Return the age of the index if the catalog has not confirmed it; None if it is up to date."""
        return self._refresher.stale_seconds(self._names.candle_table(timeframe))

    def series(self, timeframe: str) -> list[SeriesRange]:
        """Return the series of a timeframe, sorted by symbol and exchange. Empty if there is no table.

        A series without a candle in the newest 31 partitions may be missing in a table of very many series.
        """
        if self.index(timeframe) is None:
            return []
        return self._series[timeframe].ranges(_WAIT_SECONDS)

    def lacks_series(self, timeframe: str, index: TableIndex, symbol: str, exchange: str) -> bool:
        """Return whether it is certain that a table has no such series."""
        return self._series[timeframe].lacks(index, symbol, exchange)

    def candles(self, timeframe: str, query: CandleQuery) -> CandlePage:
        """Return one page of candles. Raise InputError if the query has measures and the table is not extended.

        Raise MissingTableError if there is no such table.
        """
        return self._readers[timeframe].page(self._existing_index(timeframe, query.measures), query)

    def batches(self, timeframe: str, query: CandleQuery) -> Iterator[pa.RecordBatch]:
        """Return all candles of a query in batches, in the order of the pages."""
        return self._readers[timeframe].batches(self._existing_index(timeframe, query.measures), query)

    def count(self, timeframe: str, query: CandleQuery) -> int:
        """Return an upper bound of the number of candles of a query, from metadata and known series."""
        known = self._series[timeframe]
        series = 1 if query.part.is_series else None
        if known.covers_all:
            series = sum(
                query.symbol in (None, each.symbol) and query.exchange in (None, each.exchange)
                for each in known.ranges(0)
            )
        return self._readers[timeframe].count(self._existing_index(timeframe), query, series)

    def provisional(self, timeframe: str, symbol: str, exchange: str, measures: bool = False) -> Provisional:
        """Return the candles of a series that are newer than its newest stored one. Their measures are null."""
        index = self._existing_index(timeframe, measures)
        return self._provisional.candles(get_timeframe(timeframe), index, symbol, exchange, datetime.now(UTC))

    def _existing_index(self, timeframe: str, measures: bool = False) -> TableIndex:
        index = self.index(timeframe)
        if index is None:
            raise MissingTableError(f"there is no table of {timeframe} candles: run 'ohlcv tables create'")
        if measures and index.extended_schema is None:
            raise missing_measures(self._names.candle_table(timeframe)[-1], timeframe)
        return index.select(measures)

    def _scan_series(self, until: float | None) -> None:
        """Scan files until a monotonic time, one of each timeframe in turn, the newest first."""
        unfinished = set(self._series)
        while unfinished and (until is None or time.monotonic() < until):
            for name in sorted(unfinished):
                try:
                    is_unfinished = self._series[name].scan_next(
                        self._refresher.last_index(self._names.candle_table(name))
                    )
                except (
                    Exception
                ) as error:  # a damaged file, or an error of the store: tried again after the next refresh
                    _log.warning("the series of %s candles are incomplete: %s", name, error)
                    is_unfinished = False
                if not is_unfinished:
                    unfinished.discard(name)

"""Candle data of the candle service in memory, in place of Iceberg tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa

from ohlcv.model.errors import OhlcvError
from ohlcv.model.measures import missing_measures
from ohlcv.model.table_contracts import MEASURES
from ohlcv.web.candle_query import CandlePage, CandleQuery
from ohlcv.web.data import CandleData
from ohlcv.web.provisional import Provisional
from ohlcv.web.series_ranges import SeriesRange
from ohlcv.web.table_index import TableIndex
from support.candle_rows import Row

COMMITTED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
AMOUNT = pa.decimal128(18, 8)
SCHEMA = pa.schema(
    {
        **{"symbol": pa.string(), "exchange": pa.string()},
        **{"window_start": TIME, "window_end": TIME, "window_date": pa.date32()},
        **dict.fromkeys(("open_price", "high_price", "low_price", "close_price", "volume"), AMOUNT),
        **{"trade_count": pa.int64(), "vwap": AMOUNT, "created_at": TIME, "updated_at": TIME},
    }.items()
)
_QUOTE_AMOUNT = pa.decimal128(38, 16)
_MEASURE_TYPES = (_QUOTE_AMOUNT, pa.decimal128(38, 8), _QUOTE_AMOUNT, TIME, TIME)
EXTENDED_SCHEMA = pa.schema([*SCHEMA, *zip(MEASURES, _MEASURE_TYPES, strict=True)])


class MemoryCandles:
    """Has the functions of CandleData, and counts the reads."""

    def __init__(self, **rows: list[Row]) -> None:
        self.rows = rows
        self.snapshot_id = 9_007_199_254_740_993  # a JSON number would lose the last digit
        self.stale: float | None = None
        self.provisional_rows: list[Row] = []
        self.counted: int | None = None
        self.failure: Exception | None = None
        self.reads = 0
        # Whether all series are known.
        self.complete = True
        # The timeframes whose table has measures.
        self.extended: set[str] = set()

    def as_data(self) -> CandleData:
        return cast("CandleData", self)

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def index(self, timeframe: str) -> TableIndex | None:
        if isinstance(self.failure, OhlcvError):
            raise self.failure
        stored = timeframe in self.rows
        return TableIndex(
            table=cast("Any", None),
            snapshot_id=self.snapshot_id if stored else None,
            committed_at=COMMITTED_AT if stored else None,
            schema_id=0,
            schema=SCHEMA,
            files=(),
            extended_schema=EXTENDED_SCHEMA if timeframe in self.extended else None,
        )

    def stale_seconds(self, timeframe: str) -> float | None:
        return self.stale

    def series(self, timeframe: str) -> list[SeriesRange]:
        pairs = sorted({(row["symbol"], row["exchange"]) for row in self.rows.get(timeframe, [])})
        starts = {
            pair: [row["window_start"] for row in self.rows[timeframe] if (row["symbol"], row["exchange"]) == pair]
            for pair in pairs
        }
        return [SeriesRange(*pair, min(starts[pair]), max(starts[pair])) for pair in pairs]

    def lacks_series(self, timeframe: str, index: TableIndex, symbol: str, exchange: str) -> bool:
        return self.complete and all(
            (each.symbol, each.exchange) != (symbol, exchange) for each in self.series(timeframe)
        )

    def candles(self, timeframe: str, query: CandleQuery) -> CandlePage:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        rows = sorted((row for row in self.rows.get(timeframe, []) if _selected(row, query)), key=_key)
        rows = rows[-query.newest :] if query.newest else rows
        page = rows[: query.limit]
        index = self._index(timeframe, query.measures)
        schema = index.schema.append(pa.field("filled", pa.bool_())) if query.fill else index.schema
        page = [{**row, "filled": False} for row in page] if query.fill else page
        table = pa.Table.from_pylist(page, schema=schema)
        return CandlePage(table, _key(page[-1]) if len(page) < len(rows) else None, index)

    def batches(self, timeframe: str, query: CandleQuery) -> Iterator[pa.RecordBatch]:
        yield from self.candles(timeframe, query).table.to_batches(max_chunksize=2)

    def count(self, timeframe: str, query: CandleQuery) -> int:
        return len(self.rows.get(timeframe, [])) if self.counted is None else self.counted

    def provisional(self, timeframe: str, symbol: str, exchange: str, measures: bool = False) -> Provisional:
        schema = self._index(timeframe, measures).schema
        return Provisional(7, COMMITTED_AT, pa.Table.from_pylist(self.provisional_rows, schema=schema))

    def _index(self, timeframe: str, measures: bool) -> TableIndex:
        if measures and timeframe not in self.extended:
            raise missing_measures(f"gold_ohlcv_{timeframe}", timeframe)
        index = self.index(timeframe)
        assert index is not None
        return index.select(measures)


def _key(row: Row) -> tuple[datetime, str, str]:
    return row["window_start"], row["symbol"], row["exchange"]


def _selected(row: Row, query: CandleQuery) -> bool:
    return (
        query.symbol in (None, row["symbol"])
        and query.exchange in (None, row["exchange"])
        and (query.start is None or row["window_start"] >= query.start)
        and (query.end is None or row["window_start"] < query.end)
        and (query.updated_since is None or row["updated_at"] >= query.updated_since)
        and (query.after is None or _key(row) > query.after)
    )

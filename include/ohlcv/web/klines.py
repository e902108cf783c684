"""Candles in the shape of Binance's klines: rows of 12 values, with the volumes that takers bought."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from ohlcv.model.intervals import MICROSECOND
from ohlcv.web.answers import SnapshotAnswer
from ohlcv.web.ccxt import AMOUNTS, DEFAULT_ROWS, Milliseconds, read_rows, rows_query, time_of
from ohlcv.web.encoding import json_rows, json_texts, one_chunk
from ohlcv.web.parameters import MAX_CANDLES, Name, Number, Parameters, TimeframeName
from ohlcv.web.problems import bad_request
from ohlcv.web.service import Service, ServiceState
from ohlcv.web.table_index import TableIndex
from ohlcv.web.texts import milliseconds

router = APIRouter(tags=["Binance"])

# The columns after the second time of a row.
_MEASURES = ("quote_volume", "trade_count", "taker_buy_volume", "taker_buy_quote_volume")


class KlineParameters(Parameters):
    """Parameters of /api/v1/klines."""

    symbol: Name
    exchange: Name
    interval: TimeframeName
    start_time: Annotated[
        Milliseconds | None,
        Field(alias="startTime", description="First window start in milliseconds. Without it: the newest rows."),
    ] = None
    end_time: Annotated[
        Milliseconds | None, Field(alias="endTime", description="Last window start in milliseconds, inclusive.")
    ] = None
    limit: Annotated[Number, Field(ge=1, le=MAX_CANDLES, description="Number of rows.")] = DEFAULT_ROWS


@router.get("/api/v1/klines", summary="Klines", response_model=list[list[int | str | None]])
async def klines(request: Request, service: ServiceState, given: Annotated[KlineParameters, Query()]) -> Response:
    """Return the stored candles as rows of Binance's klines, in ascending order. The table must be extended.

    A row is `[open time, open, high, low, close, volume, close time, quote volume, trades, taker buy volume, taker buy
    quote volume, "0"]`: times in milliseconds, decimals as strings, the close time one millisecond before the end of
    the window. Unknown measures are null: those of candles that were not rebuilt since the extension, and the taker buy
    volumes of a window with a trade that has no side.
    """
    if given.start_time is not None and given.end_time is not None and given.start_time > given.end_time:
        raise bad_request("startTime must not be after endTime: exchange them, or give a later endTime")
    answer = SnapshotAnswer(service, request, given.interval, given.model_dump())
    return await answer.respond(lambda: _rows(service, given))


def _rows(service: Service, given: KlineParameters) -> tuple[bytes, TableIndex]:
    query = rows_query(given.symbol, given.exchange, given.start_time, given.limit)
    end = None if given.end_time is None else time_of(given.end_time) + MICROSECOND
    page = read_rows(service, given.interval, replace(query, end=end, measures=True))
    columns = {name: one_chunk(page.table[name]) for name in page.table.column_names}
    close_times = pc.subtract(milliseconds(columns["window_end"]), 1)
    rows = [
        milliseconds(columns["window_start"]).cast(pa.string()),
        *(json_texts(columns[name]) for name in AMOUNTS),
        close_times.cast(pa.string()),
        *(json_texts(columns[name]) for name in _MEASURES),
        # A value without a meaning, which clients expect.
        pa.repeat(pa.scalar('"0"'), len(page.table)),
    ]
    return json_rows(rows), page.index

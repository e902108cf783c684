"""Candles in the shape of ccxt's fetch_ohlcv: rows of [milliseconds, open, high, low, close, volume]."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from ohlcv.model.intervals import EPOCH
from ohlcv.web.answers import SnapshotAnswer
from ohlcv.web.candle_query import CandlePage, CandleQuery
from ohlcv.web.encoding import json_rows, one_chunk
from ohlcv.web.parameters import MAX_CANDLES, Name, Number, Parameters, TimeframeName
from ohlcv.web.service import Service, ServiceState
from ohlcv.web.table_index import TableIndex
from ohlcv.web.texts import milliseconds, number_texts

router = APIRouter(tags=["ccxt"])

DEFAULT_ROWS = 500
MAX_MILLISECONDS = 253_402_300_799_999  # the end of year 9999
Milliseconds = Annotated[Number, Field(ge=0, le=MAX_MILLISECONDS)]
AMOUNTS = ("open_price", "high_price", "low_price", "close_price", "volume")


class OhlcvParameters(Parameters):
    """Parameters of /ccxt/ohlcv."""

    exchange: Name
    symbol: Name
    timeframe: TimeframeName = "1m"
    since: Annotated[
        Milliseconds | None,
        Field(description="First window start in milliseconds. Without it: the newest rows."),
    ] = None
    limit: Annotated[Number, Field(ge=1, le=MAX_CANDLES, description="Number of rows.")] = DEFAULT_ROWS


@router.get("/ccxt/ohlcv", summary="Candles as rows", response_model=list[list[float]])
async def ohlcv(request: Request, service: ServiceState, given: Annotated[OhlcvParameters, Query()]) -> Response:
    """Return rows of [milliseconds, open, high, low, close, volume] in ascending order, from `since` on.

    The numbers have all digits: a parser of decimals reads them exactly.
    """
    answer = SnapshotAnswer(service, request, given.timeframe, given.model_dump())
    return await answer.respond(lambda: _rows(service, given))


def _rows(service: Service, given: OhlcvParameters) -> tuple[bytes, TableIndex]:
    query = rows_query(given.symbol, given.exchange, given.since, given.limit)
    page = read_rows(service, given.timeframe, query)
    times = milliseconds(one_chunk(page.table["window_start"])).cast(pa.string())
    return json_rows([times, *(number_texts(one_chunk(page.table[name])) for name in AMOUNTS)]), page.index


def rows_query(symbol: str, exchange: str, since: int | None, limit: int) -> CandleQuery:
    """Return the query of the candles of a series from a time in milliseconds on; without it, of the newest ones."""
    if since is None:
        return CandleQuery(symbol=symbol, exchange=exchange, newest=limit)
    return CandleQuery(symbol=symbol, exchange=exchange, start=time_of(since), limit=limit)


def read_rows(service: Service, timeframe: str, query: CandleQuery) -> CandlePage:
    """Return the candles of a series. Raise ProblemError if there is no such series."""
    page = service.data.candles(timeframe, query)
    if not len(page.table):
        service.check_series(timeframe, page.index, query.symbol, query.exchange)
    return page


def time_of(number: int) -> datetime:
    """Return the time of milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=number)

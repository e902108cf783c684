"""TradingView's UDF protocol: config, symbols, search, history, time. A ticker is EXCHANGE:SYMBOL."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ohlcv.model.errors import InputError, quoted
from ohlcv.model.intervals import EPOCH
from ohlcv.model.timeframes import DAY, TIMEFRAMES, Timeframe
from ohlcv.web.answers import SnapshotAnswer
from ohlcv.web.candle_query import CandlePage, CandleQuery
from ohlcv.web.encoding import json_list, one_chunk
from ohlcv.web.parameters import MAX_CANDLES, Name, Number, Parameters, Text
from ohlcv.web.problems import bad_request
from ohlcv.web.service import Service, ServiceState, readable_timeframes
from ohlcv.web.table_index import TableIndex
from ohlcv.web.texts import number_texts, seconds

router = APIRouter(prefix="/udf", tags=["TradingView UDF"])

TYPE = "crypto"
DEFAULT_SEARCH, MAX_SEARCH = 30, 1_000
# Candles whose decimal places determine the price scale of a symbol.
SCALE_CANDLES = 500
MAX_SECONDS = 253_402_300_799  # the end of year 9999
MIN_SECONDS = -62_135_596_800  # the begin of year 1
UnixSeconds = Annotated[Number, Field(ge=MIN_SECONDS, le=MAX_SECONDS)]


class SymbolParameters(Parameters):
    """Parameters of /udf/symbols."""

    symbol: Annotated[Name, Field(description="EXCHANGE:SYMBOL", examples=["coinbase:BTC-USD"])]


class SearchParameters(Parameters):
    """Parameters of /udf/search."""

    query: Annotated[Text, Field(description="Part of the symbol or of the ticker.")] = ""
    limit: Annotated[Number, Field(ge=1, le=MAX_SEARCH)] = DEFAULT_SEARCH
    exchange: Annotated[Text, Field(description="Only this exchange.")] = ""
    type: Annotated[Text, Field(description="`crypto` or empty; nothing has another type.")] = ""


class HistoryParameters(Parameters):
    """Parameters of /udf/history."""

    symbol: Annotated[Name, Field(description="EXCHANGE:SYMBOL", examples=["coinbase:BTC-USD"])]
    resolution: Annotated[Name, Field(description="Minutes, or 1D.", examples=["60"])]
    to: Annotated[UnixSeconds, Field(description="End of the bars in seconds, exclusive.")]
    from_: Annotated[
        UnixSeconds | None, Field(alias="from", description="First bar in seconds. Not used with countback.")
    ] = None
    countback: Annotated[
        Annotated[Number, Field(ge=1, le=MAX_CANDLES)] | None, Field(description="Number of bars before `to`.")
    ] = None


def resolution(timeframe: Timeframe) -> str:
    """Return the name of a timeframe in UDF."""
    if timeframe.length % DAY == timedelta(0):
        return f"{timeframe.length // DAY}D"
    minutes, rest = divmod(timeframe.length, timedelta(minutes=1))
    return f"{timeframe.length.seconds}S" if rest else str(minutes)


RESOLUTIONS = {resolution(timeframe): name for name, timeframe in TIMEFRAMES.items()}


@router.get("/config", summary="Configuration of the data feed")
async def config(request: Request) -> dict[str, Any]:
    """Return what the data feed supports."""
    return {
        "supported_resolutions": [resolution(TIMEFRAMES[name]) for name in readable_timeframes(request)],
        "supports_search": True,
        "supports_group_request": False,
        "supports_marks": False,
        "supports_timescale_marks": False,
        "supports_time": True,
    }


@router.get("/time", summary="Time of the server", response_class=PlainTextResponse)
async def server_time() -> str:
    """Return the seconds since the epoch."""
    return str(int(time.time()))


@router.get("/symbols", summary="A symbol")
async def symbols(request: Request, service: ServiceState, given: Annotated[SymbolParameters, Query()]) -> Response:
    """Return the description of a symbol. Errors have the status 200 and `"s": "error"`, as UDF clients expect."""
    try:
        return JSONResponse(await service.work.run(_symbol, service, readable_timeframes(request), given.symbol))
    except InputError as error:
        return _error(error)


@router.get("/search", summary="Search for symbols")
async def search(request: Request, service: ServiceState, given: Annotated[SearchParameters, Query()]) -> Response:
    """Return the symbols that contain a text."""
    return JSONResponse(await service.work.run(_search, service, readable_timeframes(request), given))


@router.get("/history", summary="Bars of a symbol")
async def history(request: Request, service: ServiceState, given: Annotated[HistoryParameters, Query()]) -> Response:
    """Return bars with from <= time < to, or the newest `countback` bars before `to`, in ascending order.

    Without bars: `"s": "no_data"`, with `nextTime`, the newest bar before `from` in seconds.
    """
    name = RESOLUTIONS.get(given.resolution) or RESOLUTIONS.get(f"1{given.resolution}")
    if name is None:
        raise bad_request(f"unknown resolution {quoted(given.resolution)}: choose one of {', '.join(RESOLUTIONS)}")
    if given.from_ is None and given.countback is None:
        raise bad_request("from and countback are missing: give one of them")
    if given.countback is None and given.from_ is not None and given.from_ >= given.to:
        raise bad_request("from must be before to: exchange them, or give a later to")
    answer = SnapshotAnswer(service, request, name, given.model_dump())
    try:
        return await answer.respond(lambda: _history(service, name, given))
    except InputError as error:
        return _error(error)


def _error(error: InputError) -> Response:
    return JSONResponse({"s": "error", "errmsg": str(error)})


def _pair(ticker: str) -> tuple[str, str]:
    """Return exchange and symbol of a ticker."""
    exchange, colon, symbol = ticker.partition(":")
    if not colon or not exchange or not symbol:
        raise InputError(f"{quoted(ticker)} is not a ticker: give EXCHANGE:SYMBOL")
    return exchange, symbol


def _timeframes_of(service: Service, names: Iterable[str], exchange: str, symbol: str) -> list[str]:
    """Return the timeframes with candles of a series."""
    found = [
        name
        for name in names
        if any(each.symbol == symbol and each.exchange == exchange for each in service.data.series(name))
    ]
    if not found:
        raise InputError(f"unknown symbol {quoted(f'{exchange}:{symbol}')}: see /udf/search for the symbols")
    return found


def _symbol(service: Service, names: tuple[str, ...], ticker: str) -> dict[str, Any]:
    exchange, symbol = _pair(ticker)
    found = [TIMEFRAMES[name] for name in _timeframes_of(service, names, exchange, symbol)]
    intraday = [each for each in found if each.length < DAY]
    recent = service.data.candles(found[0].name, CandleQuery(symbol=symbol, exchange=exchange, newest=SCALE_CANDLES))
    return {
        "name": symbol,
        "ticker": f"{exchange}:{symbol}",
        "description": f"{symbol} on {exchange}",
        "type": TYPE,
        "exchange": exchange,
        "listed_exchange": exchange,
        "session": "24x7",
        "timezone": "Etc/UTC",
        "format": "price",
        "minmov": 1,
        "pricescale": 10 ** _decimal_places(recent),
        "has_intraday": bool(intraday),
        "intraday_multipliers": [resolution(each) for each in intraday],
        "has_daily": len(found) > len(intraday),
        "supported_resolutions": [resolution(each) for each in found],
        "volume_precision": 8,
    }


def _decimal_places(page: CandlePage) -> int:
    return max(
        (
            len(text.partition(".")[2])
            for name in ("open_price", "high_price", "low_price", "close_price")
            for text in number_texts(one_chunk(page.table[name])).to_pylist()
        ),
        default=2,
    )


def _search(service: Service, names: tuple[str, ...], given: SearchParameters) -> list[dict[str, str]]:
    if given.type not in ("", TYPE):
        return []
    text = given.query.casefold()
    pairs = {
        (each.symbol, each.exchange)
        for name in names
        for each in service.data.series(name)
        if given.exchange in ("", each.exchange) and text in f"{each.exchange}:{each.symbol}".casefold()
    }
    return [
        {
            "symbol": symbol,
            "full_name": f"{exchange}:{symbol}",
            "description": f"{symbol} on {exchange}",
            "exchange": exchange,
            "ticker": f"{exchange}:{symbol}",
            "type": TYPE,
        }
        for symbol, exchange in sorted(pairs)[: given.limit]
    ]


def _history(service: Service, name: str, given: HistoryParameters) -> tuple[bytes, TableIndex]:
    exchange, symbol = _pair(given.symbol)

    def read(**selection: Any) -> CandlePage:
        return service.data.candles(name, CandleQuery(symbol=symbol, exchange=exchange, **selection))

    end = _time(given.to)
    if given.countback is not None:
        page = read(end=end, newest=given.countback)
        start = None
    else:
        start = _time(given.from_ or 0)
        page = read(start=start, end=end, limit=MAX_CANDLES)
        if page.next_key is not None:
            raise InputError(f"more than {MAX_CANDLES:,} bars from {given.from_} to {given.to}: request fewer")
    if len(page.table):
        return _bars(page), page.index
    _timeframes_of(service, [name], exchange, symbol)
    answer: dict[str, Any] = {"s": "no_data"}
    if start is not None:
        before = one_chunk(read(end=start, newest=1).table["window_start"])
        if len(before):
            answer["nextTime"] = seconds(before)[0].as_py()
    return json.dumps(answer).encode(), page.index


def _bars(page: CandlePage) -> bytes:
    columns = {name: one_chunk(page.table[name]) for name in page.table.column_names}
    members = {
        "t": seconds(columns["window_start"]).cast(pa.string()),
        "o": number_texts(columns["open_price"]),
        "h": number_texts(columns["high_price"]),
        "l": number_texts(columns["low_price"]),
        "c": number_texts(columns["close_price"]),
        "v": number_texts(columns["volume"]),
    }
    return b'{"s":"ok",' + b",".join(f'"{key}":'.encode() + json_list(texts) for key, texts in members.items()) + b"}"


def _time(number: int) -> datetime:
    return EPOCH + timedelta(seconds=number)

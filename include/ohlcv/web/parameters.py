"""Query parameters of the routes: types, limits and texts for the API documentation."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ohlcv.model.errors import InputError, quoted
from ohlcv.model.intervals import parse_time
from ohlcv.model.ledger_records import Cause
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.web.problems import bad_request

MAX_CANDLES = 5_000
DEFAULT_CANDLES = 1_000
MAX_COVERAGE = 1_000
DEFAULT_COVERAGE = 200
MAX_NAME = 500
MAX_TIME = 40
MAX_CURSOR = 4_000
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def _whole_number(value: Any) -> Any:
    # Not int(): it accepts other digits, spaces and underscores.
    if isinstance(value, str) and not _WHOLE_NUMBER.fullmatch(value):
        raise ValueError(f"{quoted(value)} is not a whole number: give digits 0 to 9")
    return value


def _name(value: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise ValueError("the value has a control character: remove it")
    return value


def _timeframe(value: str) -> str:
    if value not in TIMEFRAMES:
        raise ValueError(f"unknown timeframe {quoted(value)}: choose one of {', '.join(TIMEFRAMES)}")
    return value


def _time(value: Any) -> datetime:
    text = str(value)
    if len(text) > MAX_TIME:
        raise ValueError(f"{quoted(text)} is not an ISO time such as 2026-01-31T13:00:00Z")
    try:
        return parse_time(text)[0]
    except InputError:
        # A + in a query stands for a space.
        hint = ", and write + as %2B" if " " in text else ""
        raise ValueError(f"{quoted(text)} is not an ISO time such as 2026-01-31T13:00:00Z: correct it{hint}") from None


Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_name)]
Text = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_name)]
TimeframeName = Annotated[
    str,
    AfterValidator(_timeframe),
    WithJsonSchema({"type": "string", "enum": [*TIMEFRAMES]}),
    Field(description="Timeframe of the candles."),
]
Time = Annotated[
    datetime,
    BeforeValidator(_time),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-01T12:00:00Z", "2026-03-01"]}),
]
Number = Annotated[int, BeforeValidator(_whole_number)]
Cursor = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_CURSOR)] | None,
    Field(description="`next_cursor` of the page before. All other parameters must be the same."),
]
Flag = Literal["true", "false"]


class Parameters(BaseModel):
    """Parameters of a route. Others are refused."""

    model_config = ConfigDict(extra="forbid")


class SeriesParameters(Parameters):
    """Parameters of /api/v1/series."""

    timeframe: TimeframeName
    search: Annotated[Text, Field(description="Only series whose symbol or exchange contains this text.")] = ""


class CandleParameters(Parameters):
    """Parameters of /api/v1/candles."""

    timeframe: TimeframeName
    symbol: Annotated[Name | None, Field(description="Only this symbol.")] = None
    exchange: Annotated[Name | None, Field(description="Only this exchange.")] = None
    start: Annotated[
        Time | None, Field(description="First window start: a time, or a date. Without a zone it is UTC.")
    ] = None
    end: Annotated[Time | None, Field(description="End of the window starts, exclusive.")] = None
    newest: Annotated[
        Annotated[Number, Field(ge=1, le=MAX_CANDLES)] | None,
        Field(description="Number of newest windows before `end`. Needs symbol and exchange."),
    ] = None
    limit: Annotated[
        Annotated[Number, Field(ge=1, le=MAX_CANDLES)] | None,
        Field(description=f"Candles per page, by default {DEFAULT_CANDLES:,}. Only JSON has pages."),
    ] = None
    cursor: Cursor = None
    updated_since: Annotated[
        Time | None,
        Field(description="Only candles with updated_at at or after this time. Deleted candles are not reported."),
    ] = None
    fill: Annotated[
        Literal["previous"] | None,
        Field(description="Add windows without trades at the previous close. Needs symbol, exchange, start and end."),
    ] = None
    measures: Annotated[
        Flag,
        Field(description="Add quote volume, taker buy volumes, first and last trade. The table must be extended."),
    ] = "false"
    as_of: Annotated[
        Time | None,
        Field(description="The candles that readers saw at this time. Needs symbol and exchange."),
    ] = None
    vintage: Annotated[
        Annotated[str, Field(max_length=MAX_TIME)] | None,
        Field(
            description="first: each candle as first published. 5m (or s, h, d): as known 5 minutes after its window "
            "ended. Needs symbol and exchange.",
            examples=["first", "5m"],
        ),
    ] = None
    provisional: Annotated[
        Flag,
        Field(description="Also compute the windows after the newest stored one. Needs symbol and exchange; JSON."),
    ] = "false"
    format: Annotated[
        Literal["json", "csv", "parquet", "arrow"],
        Field(description="json: a page. csv, parquet, arrow (IPC stream): all candles of the range as a stream."),
    ] = "json"


class RevisionParameters(Parameters):
    """Parameters of /api/v1/revisions."""

    timeframe: TimeframeName
    since: Annotated[
        Annotated[Number, Field(ge=0)] | None,
        Field(description="Only publications after this number, by default all that are recorded."),
    ] = None
    symbol: Annotated[Name | None, Field(description="Only this symbol.")] = None
    exchange: Annotated[Name | None, Field(description="Only this exchange.")] = None
    start: Annotated[Time | None, Field(description="First window start.")] = None
    end: Annotated[Time | None, Field(description="End of the window starts, exclusive.")] = None
    cause: Annotated[Cause | None, Field(description="Only changes with this cause.")] = None
    insertions: Annotated[Flag, Field(description="Also new candles.")] = "false"
    limit: Annotated[
        Annotated[Number, Field(ge=1, le=MAX_CANDLES)] | None,
        Field(description=f"Revisions per page, by default {DEFAULT_CANDLES:,}."),
    ] = None
    cursor: Cursor = None


class HistoryParameters(Parameters):
    """Parameters of /api/v1/candles/history."""

    timeframe: TimeframeName
    symbol: Annotated[Name, Field(description="Symbol of the candle.")]
    exchange: Annotated[Name, Field(description="Exchange of the candle.")]
    time: Annotated[Time, Field(description="A time within the window of the candle.")]


class CoverageParameters(Parameters):
    """Parameters of /api/v1/coverage."""

    start: Annotated[
        Time | None, Field(description="First hour, by default that of a day before `end`. At most 31 days.")
    ] = None
    end: Annotated[Time | None, Field(description="End of the hours, by default that of the counted ones.")] = None
    symbol: Annotated[Name | None, Field(description="Only this symbol.")] = None
    exchange: Annotated[Name | None, Field(description="Only this exchange.")] = None
    search: Annotated[Text, Field(description="Only series whose symbol or exchange contains this text.")] = ""
    limit: Annotated[
        Annotated[Number, Field(ge=1, le=MAX_COVERAGE)] | None,
        Field(description=f"Series per page, by default {DEFAULT_COVERAGE}; fewer in a long range."),
    ] = None
    cursor: Cursor = None


class QualityParameters(Parameters):
    """Parameters of /api/v1/quality."""

    timeframe: Annotated[TimeframeName | None, Field(description="Only this timeframe.")] = None


async def check_parameter_names(request: Request) -> None:
    """Raise ProblemError if a parameter is repeated, or if the route has no parameters and one is given."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            raise bad_request(f"parameter {quoted(name)} is given {count} times: give it once")
    if counts and not request.scope["route"].dependant.query_params:
        raise bad_request(f"unknown parameter {quoted(next(iter(counts)))}: this path has no parameters")


def check_candle_parameters(given: CandleParameters) -> None:
    """Raise ProblemError if parameters contradict each other."""
    one_series = given.symbol is not None and given.exchange is not None
    bounded = given.start is not None and given.end is not None
    newest, fill, bulk = given.newest is not None, given.fill is not None, given.format != "json"
    provisional, measures = given.provisional == "true", given.measures == "true"
    past = given.as_of is not None or given.vintage is not None
    contradictions = (
        (newest and not one_series, "newest needs symbol and exchange: add them"),
        (provisional and not one_series, "provisional needs symbol and exchange: add them"),
        (past and not one_series, "as_of and vintage need symbol and exchange: add them"),
        (past and provisional, "as_of and vintage cannot be combined with provisional: remove one of them"),
        (past and measures, "as_of and vintage cannot be combined with measures: remove one of them"),
        (fill and not (one_series and bounded), "fill needs symbol, exchange, start and end: add them"),
        (provisional and bulk, "provisional candles have only the format json: remove provisional or format"),
    )
    for contradicts, detail in contradictions:
        if contradicts:
            raise bad_request(detail)
    if past:
        _refuse(given, "as_of and vintage cannot be combined with", "fill", "updated_since")
    if given.as_of is not None:
        _refuse(given, "as_of cannot be combined with", "vintage")
    if newest:
        _refuse(given, "newest cannot be combined with", "start", "limit", "cursor", "updated_since", "fill")
    if fill:
        _refuse(given, "fill cannot be combined with", "updated_since")
    if bulk:
        _refuse(given, "only the format json has pages: do not combine another format with", "limit", "cursor")
    if given.start is not None and given.end is not None:
        _check_range(given.start, given.end, TIMEFRAMES[given.timeframe].length if fill else None)


def _refuse(given: CandleParameters, reason: str, *names: str) -> None:
    for name in names:
        if getattr(given, name) is not None:
            raise bad_request(f"{reason} {name}: remove one of them")


def check_order(start: datetime | None, end: datetime | None) -> None:
    """Raise ProblemError if a range ends before it begins."""
    if start is not None and end is not None and start >= end:
        raise bad_request("start must be before end: exchange them, or give a later end")


def _check_range(start: datetime, end: datetime, filled_length: timedelta | None) -> None:
    check_order(start, end)
    if filled_length and (end - start) / filled_length > MAX_CANDLES:
        raise bad_request(f"fill is limited to {MAX_CANDLES:,} windows: give a later start or an earlier end")

"""/api/v1/timeframes, series, status and quality: what there is, and in which state."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from ohlcv.model.intervals import iso
from ohlcv.web.caching import content_tag, matches, not_modified, snapshot_headers
from ohlcv.web.documents import (
    QualityDocument,
    SeriesDocument,
    StatusDocument,
    TimeframesDocument,
    rounded,
    snapshot_document,
)
from ohlcv.web.parameters import QualityParameters, SeriesParameters
from ohlcv.web.quality import read_quality
from ohlcv.web.service import Service, ServiceState, check_readable, readable_timeframes
from ohlcv.web.status import read_status

MAX_SERIES = 1_000

router = APIRouter()


@router.get("/api/v1/timeframes", summary="Timeframes", tags=["candles"], response_model=TimeframesDocument)
async def timeframes(request: Request, service: ServiceState) -> Response:
    """Return the timeframes that the client may read, with the stored range of each."""
    return JSONResponse(await service.work.run(_timeframes, service, readable_timeframes(request)))


@router.get("/api/v1/series", summary="Series", tags=["candles"], response_model=SeriesDocument)
async def series(request: Request, service: ServiceState, given: Annotated[SeriesParameters, Query()]) -> Response:
    """Return the series (symbol and exchange) of a timeframe, at most 1,000."""
    check_readable(request, given.timeframe)
    index = await service.find_index(given.timeframe)
    content = json.dumps(await service.work.run(_series, service, given), separators=(",", ":")).encode()
    headers = {**snapshot_headers(index), "ETag": content_tag(content)}
    if matches(request, headers["ETag"]):
        return not_modified(headers)
    return Response(content, headers=headers, media_type="application/json")


@router.get("/api/v1/status", summary="State of the pipeline", tags=["pipeline"], response_model=StatusDocument)
async def status(request: Request, service: ServiceState) -> Response:
    """Return per timeframe: newest candle and lag, runs and their durations, sizes, retention."""
    names = readable_timeframes(request)
    return JSONResponse(await service.documents.run(read_status, service.settings, service.data, names))


@router.get("/api/v1/quality", summary="Verdicts of the validations", tags=["pipeline"], response_model=QualityDocument)
async def quality(request: Request, service: ServiceState, given: Annotated[QualityParameters, Query()]) -> Response:
    """Return the newest validations per timeframe, with the findings of each."""
    if given.timeframe:
        check_readable(request, given.timeframe)
    names = (given.timeframe,) if given.timeframe else readable_timeframes(request)
    return JSONResponse(await service.documents.run(read_quality, service.settings, names))


def _timeframes(service: Service, names: tuple[str, ...]) -> dict[str, Any]:
    ages = [age for name in names if (age := service.data.stale_seconds(name)) is not None]
    return {
        "timeframes": [_timeframe(service, name) for name in names],
        "stale_seconds": rounded(max(ages, default=None)),
    }


def _timeframe(service: Service, name: str) -> dict[str, Any]:
    timeframe = service.settings.timeframe(name)
    found = service.data.series(name)
    index = service.data.index(name)
    return {
        "name": name,
        "seconds": int(timeframe.length.total_seconds()),
        "table": service.settings.candles_contract(timeframe).name,
        "dag_id": timeframe.dag_id,
        "cron": timeframe.cron,
        "retention_days": timeframe.retention.days or None,
        "retention": str(timeframe.retention),
        "time_target_seconds": timeframe.time_target.total_seconds(),
        "measures": index is not None and index.extended_schema is not None,
        "snapshot": snapshot_document(index),
        "first_window": iso(min(each.first_window for each in found)) if found else None,
        "newest_window": iso(max(each.newest_window for each in found)) if found else None,
    }


def _series(service: Service, given: SeriesParameters) -> dict[str, Any]:
    text = given.search.casefold()
    found = [
        each
        for each in service.data.series(given.timeframe)
        if text in each.symbol.casefold() or text in each.exchange.casefold()
    ]
    return {
        "timeframe": given.timeframe,
        "snapshot": snapshot_document(service.index(given.timeframe)),
        "stale_seconds": rounded(service.data.stale_seconds(given.timeframe)),
        "series": [
            {
                "symbol": each.symbol,
                "exchange": each.exchange,
                "first_window": iso(each.first_window),
                "newest_window": iso(each.newest_window),
            }
            for each in found[:MAX_SERIES]
        ],
        "truncated": len(found) > MAX_SERIES,
    }

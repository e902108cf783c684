"""/api/v1/coverage: what is known of the trades of each series in each hour."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ohlcv.web.coverage import coverage_page
from ohlcv.web.documents import CoverageDocument
from ohlcv.web.parameters import CoverageParameters, check_order
from ohlcv.web.routes_ledger import json_answer
from ohlcv.web.service import ServiceState

router = APIRouter()


@router.get("/api/v1/coverage", summary="Coverage of the trades", tags=["pipeline"], response_model=CoverageDocument)
async def coverage(request: Request, service: ServiceState, given: Annotated[CoverageParameters, Query()]) -> Response:
    """Return the hours of each series with their state, sorted by exchange and symbol. It needs no timeframe.

    While `next_cursor` is not null, request the next page with `cursor`.
    """
    check_order(given.start, given.end)
    return json_answer(request, await service.provisional.run(coverage_page, service.settings, given))

"""/api/v1/revisions and /api/v1/candles/history: what changed, and what readers saw."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ohlcv.web.caching import content_tag, matches, not_modified
from ohlcv.web.cursor import make_feed_cursor, read_feed_cursor
from ohlcv.web.documents import HistoryDocument, RevisionsDocument
from ohlcv.web.parameters import HistoryParameters, RevisionParameters, check_order
from ohlcv.web.past_candles import history_document, revisions_page
from ohlcv.web.service import Service, ServiceState, check_readable

router = APIRouter()


@router.get("/api/v1/revisions", summary="Revisions", tags=["candles"], response_model=RevisionsDocument)
async def revisions(request: Request, service: ServiceState, given: Annotated[RevisionParameters, Query()]) -> Response:
    """Return the candles that publications changed, in the order publication, window_start, symbol, exchange.

    While `next_cursor` is not null, request the next page with `cursor`. Later poll with `since` set to `checkpoint`.
    """
    check_readable(request, given.timeframe)
    check_order(given.start, given.end)
    return json_answer(request, await service.provisional.run(_revisions, service, given))


@router.get("/api/v1/candles/history", summary="History of a candle", tags=["candles"], response_model=HistoryDocument)
async def history(request: Request, service: ServiceState, given: Annotated[HistoryParameters, Query()]) -> Response:
    """Return the versions of the candle whose window contains a time, the oldest first."""
    check_readable(request, given.timeframe)
    document = await service.provisional.run(history_document, service.settings, given)
    return json_answer(request, json.dumps(document, separators=(",", ":")).encode())


def json_answer(request: Request, content: bytes) -> Response:
    """Return a JSON answer with an ETag of its content, or 304."""
    headers = {"ETag": content_tag(content)}
    if matches(request, headers["ETag"]):
        return not_modified(headers)
    return Response(content, headers=headers, media_type="application/json")


def _revisions(service: Service, given: RevisionParameters) -> bytes:
    # Equal for all pages of a request.
    selection = given.model_dump(exclude={"cursor", "limit"}, exclude_none=True)
    key = None if given.cursor is None else read_feed_cursor(given.cursor, selection)
    begin, next_key = revisions_page(service.settings, given, key)
    cursor = None if next_key is None else make_feed_cursor(next_key, selection)
    return begin + f',"next_cursor":{json.dumps(cursor)}}}'.encode()

"""/api/v1/candles: pages of candles as JSON, and whole ranges as CSV, Parquet or Arrow."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.model.intervals import iso
from ohlcv.model.timeframes import get_timeframe
from ohlcv.readers.fill_reasons import FILL_REASON, with_fill_reasons
from ohlcv.web.answers import SnapshotAnswer
from ohlcv.web.bulk import MAX_ROWS, MEDIA_TYPES, BulkResponse, encode_stream
from ohlcv.web.candle_query import CandleQuery
from ohlcv.web.cursor import make_cursor, read_cursor
from ohlcv.web.documents import CandlesDocument, candle_responses, rounded, snapshot_document
from ohlcv.web.encoding import json_objects
from ohlcv.web.parameters import DEFAULT_CANDLES, CandleParameters, check_candle_parameters
from ohlcv.web.past_candles import past_download, past_page
from ohlcv.web.problems import bad_request
from ohlcv.web.routes_ledger import json_answer
from ohlcv.web.service import Service, ServiceState, check_readable
from ohlcv.web.table_index import TableIndex

router = APIRouter()


@router.get(
    "/api/v1/candles",
    summary="Candles",
    tags=["candles"],
    response_model=CandlesDocument,
    responses=candle_responses(MEDIA_TYPES.values()),
)
async def candles(request: Request, service: ServiceState, given: Annotated[CandleParameters, Query()]) -> Response:
    """Return candles in the order window_start, symbol, exchange.

    JSON answers are pages of at most 5,000 candles; request the next one with `cursor`. CSV, Parquet and Arrow answers
    contain all candles of the range, at most 1,000,000. `as_of` and `vintage` read the past from the ledger.
    """
    check_candle_parameters(given)
    # Equal for all pages of a request.
    selection = given.model_dump(exclude={"cursor", "limit", "format", "provisional"}, exclude_none=True)
    query = _query(given, selection)
    if given.as_of is not None or given.vintage is not None:
        check_readable(request, given.timeframe)
        settings = service.settings
        if given.format == "json":
            content = await service.provisional.run(past_page, settings, given, selection, query.after)
            return json_answer(request, content)
        return BulkResponse(service.bulk, lambda: past_download(settings, given), MEDIA_TYPES[given.format])
    parameters = given.model_dump(exclude_none=True)
    has_etag = given.provisional == "false" and given.fill is None
    answer = SnapshotAnswer(service, request, given.timeframe, parameters, has_etag)
    reader = _Reader(service, given, selection, query)
    if given.format == "json":
        return await answer.respond(reader.page)
    if unchanged := await answer.unchanged():
        return unchanged
    return BulkResponse(service.bulk, lambda: reader.download(answer), MEDIA_TYPES[given.format])


def _query(given: CandleParameters, selection: dict[str, Any]) -> CandleQuery:
    return CandleQuery(
        symbol=given.symbol,
        exchange=given.exchange,
        start=given.start,
        end=given.end,
        newest=given.newest,
        updated_since=given.updated_since,
        fill=given.fill,
        limit=None if given.format != "json" or given.newest else given.limit or DEFAULT_CANDLES,
        after=None if given.cursor is None else read_cursor(given.cursor, selection),
        measures=given.measures == "true",
    )


@dataclass(frozen=True)
class _Reader:
    """The blocking work of a request."""

    service: Service
    given: CandleParameters
    selection: dict[str, Any]
    query: CandleQuery

    def page(self) -> tuple[bytes, TableIndex]:
        """Read and encode a page."""
        timeframe = self.given.timeframe
        page = self.service.data.candles(timeframe, self.query)
        # A series without stored candles may have provisional ones.
        if not len(page.table) and self.given.provisional == "false":
            self.service.check_series(timeframe, page.index, self.query.symbol, self.query.exchange)
        next_cursor = None
        if page.next_key is not None:
            next_cursor = make_cursor(page.next_key, self.selection, page.index.snapshot_id)
        begin: dict[str, Any] = {
            "timeframe": timeframe,
            "snapshot": snapshot_document(page.index),
            "stale_seconds": rounded(self.service.data.stale_seconds(timeframe)),
        }
        body = b"".join(
            (
                _opened(begin),
                b',"candles":',
                json_objects(self._with_reasons(page.table)),
                f',"next_cursor":{json.dumps(next_cursor)},"provisional":'.encode(),
                self._provisional(),
                b"}",
            )
        )
        return body, page.index

    def _with_reasons(self, table: pa.Table) -> pa.Table:
        if self.query.fill is None:
            return table
        settings = self.service.settings
        with described_catalog_errors(settings):
            return with_fill_reasons(settings, get_timeframe(self.given.timeframe), table)

    def _provisional(self) -> bytes:
        if self.given.provisional == "false":
            return b"null"
        assert self.query.symbol is not None
        assert self.query.exchange is not None
        found = self.service.data.provisional(
            self.given.timeframe, self.query.symbol, self.query.exchange, self.query.measures
        )
        begin = {
            "trades_snapshot": None if found.trades_snapshot is None else str(found.trades_snapshot),
            "computed_at": iso(found.computed_at),
        }
        return _opened(begin) + b',"candles":' + json_objects(found.table) + b"}"

    def download(self, answer: SnapshotAnswer) -> tuple[dict[str, str], Generator[bytes]]:
        """Begin to read all candles of the request. Return the headers and the parts of the file."""
        timeframe, format = self.given.timeframe, self.given.format
        if self.service.data.count(timeframe, self.query) > MAX_ROWS:
            raise bad_request(
                f"the range may have more than {MAX_ROWS:,} candles: narrow it by time, symbol or exchange"
            )
        while True:
            index = self.service.index(timeframe)
            batches = self.service.data.batches(timeframe, self.query)
            first = next(batches, None)
            # The headers must name the snapshot that the batches are of.
            if self.service.index(timeframe).identity == index.identity:
                break
        headers = answer.headers(index)
        if format != "arrow":
            headers["Content-Disposition"] = f'attachment; filename="{self._file_name()}"'
        if first is None:
            self.service.check_series(timeframe, index, self.query.symbol, self.query.exchange)
            schema = index.select(self.query.measures).schema
            filled = schema.append(pa.field("filled", pa.bool_())).append(FILL_REASON)
            return headers, encode_stream(format, filled if self.query.fill else schema, iter(()))
        if self.query.fill is not None:
            # At most 5,000 windows.
            table = self._with_reasons(pa.Table.from_batches([first, *batches]))
            return headers, encode_stream(format, table.schema, iter(table.to_batches()))
        return headers, encode_stream(format, first.schema, chain([first], batches))

    def _file_name(self) -> str:
        """Return the name under which a browser saves the answer."""
        series = [part for part in (self.given.exchange, self.given.symbol) if part] or ["candles"]
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join([*series, self.given.timeframe])) + f".{self.given.format}"


def _opened(document: dict[str, Any]) -> bytes:
    """Return a JSON object without its closing brace."""
    return json.dumps(document, separators=(",", ":"))[:-1].encode()

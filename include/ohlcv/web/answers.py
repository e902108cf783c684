"""Answers that depend on one snapshot of a candle table: headers, 304, and the cache."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ohlcv.web.caching import Answer, accepts_gzip, entity_tag, matches, not_modified, snapshot_headers
from ohlcv.web.service import Service, check_readable
from ohlcv.web.table_index import TableIndex

# Smaller bodies are not compressed.
MIN_GZIP_BYTES = 10_000
# Level 1 compresses candles five times. Higher levels take several times as long for little more.
GZIP_LEVEL = 1


@dataclass(frozen=True)
class SnapshotAnswer:
    """The answer to a request for candles of a timeframe."""

    service: Service
    request: Request
    timeframe: str
    # Normalized parameters of the request.
    parameters: Mapping[str, Any]
    # False if the answer depends on more than the snapshot: it has provisional candles, or reasons of filled ones.
    has_etag: bool = True

    def headers(self, index: TableIndex) -> dict[str, str]:
        """Return the headers of an answer from an index: its snapshot and the ETag. A stale answer has no ETag."""
        found = {**snapshot_headers(index), "Vary": "Accept-Encoding"}
        if self.has_etag and self.service.data.stale_seconds(self.timeframe) is None:
            parameters = {**self.parameters, "Accept-Encoding": accepts_gzip(self.request)}
            found["ETag"] = entity_tag(self.request.url.path, index, parameters)
        return found

    async def unchanged(self) -> Response | None:
        """Return 304 if the client has the answer already. Raise ProblemError if it may not have it."""
        check_readable(self.request, self.timeframe)
        headers = self.headers(await self.service.find_index(self.timeframe))
        return not_modified(headers) if matches(self.request, headers.get("ETag")) else None

    async def respond(self, read: Callable[[], tuple[bytes, TableIndex]]) -> Response:
        """Return a JSON answer: 304, from the cache, or by `read`, which a thread executes."""
        if response := await self.unchanged():
            return response
        etag = self.headers(await self.service.find_index(self.timeframe)).get("ETag")

        async def make() -> Answer:
            pool = self.service.work if self.has_etag else self.service.provisional
            return await pool.run(self._encoded, read)

        answer = await (self.service.cache.get(etag, make) if etag else make())
        return Response(answer.body, headers=dict(answer.headers), media_type="application/json")

    def _encoded(self, read: Callable[[], tuple[bytes, TableIndex]]) -> Answer:
        body, index = read()
        # The table may have a newer snapshot than at the begin of the request.
        headers = self.headers(index)
        if len(body) > MIN_GZIP_BYTES and accepts_gzip(self.request):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, GZIP_LEVEL, mtime=0)
        return Answer(body, headers)

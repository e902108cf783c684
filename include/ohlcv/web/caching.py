"""Entity tags, and a cache of encoded responses."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ohlcv.model.intervals import iso
from ohlcv.web.table_index import TableIndex

CACHE_BYTES = 48 * 1024 * 1024
# Larger bodies are not cached: a few of them would replace all others.
MAX_BODY_BYTES = 6 * 1024 * 1024
_VERSION = version("ohlcv")
# With a weight that is not zero, or without one.
_GZIP = re.compile(r"gzip(?:;q=(?:0\.0*[1-9]\d*|1(?:\.0*)?))?")


def entity_tag(path: str, index: TableIndex, parameters: Mapping[str, Any]) -> str:
    """Return the strong ETag of the answer to a request: it depends on snapshot, schema and parameters."""
    return content_tag(json.dumps([_VERSION, path, index.identity, sorted(parameters.items())], default=str).encode())


def content_tag(content: bytes) -> str:
    """Return the strong ETag of a content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def matches(request: Request, etag: str | None) -> bool:
    """Return whether the client has the entity already (If-None-Match)."""
    header = request.headers.get("If-None-Match", "")
    candidates = [each.strip().removeprefix("W/") for each in header.split(",")]
    return etag is not None and (etag in candidates or candidates == ["*"])


def accepts_gzip(request: Request) -> bool:
    """Return whether the client accepts compressed bodies (Accept-Encoding)."""
    codings = request.headers.get("Accept-Encoding", "").lower().replace(" ", "").split(",")
    return any(_GZIP.fullmatch(each) for each in codings)


def not_modified(headers: Mapping[str, str]) -> Response:
    """Return the answer to a client that has the entity already."""
    return Response(status_code=304, headers=dict(headers))


def snapshot_headers(index: TableIndex) -> dict[str, str]:
    """Return the headers that name the snapshot of an answer."""
    if index.snapshot_id is None or index.committed_at is None:
        return {}
    return {"X-Ohlcv-Snapshot": str(index.snapshot_id), "X-Ohlcv-Committed-At": iso(index.committed_at)}


@dataclass(frozen=True)
class Answer:
    """An encoded body and the headers that belong to it."""

    body: bytes
    headers: Mapping[str, str]


class ResponseCache:
    """Answers by ETag. Concurrent requests for the same answer share one computation. Used by the event loop only."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._size = 0
        self._running: dict[str, asyncio.Future[Answer]] = {}

    async def get(self, etag: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer with an ETag: a cached one, or the result of `make`."""
        if etag in self._answers:
            self._answers.move_to_end(etag)
            return self._answers[etag]
        if etag not in self._running:
            task = asyncio.ensure_future(self._make(etag, make))
            self._running[etag] = task
            task.add_done_callback(lambda _: self._running.pop(etag, None))
        # Shielded: a client that disconnects must not cancel the computation for others.
        return await asyncio.shield(self._running[etag])

    async def _make(self, etag: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await make()
        # The table may have changed since the request began: its answer has another ETag, or none if it is stale.
        if len(answer.body) <= MAX_BODY_BYTES and answer.headers.get("ETag") == etag:
            self._answers[etag] = answer
            self._size += len(answer.body)
            while self._size > self._capacity:
                self._size -= len(self._answers.popitem(last=False)[1].body)
        return answer

"""Cursors of the pages: the key of the last candle, and the request and snapshot of the first page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from ohlcv.model.intervals import from_microseconds, to_microseconds
from ohlcv.web.candle_query import PageKey
from ohlcv.web.problems import bad_request

VERSION = 1


def make_cursor(key: PageKey, request: dict[str, Any], snapshot_id: int | None) -> str:
    """Return the cursor of the page after a key."""
    window_start, symbol, exchange = key
    content = [VERSION, _fingerprint(request), snapshot_id, to_microseconds(window_start), symbol, exchange]
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, request: dict[str, Any]) -> PageKey:
    """Return the key of the last candle of the page before. Raise ProblemError if the cursor is of another request."""
    invalid = bad_request("the cursor is not valid: use next_cursor of a page, or leave the cursor out")
    try:
        content = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        version, fingerprint, _, micros, symbol, exchange = content
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise invalid from None
    kinds = zip((version, fingerprint, micros, symbol, exchange), (int, str, int, str, str), strict=True)
    if version != VERSION or not all(type(value) is kind for value, kind in kinds):
        raise invalid
    if fingerprint != _fingerprint(request):
        raise bad_request("the cursor belongs to another request: repeat the parameters of the first page")
    try:
        (symbol + exchange).encode()
        return from_microseconds(micros), symbol, exchange
    except (OverflowError, UnicodeEncodeError):
        raise invalid from None


def _fingerprint(request: dict[str, Any]) -> str:
    text = json.dumps(sorted(request.items()), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

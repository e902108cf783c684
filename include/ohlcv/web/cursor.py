"""Cursors of the pages: the key of the last candle or revision, and the request and snapshot of the first page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ohlcv.model.intervals import from_microseconds, to_microseconds
from ohlcv.model.source_hours import FIRST_DAY, HOURS_PER_DAY, LAST_DAY
from ohlcv.readers.coverage_history import SeriesKey
from ohlcv.readers.revisions import FeedKey
from ohlcv.web.candle_query import PageKey
from ohlcv.web.problems import ProblemError, bad_request

VERSION = 1


def make_cursor(key: PageKey, request: dict[str, Any], snapshot_id: int | None) -> str:
    """Return the cursor of the page after a key."""
    window_start, symbol, exchange = key
    return _encode([VERSION, _fingerprint(request), snapshot_id, to_microseconds(window_start), symbol, exchange])


def read_cursor(cursor: str, request: dict[str, Any]) -> PageKey:
    """Return the key of the last candle of the page before. Raise ProblemError if the cursor is of another request."""
    _, micros, symbol, exchange = _decode(cursor, request, (object, int, str, str))
    try:
        return from_microseconds(micros), symbol, exchange
    except OverflowError:
        raise _invalid() from None


def make_feed_cursor(key: FeedKey, request: dict[str, Any]) -> str:
    """Return the cursor of the page after a revision."""
    return _encode([VERSION, _fingerprint(request), *key])


def read_feed_cursor(cursor: str, request: dict[str, Any]) -> FeedKey:
    """Return the key of the last revision of the page before. Raise ProblemError as `read_cursor`."""
    publication, micros, symbol, exchange = _decode(cursor, request, (int, int, str, str))
    try:
        from_microseconds(micros)
    except OverflowError:
        raise _invalid() from None
    return publication, micros, symbol, exchange


def make_coverage_cursor(hours: range, series: SeriesKey, request: dict[str, Any]) -> str:
    """Return the cursor of the page of these hours after a series."""
    return _encode([VERSION, _fingerprint(request), hours.start, hours.stop, *series])


def read_coverage_cursor(cursor: str, request: dict[str, Any]) -> tuple[range, SeriesKey]:
    """Return the hours and the last series of the page before. Raise ProblemError as `read_cursor`."""
    first, end, exchange, symbol = _decode(cursor, request, (int, int, str, str))
    if not FIRST_DAY * HOURS_PER_DAY < first < end < LAST_DAY * HOURS_PER_DAY:
        raise _invalid()
    return range(first, end), (exchange, symbol)


def _encode(content: list[Any]) -> str:
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, request: dict[str, Any], kinds: Sequence[type]) -> list[Any]:
    """Return what follows version and request in a cursor."""
    try:
        content = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        values: list[Any]
        version, fingerprint, *values = content
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise _invalid() from None
    are_valid = len(values) == len(kinds) and all(
        kind is object or type(value) is kind for value, kind in zip(values, kinds, strict=True)
    )
    if type(version) is not int or version != VERSION or type(fingerprint) is not str or not are_valid:
        raise _invalid()
    if fingerprint != _fingerprint(request):
        raise bad_request("the cursor belongs to another request: repeat the parameters of the first page")
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        raise _invalid() from None
    return values


def _invalid() -> ProblemError:
    return bad_request("the cursor is not valid: use next_cursor of a page, or leave the cursor out")


def _fingerprint(request: dict[str, Any]) -> str:
    text = json.dumps(sorted(request.items()), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

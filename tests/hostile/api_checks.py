"""What must be true of every response of the candle API, whatever the request was."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx

from hostile.api_requests import ApiRequest, expected_rows
from support.candle_rows import at

MAX_BYTES = 5_000_000
OK = httpx.codes.OK


def problems_of(request: ApiRequest, response: httpx.Response, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with a response of a table with these rows."""
    if len(response.content) > MAX_BYTES:
        yield f"size: {len(response.content)} bytes"
    if "Traceback" in response.text or any("\n" in value for value in response.headers.values()):
        yield f"traceback or line break: {response.text[:200]}"
    if response.status_code not in (OK, httpx.codes.NOT_MODIFIED):
        yield from _problems_of_refusal(response)
    if request.is_refused and response.status_code == OK:
        yield f"accepted: {response.text[:200]}"
    if response.status_code == OK and response.headers["content-type"] == "application/json":
        json.loads(response.text, parse_constant=_refuse)
    if request.given is not None:
        yield from _problems_of_candles(request, response, rows)


def _problems_of_refusal(response: httpx.Response) -> Iterator[str]:
    path = response.url.raw_path.partition(b"?")[0].lower()
    if response.status_code == httpx.codes.NOT_FOUND and (b"%0a" in path or not path.startswith(b"/ohlcv/")):
        return  # The client has resolved `..`, or the path has a line break: the request does not reach the gateway.
    if not 400 <= response.status_code < 500:
        yield f"status {response.status_code}: {response.text[:200]}"
        return
    if response.headers["content-type"] != "application/problem+json":
        yield f"no problem document: {response.headers}"
        return
    detail = response.json()["detail"]
    if not 0 < len(detail) <= 300 or not detail.isprintable():
        yield f"detail: {detail[:500]!r}"


def _problems_of_candles(request: ApiRequest, response: httpx.Response, rows: list[dict[str, Any]]) -> Iterator[str]:
    expected = None if request.outcome == "refused" else expected_rows(request, rows)
    if response.status_code == httpx.codes.NOT_FOUND and request.outcome != "refused":
        # Symbol and exchange are given, and there is no such series.
        pair = request.meaning("symbol"), request.meaning("exchange")
        if None in pair or pair in {(row["symbol"], row["exchange"]) for row in rows}:
            yield f"not found: {response.text[:200]}"
    elif response.status_code != OK:
        if expected is not None and request.outcome == "accepted":
            yield f"refused: {response.text[:300]}"
    elif expected is None:
        yield f"accepted: {response.text[:200]}"
    elif (found := _keys(request, response)) != expected:
        yield f"wrong range: expected {len(expected)} candles {expected[:2]}, got {len(found)} {found[:2]}"


def _keys(request: ApiRequest, response: httpx.Response) -> list[tuple[int, str, str]]:
    if request.meaning("format") == "csv":
        rows = list(csv.DictReader(io.StringIO(response.text)))
    else:
        rows = response.json()["candles"]
    return [(int(at(row["window_start"][:19]).timestamp()) * 1_000_000, row["symbol"], row["exchange"]) for row in rows]


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")

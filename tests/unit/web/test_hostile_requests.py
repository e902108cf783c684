"""Hostile requests to every route: 4xx with one line that says what to do, and no work."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from support.candle_rows import HOUR, candle
from support.candle_service import client_of, service_of
from support.memory_candles import MemoryCandles

VALID = {
    "/api/v1/candles": {"timeframe": "1h"},
    "/api/v1/series": {"timeframe": "1h"},
    "/udf/symbols": {"symbol": "X:BTC"},
    "/udf/history": {"symbol": "X:BTC", "resolution": "60", "from": "0", "to": "1"},
    "/ccxt/ohlcv": {"exchange": "X", "symbol": "BTC", "timeframe": "1h"},
    "/api/v1/klines": {"exchange": "X", "symbol": "BTC", "interval": "1h"},
}
# Texts that are valid for no parameter, for one reason or another.
HOSTILE = {
    "10,000 characters": "A" * 10_000,
    "NUL": "A\x00B",
    "line break": "A\r\nSet-Cookie: a=b",
    "escape": "\x1b[31m",
}
# Texts that are valid as names but find nothing, and are invalid for every other parameter.
ODD = {
    "SQL": "' OR 1=1; DROP TABLE candles --",
    "path": "../../etc/passwd",
    "markup": "<script>alert(1)</script>",
    "template": "${jndi:ldap://x}{{7*7}}%s%n",
    "right-to-left": "\u202eA",
    "astral": "😀" * 100,
}
NUMBERS = ["-1", "0", "1e3", "1.5", " 1", "+1", "١", "1_0", "NaN", "0x10", "9" * 30, "", "99999999999999999999"]
TIMES = [
    *("", "yesterday", "2026-13-01", "2026-02-30T00:00Z", "10000-01-01T00:00Z", "-0001-01-01"),
    *("0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00", "２０２６-03-01", "2026-03-01T00:00:00 00:00", "1" * 5_000),
]
CURSORS = ["", "x", "=", "é", "A" * 3_000, "A" * 10_000, "W10", "e30", "bnVsbA", "W1tbW1tb" * 100]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    candles = MemoryCandles(**{"1h": [candle(HOUR, "2026-03-01")]})
    candles.extended.add("1h")
    with client_of(service_of(candles, tmp_path_factory.mktemp("hostile"))) as client:
        yield client


def documented(client: TestClient) -> dict[str, list[str]]:
    """Return the parameters of each path of the API."""
    return {
        path: [each["name"] for each in operations["get"].get("parameters", [])]
        for path, operations in client.get("/openapi.json").json()["paths"].items()
    }


def check_problem(client: TestClient, path: str, query: str) -> str:
    response = client.get(f"{path}?{query}")
    assert 400 <= response.status_code < 500, (path, query[:100], response.text[:200])
    assert response.headers["Content-Type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    assert 10 < len(detail) <= 300
    assert detail.isprintable()
    assert ": " in detail
    return detail


def encoded(parameters: dict[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items())


def test_the_valid_requests_are_valid(client: TestClient) -> None:
    for path, parameters in VALID.items():
        assert client.get(path, params=parameters).status_code == 200


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_refused_by_every_parameter(client: TestClient, text: str) -> None:
    routes = documented(client)
    assert set(VALID) < set(routes)
    for path, parameters in routes.items():
        for name in parameters:
            check_problem(client, path, encoded({**VALID.get(path, {}), name: text}))
        check_problem(client, path, encoded({text: "1"}))
        check_problem(client, path, encoded({**VALID.get(path, {}), "unknown": text}))
        if parameters:
            name = parameters[0]
            check_problem(client, path, f"{encoded(VALID.get(path, {}))}&{name}=1&{name}=2")


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_an_odd_name_finds_nothing(client: TestClient, text: str) -> None:
    series = {"timeframe": "1h", "symbol": text, "exchange": text}
    found = client.get("/api/v1/candles", params={**series, "provisional": "true"})
    assert (found.status_code, found.json()["candles"]) == (200, [])
    for path in ("/api/v1/candles", "/ccxt/ohlcv"):
        assert "see /api/v1/series" in check_problem(client, path, encoded(series))
    assert client.get("/udf/search", params={"query": text}).json() == []
    for path, name in [
        *(("/api/v1/candles", name) for name in ("timeframe", "start", "limit", "cursor", "fill", "format")),
        *(("/udf/history", name) for name in ("resolution", "from", "to", "countback")),
    ]:
        check_problem(client, path, encoded({**VALID[path], name: text}))
    for path in ("/udf/symbols", "/udf/history"):
        answer = client.get(path, params={**VALID[path], "symbol": f"{text}:{text}"})
        assert (answer.status_code, answer.json()["s"]) == (200, "error")
        assert answer.json()["errmsg"].isprintable()


@pytest.mark.parametrize("text", NUMBERS)
def test_an_invalid_number_is_refused(client: TestClient, text: str) -> None:
    for path, names in {
        "/api/v1/candles": ("limit", "newest"),
        "/udf/search": ("limit",),
        "/udf/history": ("countback",),
        "/ccxt/ohlcv": ("limit",),
        "/api/v1/klines": ("limit",),
    }.items():
        for name in names:
            check_problem(client, path, encoded({**VALID.get(path, {}), "symbol": "A", "exchange": "B", name: text}))
    if text not in ("-1", "0"):
        for path, name in (
            *(("/udf/history", name) for name in ("from", "to")),
            ("/ccxt/ohlcv", "since"),
            *(("/api/v1/klines", name) for name in ("startTime", "endTime")),
        ):
            check_problem(client, path, encoded({**VALID[path], name: text}))


@pytest.mark.parametrize("text", TIMES, ids=lambda text: text[:30])
def test_an_invalid_time_is_refused(client: TestClient, text: str) -> None:
    for name in ("start", "end", "updated_since"):
        check_problem(client, "/api/v1/candles", encoded({"timeframe": "1h", name: text}))


@pytest.mark.parametrize("format", ["json", "csv", "arrow"])
def test_the_first_and_the_last_year_are_valid(client: TestClient, format: str) -> None:
    parameters = {"timeframe": "1h", "start": "0001-01-01", "end": "9999-12-31T23:59:59.999999Z", "format": format}
    assert client.get("/api/v1/candles", params=parameters).status_code == 200
    history = {**VALID["/udf/history"], "from": "-62135596800", "to": "253402300799", "symbol": "X:NONE"}
    assert client.get("/udf/history", params=history).json()["s"] == "error"
    ccxt = client.get("/ccxt/ohlcv", params={**VALID["/ccxt/ohlcv"], "since": "253402300799999"})
    assert (ccxt.status_code, ccxt.json()) == (200, [])
    last = dict.fromkeys(("startTime", "endTime"), "253402300799999")
    klines = client.get("/api/v1/klines", params={**VALID["/api/v1/klines"], **last})
    assert (klines.status_code, klines.json()) == (200, [])


def forged_cursors() -> Iterator[str]:
    good: list[Any] = [1, "0" * 16, 1, 0, "A", "X"]
    forged: dict[int, list[Any]] = {
        0: [2, "1", None, True],
        1: [0, "x"],
        3: ["0", 1.5, 10**18, -(10**18), True],
        4: [0, None, "\ud800"],
        5: [[], {}],
    }
    for position, values in forged.items():
        for value in values:
            yield json.dumps([*good[:position], value, *good[position + 1 :]])
    yield from (json.dumps(good[:-1]), json.dumps([*good, 1]), "[" * 1_000, "1" * 2_000, '"text"')


@pytest.mark.parametrize(
    "cursor", [*CURSORS, *(base64.urlsafe_b64encode(text.encode()).decode() for text in forged_cursors())]
)
def test_an_invalid_cursor_is_refused(client: TestClient, cursor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.web.cursor._fingerprint", lambda _: "0" * 16)
    check_problem(client, "/api/v1/candles", encoded({"timeframe": "1h", "cursor": cursor}))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "/api",
            "/api/v1/candles/",
            "/API/v1/candles",
            "/docs/",
            "/static",
            "/static/",
            "/static/%00",
            "/%2e%2e",
        ),
        *("/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/a%0d%0ab", "/static/.env"),
        "/" + "a" * 5_000,
    ],
)
def test_an_unknown_path_is_a_problem(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X-ODD"])
def test_only_reading_is_allowed(client: TestClient, method: str) -> None:
    for path in (*VALID, "/health", "/docs"):
        response = client.request(method, path)
        assert response.status_code == 405
        assert response.headers["Allow"] == "GET, HEAD"
        assert response.headers["Content-Type"] == "application/problem+json"


def test_head_is_answered_like_get_without_a_body(client: TestClient) -> None:
    for path, parameters in {**VALID, "/health": {}, "/docs": {}, "/unknown": {}}.items():
        head, get = (client.request(method, path, params=parameters) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers == get.headers


def test_odd_headers_are_refused(client: TestClient) -> None:
    for value in (b"\xff", b"Bearer \xff\xfe" * 100, b"bearer  " + b"x" * 20_000):
        assert client.get("/udf/time", headers={b"Authorization": value}).status_code == 401
    etags = ",".join(f'"{number}"' for number in range(5_000))
    response = client.get("/api/v1/candles?timeframe=1h", headers={"If-None-Match": etags})
    assert response.status_code == 200

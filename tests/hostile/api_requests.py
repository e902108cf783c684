"""Generated requests to the candle API: queries whose answer is known by construction, and everything else."""

from __future__ import annotations

import base64
import json
import random
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from hostile.run_requests import Given
from hostile.values import INJECTIONS, given_time, json_value, text

TIMEFRAME = "1h"
MAX_NAME, MAX_TIME, MAX_CANDLES = 500, 40, 5_000
# Path -> a valid request.
BASE: Mapping[str, Mapping[str, str]] = {
    "/api/v1/candles": {"timeframe": TIMEFRAME},
    "/api/v1/candles/history": {"timeframe": TIMEFRAME, "symbol": "A", "exchange": "X", "time": "2026-03-01"},
    "/api/v1/revisions": {"timeframe": TIMEFRAME},
    "/api/v1/coverage": {},
    "/api/v1/series": {"timeframe": TIMEFRAME},
    "/api/v1/timeframes": {},
    "/api/v1/quality": {},
    "/api/v1/klines": {"symbol": "A", "exchange": "X", "interval": TIMEFRAME},
    "/udf/config": {},
    "/udf/symbols": {"symbol": "X:A"},
    "/udf/search": {"query": "A", "limit": "5"},
    "/udf/history": {"symbol": "X:A", "resolution": "60", "from": "0", "to": "1772409600"},
    "/ccxt/ohlcv": {"exchange": "X", "symbol": "A", "timeframe": TIMEFRAME},
    "/openapi.json": {},
    "/docs": {},
}
PATHS = (
    *("/", "/api", "/api/v1/candles/", "/API/v1/candles", "/docs/", "/static", "/static/", "/static/%00", "/%2e%2e"),
    *("/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/a%0d%0ab", "/static/.env"),
    *("//127.0.0.1:1/x", "/api/v1/candles%00", "/api/v1/candles;x=1", "/api%2fv1%2fcandles", "/%c0%ae%c0%ae/", "/%ff"),
    *("/api/v1/../../page/x", "/page/..%2f..%2fapp.py", "/page/%5c..%5cx", "/incidents/x", "/%e2%80%ae"),
)
METHODS = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X-ODD")


@dataclass(frozen=True)
class ApiRequest:
    """A request, and its candles if they are known by construction."""

    target: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    # Of a query of candles: the parameters and what they mean.
    given: dict[str, Given] | None = None
    # The request must not be answered with 200.
    is_refused: bool = False

    @property
    def outcome(self) -> str:
        """Return what the parameters of a query of candles allow."""
        assert self.given is not None
        outcomes = {each.outcome for each in self.given.values()}
        if "refused" in outcomes:
            return "refused"
        # The gateway and the service limit the length of an address.
        return "either" if "either" in outcomes or len(self.target) > 8_000 else "accepted"

    def meaning(self, name: str) -> Any:
        """Return what a parameter means, None if it is not given."""
        assert self.given is not None
        return self.given[name].meaning if name in self.given else None


def api_request(
    rng: random.Random, now: int, series: list[tuple[str, str]], names: Mapping[str, list[str]]
) -> ApiRequest:
    """Return a request to a table with some series; `names` are the parameters of each documented path."""
    kinds: dict[Callable[..., ApiRequest], int] = {
        _candles: 40,
        _any_parameters: 30,
        _odd_path: 10,
        _odd_method: 5,
        _odd_headers: 8,
        _cursor: 7,
    }
    [kind] = rng.choices(list(kinds), list(kinds.values()))
    return kind(rng, now, series, names)


def _candles(rng: random.Random, now: int, series: list[tuple[str, str]], _: Any) -> ApiRequest:
    """Return a query of candles with a known answer."""
    given = {"timeframe": _timeframe(rng)}
    symbol, exchange = rng.choice(series)
    makers: dict[str, Callable[[], Given]] = {
        "symbol": lambda: _name(rng, symbol),
        "exchange": lambda: _name(rng, exchange),
        "start": lambda: _time(rng, now),
        "end": lambda: _time(rng, now),
        "limit": lambda: _limit(rng),
        "format": lambda: _format(rng),
    }
    given |= {name: make() for name, make in makers.items() if rng.random() < 0.5}
    if {"start", "end"} <= given.keys() and rng.random() < 0.7:
        start, end = sorted((given["start"], given["end"]), key=lambda each: each.meaning or 0)
        given |= {"start": start, "end": end}
    if rng.random() < 0.1:
        name = rng.choice(("Symbol", "symbol ", "sort", "offset", "q", *filter(None, INJECTIONS)))
        given[name] = Given("1", None, "refused")
    return ApiRequest(f"/api/v1/candles?{_query(given)}", given=given)


def _query(given: Mapping[str, Given]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(each.value, safe='')}" for name, each in given.items())


def _timeframe(rng: random.Random) -> Given:
    if rng.random() < 0.9:
        return Given(TIMEFRAME, TIMEFRAME, "accepted")
    return Given(rng.choice(("1H", "7m", "15m", "1h\n", "", "*", "1h,1m", *INJECTIONS)), None, "refused")


def _name(rng: random.Random, name: str) -> Given:
    found = name if rng.random() < 0.6 else text(rng, 5_000)
    is_valid = 0 < len(found) <= MAX_NAME and not any(unicodedata.category(each) in ("Cc", "Cs") for each in found)
    return Given(found, found, "accepted" if is_valid else "refused")


def _time(rng: random.Random, now: int) -> Given:
    found = given_time(rng, now)
    if len(found.text) > MAX_TIME:
        return Given(found.text[:5_000], None, "refused")
    return Given(found.text, found.instant, found.outcome)


def _limit(rng: random.Random) -> Given:
    if rng.random() < 0.6:
        number = rng.choice((1, 2, 7, 100, MAX_CANDLES))
        return Given(str(number), number, "accepted")
    wrong = ("0", "-1", "5001", "1e3", "1.5", " 1", "+1", "\u0661", "1_0", "NaN", "0x10", "9" * 30, "", "1" * 5_000)
    return Given(rng.choice(wrong), None, "refused")


def _format(rng: random.Random) -> Given:
    if rng.random() < 0.7:
        return Given("json", "json", "accepted")
    # Other formats have no pages, so a limit contradicts them.
    return rng.choice((Given("csv", "csv", "either"), Given("JSON", None, "refused"), Given("exe", None, "refused")))


def _any_parameters(
    rng: random.Random, now: int, series: list[tuple[str, str]], names: Mapping[str, list[str]]
) -> ApiRequest:
    """Return a request with hostile values in any documented parameter of any path."""
    path = rng.choice(list(BASE))
    given = dict(BASE[path])
    for name in rng.sample(names.get(path, []), min(len(names.get(path, [])), rng.choice((1, 1, 2, 3)))):
        values = (
            text(rng, 3_000),
            given_time(rng, now).text[:3_000],
            rng.choice(series)[0],
            str(rng.choice((0, 7, -1, 2**63))),
        )
        given[name] = rng.choice(values)
    target = path + "?" + "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in given.items())
    if rng.random() < 0.1:
        target += rng.choice(("&=", "&&&", "&a", "&timeframe=1h", "&%00=1", "&a=%zz", "&%ff=%ff", "#x", "?x", "&a[]=1"))
    return ApiRequest(target)


def _odd_path(rng: random.Random, *_: Any) -> ApiRequest:
    path = rng.choice(PATHS)
    if rng.random() < 0.3:
        path = "/" + quote(text(rng, 5_000), safe=rng.choice(("", "/")))
    return ApiRequest(path + rng.choice(("", "", "?a=1", "?" + "x" * 9_000)), is_refused=True)


def _odd_method(rng: random.Random, *_: Any) -> ApiRequest:
    path = rng.choice(list(BASE))
    body = rng.choice((b"", b"{", json.dumps(json_value(rng)).encode(), b"\x00" * 100_000))
    return ApiRequest(path, rng.choice(METHODS), {"Content-Type": "application/json"}, body, is_refused=True)


def _odd_headers(rng: random.Random, *_: Any) -> ApiRequest:
    values = (
        "",
        "*",
        '"',
        'W/"x"',
        ",".join(f'"{number}"' for number in range(2_000)),
        "x" * 5_000,
        "\u00ff",
        "..;q=2",
    )
    names = ("If-None-Match", "Accept", "Accept-Encoding", "Range", "X-Forwarded-For", "X-Ohlcv-Timeframes", "Origin")
    headers = {name: rng.choice(values) for name in rng.sample(names, 3)}
    return ApiRequest("/api/v1/candles?timeframe=1h&limit=3", headers=headers)


def _cursor(rng: random.Random, *_: Any) -> ApiRequest:
    """Return a query with a cursor that no page has returned."""
    content = [1, "0" * 16, rng.choice((None, 1, "x")), rng.choice((0, 2**63, -(10**18), 1.5)), "A", "X"]
    content[rng.randrange(len(content))] = json_value(rng, 1)
    cursors = (
        base64.urlsafe_b64encode(json.dumps(content).encode()).decode(),
        base64.urlsafe_b64encode(b"[" * 500).decode(),
        text(rng, 5_000),
        "A" * 3_999,
        "bnVsbA==",
    )
    path = rng.choice(("/api/v1/candles?timeframe=1h", "/api/v1/revisions?timeframe=1h", "/api/v1/coverage?limit=1"))
    return ApiRequest(f"{path}&cursor={quote(rng.choice(cursors), safe='')}", is_refused=True)


def expected_rows(request: ApiRequest, rows: list[dict[str, Any]]) -> list[tuple[int, str, str]] | None:
    """Return the keys of the candles of the first page of a query; None if the query must be refused."""
    start, end = request.meaning("start"), request.meaning("end")
    if start is not None and end is not None and start >= end:
        return None
    symbol, exchange = request.meaning("symbol"), request.meaning("exchange")
    found = sorted(
        (row["micros"], row["symbol"], row["exchange"])
        for row in rows
        if symbol in (None, row["symbol"])
        and exchange in (None, row["exchange"])
        and (start is None or row["micros"] >= start)
        and (end is None or row["micros"] < end)
    )
    return found[: request.meaning("limit") or 1_000]

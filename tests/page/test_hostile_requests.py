"""Hostile requests to the real candle service, through Airflow with a login."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from ohlcv.spark.processes import descendants
from ohlcv.web.supervisor import MEMORY_LIMIT, resident_bytes
from support.api_servers import ApiServer
from support.processes import command_line, wait_for

pytestmark = pytest.mark.page

SERIES = "timeframe=1h&symbol=BTC-USD&exchange=coinbase"
INJECTIONS = (
    "' OR '1'='1",
    "BTC-USD'; DROP TABLE gold_ohlcv_1h; --",
    '" UNION SELECT * FROM gold_crypto_trades --',
    "$(touch /tmp/x)",
    "../../../etc/passwd",
    "{{ 7 * 7 }}",
    "<script>alert(1)</script>",
    "a\x00b",
    "a\r\nSet-Cookie: x=1",
    "\u202e\u0000\ufeff",
    "%s%n%x",
    "😀" * 10,
)
LONG = "A" * 10_000
# So long that only the service refuses it, not yet the gateway.
LONGISH = "A" * 2_000
CURSORS = ("x", "AAAA", "e30", "bnVsbA==", "W10", "eyJzIjogMX0", LONG, LONGISH, "../cursor", "\x00")
REFUSED = [
    f"/api/v1/candles?timeframe={LONG}",
    f"/api/v1/candles?{SERIES}&{LONG}=1",
    f"/api/v1/candles?timeframe=1h&symbol={LONG}&exchange=coinbase",
    f"/api/v1/series?timeframe=1h&search={LONG}",
    f"/api/v1/series?timeframe=1h&search={LONGISH}",
    f"/udf/symbols?symbol={LONGISH}",
    f"/udf/symbols?symbol={LONG}",
    f"/udf/search?query={LONG}&limit=5",
    f"/udf/history?symbol=coinbase:{LONG}&resolution=60&from=0&to=1",
    f"/ccxt/ohlcv?exchange=coinbase&symbol={LONG}&timeframe=1h",
    f"/api/v1/klines?exchange=coinbase&symbol={LONG}&interval=1h",
    # Ranges, numbers and formats.
    f"/api/v1/candles?{SERIES}&start=0001-01-01&end=9999-12-31&fill=previous",
    f"/api/v1/candles?{SERIES}&start=2026-03-02&end=2026-03-01",
    f"/api/v1/candles?{SERIES}&start=-262144-01-01&end=2026-03-01",
    f"/api/v1/candles?{SERIES}&start=2026-03-01T00:00:00%2B99:99",
    f"/api/v1/candles?{SERIES}&newest=999999999999999999999",
    f"/api/v1/candles?{SERIES}&limit=1e9",
    f"/api/v1/candles?{SERIES}&limit=-1",
    f"/api/v1/candles?{SERIES}&limit=5000000",
    f"/api/v1/candles?{SERIES}&format=exe",
    f"/api/v1/candles?{SERIES}&timeframe=1m",
    "/udf/history?symbol=coinbase:BTC-USD&resolution=60&from=-9223372036854775808&to=9223372036854775807",
    "/udf/history?symbol=coinbase:BTC-USD&resolution=60&to=1772409600&countback=100000000",
    "/ccxt/ohlcv?exchange=coinbase&symbol=BTC-USD&timeframe=1h&since=99999999999999999",
    "/api/v1/klines?exchange=coinbase&symbol=BTC-USD&interval=1h&startTime=2&endTime=1",
    # This table is not extended.
    "/api/v1/klines?exchange=coinbase&symbol=BTC-USD&interval=1m",
    "/api/v1/candles?timeframe=1m&measures=true",
    "/api/v1/unknown",
    "/static/%2e%2e%2f%2e%2e%2fsettings.py",
    "/page/..%2f..%2fapp.py",
    *(f"/api/v1/candles?{SERIES}&cursor={quote(cursor)}" for cursor in CURSORS),
]
# No series has such a name: the answer is empty, or says so.
HARMLESS = [
    address
    for text in INJECTIONS
    for address in (
        f"/api/v1/candles?timeframe=1h&symbol={quote(text)}&exchange=coinbase",
        f"/api/v1/candles?timeframe=1h&symbol={quote(text)}&exchange=coinbase&format=csv",
        f"/api/v1/series?timeframe=1h&search={quote(text)}",
        f"/udf/symbols?symbol={quote(text)}",
        f"/udf/history?symbol=coinbase:{quote(text)}&resolution=60&from=0&to=1772409600",
        f"/ccxt/ohlcv?exchange={quote(text)}&symbol=BTC-USD&timeframe=1h",
    )
]
SECONDS = 60.0


@pytest.fixture
def worker(server: ApiServer) -> Iterator[int]:
    """Return the worker process of the candle service, and assert that it is the same and small at the end."""
    assert server.get("/ohlcv/api/v1/timeframes", "admin").status_code == httpx.codes.OK
    before = wait_for(lambda: workers(server), "the candle service runs")
    yield before[0]
    assert server.get(f"/ohlcv/api/v1/candles?{SERIES}&limit=1", "admin").status_code == httpx.codes.OK
    assert workers(server) == before
    memory = resident_bytes(before[0])
    print(f"memory of the worker after the requests: {memory >> 20} MB")
    assert memory < MEMORY_LIMIT


def workers(server: ApiServer) -> list[int]:
    return [pid for pid in descendants(server.process.pid) if "ohlcv.web.worker" in command_line(pid)]


def problem(response: httpx.Response) -> str:
    """Return the one line of a problem document."""
    assert response.headers["content-type"] == "application/problem+json", response.text[:200]
    body = response.json()
    assert body["status"] == response.status_code
    assert 0 < len(body["detail"]) <= 300
    assert body["detail"].isprintable()
    return str(body["detail"])


def test_invalid_requests_get_a_problem_that_says_what_to_do(server: ApiServer, worker: int) -> None:
    for address in REFUSED:
        begin = time.monotonic()
        response = server.get(f"/ohlcv{address}", "admin")
        assert 400 <= response.status_code < 500, f"{response.status_code} for {address[:120]}"
        detail = problem(response)
        print(f"{response.status_code} {address[:60]:60} {detail[:100]}")
        assert LONGISH not in detail
        assert time.monotonic() - begin < SECONDS


def test_texts_of_other_languages_are_only_names(server: ApiServer, worker: int) -> None:
    for address in HARMLESS:
        response = server.get(f"/ohlcv{address}", "admin")
        assert response.status_code in (200, 400, 404), f"{response.status_code} for {address[:120]}"
        if response.status_code != httpx.codes.OK:
            problem(response)
        assert "set-cookie" not in response.headers or "x=1" not in response.headers["set-cookie"]
    everything = server.get("/ohlcv/api/v1/candles?timeframe=1h&limit=5000", "admin").json()
    assert len(everything["candles"]) == 48


def test_the_largest_range_is_answered_in_pages(server: ApiServer, worker: int) -> None:
    address = f"/ohlcv/api/v1/candles?{SERIES}&start=0001-01-01&end=9999-12-31"
    assert len(server.get(address, "admin").json()["candles"]) == 48
    pages = []
    cursor = ""
    while cursor is not None:
        page = server.get(f"{address}&limit=10{cursor and f'&cursor={quote(cursor)}'}", "admin").json()
        pages.append(len(page["candles"]))
        cursor = page["next_cursor"]
    assert pages == [10, 10, 10, 10, 8]

"""Answers in the formats of chart clients: TradingView UDF and ccxt."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from starlette.testclient import TestClient

from ohlcv.model.timeframes import get_timeframe
from ohlcv.web.udf import RESOLUTIONS
from support.candle_rows import HOUR, MINUTE, at, candle
from support.memory_candles import MemoryCandles

FIRST = int(at("2026-03-01").timestamp())
NEWEST = FIRST + 5 * 3600


def history(client: TestClient, **parameters: Any) -> Any:
    given = {"symbol": "X:BTC", "resolution": "60", **parameters}
    response = client.get("/udf/history", params={name.rstrip("_"): value for name, value in given.items()})
    assert response.status_code == 200, response.text
    return response.json()


def test_the_configuration_derives_from_the_registry(client: TestClient) -> None:
    assert client.get("/udf/config").json() == {
        "supported_resolutions": ["1", "5", "30", "60", "1D"],
        "supports_search": True,
        "supports_group_request": False,
        "supports_marks": False,
        "supports_timescale_marks": False,
        "supports_time": True,
    }
    assert RESOLUTIONS == {
        "1": "1m",
        "5": "5m",
        "15": "15m",
        "30": "30m",
        "60": "1h",
        "120": "2h",
        "240": "4h",
        "1D": "1d",
    }
    time = client.get("/udf/time")
    assert time.headers["Content-Type"].startswith("text/plain")
    assert time.text.isdigit()


def test_a_symbol(client: TestClient, candles: MemoryCandles) -> None:
    candles.rows["1h"] += [candle(HOUR, "2026-03-01", symbol="A:B")]
    candles.rows["1d"] = [candle(get_timeframe("1d"), "2026-03-01", symbol="A:B")]
    assert client.get("/udf/symbols", params={"symbol": "X:A:B"}).json() == {
        "name": "A:B",
        "ticker": "X:A:B",
        "description": "A:B on X",
        "type": "crypto",
        "exchange": "X",
        "listed_exchange": "X",
        "session": "24x7",
        "timezone": "Etc/UTC",
        "format": "price",
        "minmov": 1,
        "pricescale": 10,
        "has_intraday": True,
        "intraday_multipliers": ["60"],
        "has_daily": True,
        "supported_resolutions": ["60", "1D"],
        "volume_precision": 8,
    }


@pytest.mark.parametrize(("price", "scale"), [("100", 10), ("84100.25", 100), ("0.00000123", 10**8), ("0.1230", 1000)])
def test_the_price_scale_has_the_decimal_places_of_recent_prices(
    client: TestClient, candles: MemoryCandles, price: str, scale: int
) -> None:
    # The low price of the row is half below the price.
    candles.rows["1m"] = [candle(MINUTE, "2026-03-01", price)]
    assert client.get("/udf/symbols?symbol=X:BTC").json()["pricescale"] == scale


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ("BTC", "'BTC' is not a ticker: give EXCHANGE:SYMBOL"),
        (":BTC", "':BTC' is not a ticker: give EXCHANGE:SYMBOL"),
        ("X:ETH", "unknown symbol 'X:ETH': see /udf/search for the symbols"),
        ("x:BTC", "unknown symbol 'x:BTC': see /udf/search for the symbols"),
    ],
)
def test_an_unknown_symbol_is_an_error_of_the_protocol(client: TestClient, symbol: str, message: str) -> None:
    expected = {"s": "error", "errmsg": message}
    assert client.get("/udf/symbols", params={"symbol": symbol}).json() == expected
    assert history(client, symbol=symbol, from_=0, to=1) == expected
    assert history(client, symbol=symbol, countback=3, to=1) == expected


def test_the_search(client: TestClient) -> None:
    item = {
        "symbol": "BTC",
        "full_name": "X:BTC",
        "description": "BTC on X",
        "exchange": "X",
        "ticker": "X:BTC",
        "type": "crypto",
    }
    assert client.get("/udf/search?query=x:b&limit=10&exchange=&type=").json() == [item]
    assert client.get("/udf/search?query=btc&limit=1&type=crypto").json() == [item]
    assert [each["exchange"] for each in client.get("/udf/search?query=btc").json()] == ["X", "Y"]
    assert [each["exchange"] for each in client.get("/udf/search?exchange=Y").json()] == ["Y"]
    assert client.get("/udf/search?query=BTC&type=stock").json() == []


def test_bars_of_a_range(client: TestClient) -> None:
    assert history(client, from_=FIRST + 3600, to=FIRST + 3 * 3600) == {
        "s": "ok",
        "t": [FIRST + 3600, FIRST + 7200],
        "o": [3, 4],
        "h": [4, 5],
        "l": [1.5, 2.5],
        "c": [2, 3],
        "v": [7.5, 7.5],
    }


def test_countback_takes_precedence_over_from(client: TestClient) -> None:
    assert history(client, from_=NEWEST, to=NEWEST + 1, countback=3)["c"] == [4, 5, 6]
    assert history(client, to=NEWEST, countback=2)["c"] == [4, 5]
    assert len(history(client, from_=-1000, to=NEWEST + 1, countback=5000)["c"]) == 6


def test_an_empty_range_names_the_newest_bar_before_it(client: TestClient) -> None:
    assert history(client, from_=NEWEST + 7200, to=NEWEST + 9000) == {"s": "no_data", "nextTime": NEWEST}
    assert history(client, from_=0, to=FIRST) == {"s": "no_data"}
    assert history(client, to=FIRST, countback=10) == {"s": "no_data"}


def test_a_range_of_too_many_bars_is_an_error(client: TestClient, candles: MemoryCandles) -> None:
    candles.rows["1m"] = [candle(MINUTE, at("2026-03-01") + number * MINUTE.length) for number in range(5001)]
    end = FIRST + 5001 * 60
    assert history(client, resolution="1", from_=FIRST, to=end)["s"] == "error"
    assert len(history(client, resolution="1", from_=FIRST + 1, to=end)["t"]) == 5000
    assert len(history(client, resolution="1", to=end, countback=5000)["t"]) == 5000


def test_d_is_a_day(client: TestClient, candles: MemoryCandles) -> None:
    candles.rows["1d"] = [candle(get_timeframe("1d"), "2026-03-01")]
    assert history(client, resolution="D", countback=1, to=NEWEST) == history(
        client, resolution="1D", countback=1, to=NEWEST
    )


def test_numbers_have_all_digits(client: TestClient, candles: MemoryCandles) -> None:
    values = [Decimal("9999999999.12345678"), Decimal("0.00000001"), Decimal("84100.10000000"), Decimal(100)]
    candles.rows["1h"] = [
        {**candle(HOUR, at("2026-03-01") + number * HOUR.length), "close_price": value}
        for number, value in enumerate(values)
    ]
    text = client.get(f"/udf/history?symbol=X:BTC&resolution=60&countback=9&to={NEWEST}").text
    assert json.loads(text, parse_float=Decimal, parse_int=Decimal)["c"] == values
    assert "E" not in text
    text = client.get("/ccxt/ohlcv?exchange=X&symbol=BTC&timeframe=1h").text
    assert [row[4] for row in json.loads(text, parse_float=Decimal, parse_int=Decimal)] == values


def test_a_null_amount_keeps_its_place(client: TestClient, candles: MemoryCandles) -> None:
    """Another writer may have stored it."""
    candles.rows["1h"] = [candle(HOUR, at("2026-03-01") + number * HOUR.length) for number in range(3)]
    candles.rows["1h"][1]["open_price"] = None
    bars = history(client, from_=FIRST, to=NEWEST)
    assert bars["o"] == [2, None, 2]
    assert {len(bars[name]) for name in "tohlcv"} == {3}
    rows = client.get("/ccxt/ohlcv?exchange=X&symbol=BTC&timeframe=1h").json()
    assert [row[1] for row in rows] == [2, None, 2]
    assert client.get("/udf/symbols?symbol=X:BTC").json()["name"] == "BTC"


def test_ccxt_rows_ascend_from_since(client: TestClient) -> None:
    def rows(**parameters: Any) -> Any:
        given = {"exchange": "X", "symbol": "BTC", "timeframe": "1h", **parameters}
        response = client.get("/ccxt/ohlcv", params=given)
        assert response.headers["X-Ohlcv-Snapshot"]
        assert client.get(response.url, headers={"If-None-Match": response.headers["ETag"]}).status_code == 304
        return response.json()

    assert rows(since=(FIRST + 3600) * 1000, limit=2) == [
        [(FIRST + 3600) * 1000, 3, 4, 1.5, 2, 7.5],
        [(FIRST + 7200) * 1000, 4, 5, 2.5, 3, 7.5],
    ]
    # A window that began before `since` is not included.
    assert [row[4] for row in rows(since=FIRST * 1000 + 1, limit=1)] == [2]
    assert [row[4] for row in rows(limit=2)] == [5, 6]
    assert len(rows()) == 6
    assert rows(since=NEWEST * 1000 + 1) == []

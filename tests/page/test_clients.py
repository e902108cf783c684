"""Usual clients read the candle service: a TradingView UDF adapter from npm, and a consumer in the style of ccxt."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from support.candle_rows import HOUR, Row, at, candle, write_candles
from support.candle_server import CandleServer, candle_server

pytestmark = pytest.mark.page

ROOT = Path(__file__).parents[2]
BEGIN = at("2026-03-01")
PAGE = 40
COLUMNS = ("open_price", "high_price", "low_price", "close_price", "volume")


def hours() -> list[Row]:
    """Return the candles of one series: ten days, and a gap of two months before the last five days."""
    starts = [BEGIN + number * HOUR.length for number in range(240)]
    starts += [BEGIN + timedelta(days=70) + number * HOUR.length for number in range(120) if number % 7]
    # Prices whose digits a float cannot hold are exact as texts, and nearest floats as numbers.
    return [
        candle(HOUR, start, f"{84_000 + number}.{number:08d}", "BTC-USD", "coinbase")
        for number, start in enumerate(starts)
    ]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandleServer]:
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("home"))})
    create_tables(settings)
    others = [candle(HOUR, BEGIN, "3000", "ETH-USD", "coinbase"), candle(HOUR, BEGIN, "84000", "BTC-USD", "kraken")]
    write_candles(settings, HOUR, *hours(), *others)
    with candle_server(settings) as running:
        yield running


@pytest.fixture(scope="module")
def udf(service: CandleServer) -> Any:
    """Return what the adapter received."""
    result = subprocess.run(
        [ROOT / "tools" / "page.sh", "udf-client", service.url, "coinbase:BTC-USD", "60", str(PAGE)],
        env=os.environ | {"TOKEN": service.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def bars(rows: list[Row]) -> list[dict[str, float]]:
    """Return candles as the adapter gives them to a chart."""
    names = ("open", "high", "low", "close", "volume")
    return [
        {"time": row["window_start"].timestamp() * 1000}
        | {name: float(row[column]) for name, column in zip(names, COLUMNS, strict=True)}
        for row in rows
    ]


def test_the_adapter_reads_configuration_symbols_and_search(udf: Any) -> None:
    assert udf["configuration"]["supported_resolutions"] == ["1", "5", "30", "60", "1D"]
    assert udf["configuration"]["supports_search"]
    symbol = udf["symbol"]
    assert (symbol["name"], symbol["ticker"], symbol["exchange"]) == ("BTC-USD", "coinbase:BTC-USD", "coinbase")
    assert symbol["supported_resolutions"] == symbol["intraday_multipliers"] == ["60"]
    assert symbol["pricescale"] == 10**8
    assert udf["unknown"]["s"] == "error"
    assert [each["ticker"] for each in udf["found"]] == ["coinbase:BTC-USD", "kraken:BTC-USD"]
    assert abs(udf["time"] - time.time()) < 600


def test_the_adapter_reads_all_bars_page_by_page(udf: Any) -> None:
    pages = udf["byCount"]["pages"]
    assert [len(page) for page in pages[:-1]] == [PAGE] * (len(pages) - 1)
    assert len(pages) == -(-len(hours()) // PAGE)
    assert [bar for page in reversed(pages) for bar in page] == bars(hours())
    # Before the first candle is nothing: the chart stops asking.
    assert udf["byCount"]["meta"] == {"noData": True}


def test_the_adapter_continues_behind_a_gap_at_the_time_that_the_server_names(udf: Any) -> None:
    assert udf["byDay"]["bars"] == bars(hours())
    newest = {"before the gap": hours()[239], "now": hours()[-1]}
    assert udf["byDay"]["jumps"] == [newest[name]["window_start"].timestamp() for name in ("now", "before the gap")]


def test_the_adapter_reports_a_refused_request(udf: Any) -> None:
    assert udf["refused"] == "from must be before to: exchange them, or give a later to"


@dataclass
class CcxtExchange:
    """A consumer in the style of ccxt: `fetch_ohlcv` returns rows from `since` on, at most `limit`."""

    service: CandleServer
    exchange: str
    requests: int = 0

    def fetch_ohlcv(
        self, symbol: str, timeframe: str = "1m", since: int | None = None, limit: int | None = None
    ) -> list[list[Any]]:
        given = {"symbol": symbol, "timeframe": timeframe, "since": since, "limit": limit}
        parameters = {name: value for name, value in given.items() if value is not None}
        self.requests += 1
        response = self.service.get("/ccxt/ohlcv", {"exchange": self.exchange, **parameters})
        assert response.status_code == httpx.codes.OK, response.text
        rows: list[list[Any]] = json.loads(response.text, parse_float=Decimal)
        return rows


def test_a_ccxt_style_consumer_reads_a_complete_range(service: CandleServer) -> None:
    exchange = CcxtExchange(service, "coinbase")
    rows: list[list[Any]] = []
    since = int(BEGIN.timestamp() * 1000)
    while page := exchange.fetch_ohlcv("BTC-USD", "1h", since, 100):
        rows += page
        since = page[-1][0] + 1
    expected = [[int(row["window_start"].timestamp() * 1000), *(row[name] for name in COLUMNS)] for row in hours()]
    assert rows == expected
    assert exchange.requests == len(expected) // 100 + 2
    # Without `since`: the newest rows.
    assert exchange.fetch_ohlcv("BTC-USD", "1h", limit=3) == expected[-3:]

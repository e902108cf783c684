"""Measures in a browser: in the legend of an extended table, and in its exports; the klines of the same candles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.timeframes import get_timeframe
from support.api_servers import ApiServer, api_server
from support.browser import RIGHT, browser
from support.candle_rows import HOUR, at, candle, extend_table, measured, write_candles
from support.candles_page import CandlesPage
from support.processes import wait_for

pytestmark = pytest.mark.page

BEGIN = at("2026-03-01")
SERIES = "symbol=BTC-USD&exchange=coinbase"
UNKNOWN = dict.fromkeys(("Quote volume", "Taker buy", "First trade", "Last trade"), "–")
EXPORT = "return document.querySelector('.oc-export a').href"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Return a server with hours with measures, except the first one, and with 5m candles without."""
    home = tmp_path_factory.mktemp("measures")
    settings = load_settings({"OHLCV_HOME": str(home)})
    create_tables(settings)
    hours = [candle(HOUR, BEGIN + number * HOUR.length, "100", "BTC-USD", "coinbase") for number in range(48)]
    write_candles(settings, HOUR, hours[0])
    extend_table(settings, HOUR)
    write_candles(settings, HOUR, *map(measured, hours[1:]))
    short = get_timeframe("5m")
    write_candles(settings, short, *(candle(short, hour["window_start"], "1", "BTC-USD", "coinbase") for hour in hours))
    with api_server(tmp_path_factory.mktemp("simple") / "airflow", "simple", {"OHLCV_HOME": str(home)}) as running:
        yield running


@pytest.fixture(scope="module")
def page(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CandlesPage]:
    with browser(tmp_path_factory.mktemp("browser")) as window:
        page = CandlesPage(window, server.url)
        page.log_in("viewer", server.passwords["viewer"])
        yield page
        assert page.console_errors() == []


def test_the_legend_has_the_measures_of_the_candle(page: CandlesPage, server: ApiServer) -> None:
    page.open(f"{SERIES}&timeframe=1h")
    page.show_first_candle()
    assert page.measures() == UNKNOWN
    page.window.press(RIGHT)
    wait_for(lambda: page.measures() != UNKNOWN, "the second candle is shown")
    # The series of klines has the same values.
    start = int((BEGIN + timedelta(hours=1)).timestamp()) * 1000
    [row] = server.get(f"/ohlcv/api/v1/klines?{SERIES}&interval=1h&startTime={start}&limit=1", "viewer").json()
    assert (row[7], row[9]) == ("750.0000000000000001", "4.50000000")
    assert page.measures() == {
        "Quote volume": "750.0000000000000001",
        "Taker buy": "60 %",
        "First trade": "2026-03-01 01:00 UTC",
        "Last trade": "2026-03-01 01:59:59 UTC",
    }
    assert "measures=true" in page.window.run(EXPORT)


def test_a_table_that_is_not_extended_has_the_legend_without_measures(page: CandlesPage) -> None:
    page.open(f"{SERIES}&timeframe=5m")
    assert page.show_first_candle()["Close"] == "1.00"
    assert page.measures() == {}
    assert "measures" not in page.window.run(EXPORT)

"""The candle service with other timeframes than the default ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.web.data import CandleData
from support.candle_rows import candle, write_candles
from support.candle_service import client_of, gateway_headers, service_of
from support.memory_candles import MemoryCandles
from unit.web.test_provisional import NOON, load, rows_of, trade

FIFTEEN, FOUR_HOURS = TIMEFRAMES["15m"], TIMEFRAMES["4h"]
ENABLED = {"OHLCV_TIMEFRAMES": "15m,4h"}
# Of an hour, which is not enabled.
REFUSED = [
    "/api/v1/candles?timeframe=1h",
    "/api/v1/candles?timeframe=1h&format=csv",
    "/api/v1/series?timeframe=1h",
    "/api/v1/quality?timeframe=1h",
    "/api/v1/revisions?timeframe=1h",
    "/udf/history?symbol=X:BTC&resolution=60&from=0&to=1",
    "/ccxt/ohlcv?exchange=X&symbol=BTC&timeframe=1h",
    "/api/v1/klines?exchange=X&symbol=BTC&interval=1h",
]


@pytest.fixture
def memory() -> MemoryCandles:
    rows = {"15m": [candle(FIFTEEN, "2026-03-01")], "4h": [candle(FOUR_HOURS, "2026-03-01")]}
    return MemoryCandles(**rows)


@pytest.fixture
def client(memory: MemoryCandles, tmp_path: Path) -> Iterator[TestClient]:
    with client_of(service_of(memory, tmp_path, **ENABLED)) as client:
        yield client


@pytest.mark.parametrize("path", REFUSED)
def test_a_timeframe_that_is_not_enabled_is_a_bad_request(client: TestClient, path: str) -> None:
    response = client.get(path)
    detail = "timeframe '1h' is not enabled: add it to OHLCV_TIMEFRAMES"
    assert (response.status_code, response.json()["detail"]) == (400, detail)


def test_the_enabled_timeframes_are_listed_and_the_schema_has_all_known_ones(client: TestClient) -> None:
    assert [each["name"] for each in client.get("/api/v1/timeframes").json()["timeframes"]] == ["15m", "4h"]
    assert client.get("/udf/config").json()["supported_resolutions"] == ["15", "240"]
    for resolution, name in (("15", "15m"), ("240", "4h")):
        given = {"symbol": "X:BTC", "resolution": resolution, "from": 0, "to": 2_000_000_000}
        assert client.get("/udf/history", params=given).json()["s"] == "ok", name
    parameters = client.get("/openapi.json").json()["paths"]["/api/v1/candles"]["get"]["parameters"]
    [timeframe] = [each for each in parameters if each["name"] == "timeframe"]
    assert timeframe["schema"]["enum"] == list(TIMEFRAMES)


def test_the_gateway_gives_no_access_to_a_timeframe_that_is_not_enabled(memory: MemoryCandles, tmp_path: Path) -> None:
    service = service_of(memory, tmp_path, **ENABLED)
    with client_of(service, **gateway_headers("1h", "4h")) as client:
        assert [each["name"] for each in client.get("/api/v1/timeframes").json()["timeframes"]] == ["4h"]


def test_provisional_candles_of_hours_need_no_table_of_one_hour(tmp_path: Path) -> None:
    settings = load_settings({"OHLCV_HOME": str(tmp_path), **ENABLED})
    create_tables(settings)
    write_candles(settings, FOUR_HOURS, candle(FOUR_HOURS, NOON - timedelta(hours=4)))
    load(settings, trade(NOON, "9", "2"), trade(NOON + timedelta(minutes=70), "7", "3"))
    data = CandleData(settings)
    data.refresh()
    [found] = rows_of(data, FOUR_HOURS)
    assert (found["window_start"], found["open_price"], found["close_price"], found["trade_count"]) == (NOON, 9, 7, 2)
    assert [row["window_start"] for row in rows_of(data, FIFTEEN)] == [NOON, NOON + timedelta(hours=1)]
